package msgauth

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// oversigned are the fields that a message has once at most (RFC 5322 3.6, RFC
// 2045 3) and that readers or their programs believe. Each is listed once more
// than it is there, so that none can be added. RFC 6376 5.4.2, 8.15
var oversigned = []string{
	"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
}

// covered are signed where they are (RFC 6376 5.4.1, RFC 8058 4), and may be added
// on the way: mailing lists do.
var covered = []string{
	"Sender", "Content-ID", "Content-Description", "Content-Disposition", "Auto-Submitted",
	"List-ID", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	"TLS-Required", "TLS-Report-Domain", "TLS-Report-Submitter", // RFC 8689 3, RFC 8460 5.3
}

const (
	// A field that comes so often is no mail that people write, and each copy
	// makes the signature longer.
	maxCopies = 8
	// foldAt is where lines of a signature end. RFC 5322 2.1.1
	foldAt = 76
)

// signedHeader is what all signatures of a message have in common.
type signedHeader struct {
	names []string // for h=
	text  string   // canonical, each with its line end
}

// selectFields takes the fields to sign: those of one name from the last up, as
// verifiers do. RFC 6376 5.4.2
func selectFields(fields []field) (signedHeader, error) {
	by := map[string][]field{}
	for _, f := range fields {
		key := strings.ToLower(f.name)
		by[key] = append(by[key], f)
	}
	var s signedHeader
	var text strings.Builder
	take := func(name string) error {
		there := by[strings.ToLower(name)]
		if len(there) > maxCopies {
			return fmt.Errorf("%w: %d fields %s", ErrHeader, len(there), name)
		}
		for i := len(there) - 1; i >= 0; i-- {
			s.names = append(s.names, name)
			text.WriteString(relaxed(there[i]) + "\r\n")
		}
		return nil
	}
	for _, name := range oversigned {
		if err := take(name); err != nil {
			return s, err
		}
		s.names = append(s.names, name)
	}
	for _, name := range covered {
		if err := take(name); err != nil {
			return s, err
		}
	}
	s.text = text.String()
	return s, nil
}

// signature makes one whole DKIM-Signature field. Nothing of the message stands in
// it but digests. There is no l=: what it leaves out, anybody may write. RFC 6376 8.2
func (s signedHeader) signature(k Key, bodyHash []byte, now time.Time) (string, error) {
	alg, err := algorithm(k.Key.Public())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, " v=1; a=%s-sha256; c=relaxed/relaxed; t=%d;", alg, now.Unix())
	fmt.Fprintf(&b, "\r\n\td=%s;\r\n\ts=%s;", k.Domain, k.Selector)
	fmt.Fprintf(&b, "\r\n\th=%s;", foldNames(s.names))
	fmt.Fprintf(&b, "\r\n\tbh=%s;\r\n\tb=", base64.StdEncoding.EncodeToString(bodyHash))
	unsigned := field{"DKIM-Signature", b.String()}
	digest := sha256.Sum256([]byte(s.text + relaxed(unsigned))) // the field itself last, without a line end: RFC 6376 3.7
	sig, err := signDigest(k.Key, digest[:])
	if err != nil {
		return "", fmt.Errorf("dkim key %s: %w", k.Owner(), err)
	}
	return unsigned.name + ":" + unsigned.value + foldText(base64.StdEncoding.EncodeToString(sig)) + "\r\n", nil
}

// foldNames joins field names with colons, over several lines.
func foldNames(names []string) string {
	var b strings.Builder
	line := len("\th=")
	for i, n := range names {
		if i > 0 {
			b.WriteByte(':')
			line++
		}
		if line+len(n)+1 > foldAt {
			b.WriteString("\r\n\t ")
			line = 2
		}
		b.WriteString(n)
		line += len(n)
	}
	return b.String()
}

// foldText breaks base64 over several lines; white space in b= does not count.
func foldText(s string) string {
	const first, width = foldAt - len("\tb="), foldAt - 2
	var b strings.Builder
	for n := first; len(s) > n; n = width {
		b.WriteString(s[:n] + "\r\n\t ")
		s = s[n:]
	}
	return b.String() + s
}
