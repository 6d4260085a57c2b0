package msgauth

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-msgauth/dkim"
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

// maxList bounds h= in octets: the library writes it into one line, a line has 998 at
// most (RFC 5322 2.1.1), and a fold put in later would be white space that was not
// signed. Each field once needs some 450; more copies than fit are no mail that people write.
const maxList = 900

// signedHeader is what all signatures of a message have in common.
type signedHeader struct {
	names []string // for h=
	text  string   // the fields, each with its line end
}

// selectFields takes the fields to sign. Those of one name are signed from the last
// up, as verifiers do (RFC 6376 5.4.2), so they stay in their order. They are in relaxed
// form already, which making it again does not change: the library
// joins the lines of a folded field in quadratic time.
func selectFields(fields []field) (signedHeader, error) {
	var s signedHeader
	var text strings.Builder
	copies := map[string]int{}
	for _, f := range fields {
		copies[strings.ToLower(f.name)]++
	}
	signed := map[string]bool{}
	length := 0
	list := func(names []string, more int) {
		for _, name := range names {
			key := strings.ToLower(name)
			signed[key] = true
			length += (copies[key] + more) * len(name+":")
			if length <= maxList {
				s.names = append(s.names, slices.Repeat([]string{name}, copies[key]+more)...)
			}
		}
	}
	list(oversigned, 1)
	list(covered, 0)
	if length > maxList {
		return signedHeader{}, fmt.Errorf("%w: too many copies of its fields", ErrHeader)
	}
	for _, f := range fields {
		if signed[strings.ToLower(f.name)] {
			text.WriteString(relaxed(f) + "\r\n")
		}
	}
	s.text = text.String()
	return s, nil
}

// signatures are those of one message while its body is written to them. End them.
//
// The library keeps a run of empty lines in memory until text follows, once for each
// key; the limit of a message bounds that. All else streams.
type signatures struct {
	io.Writer // to all
	keys      []Key
	running   []*dkim.Signer // in the order of keys
}

// newSignatures begins with the header. There is no l=: what it leaves out, anybody
// may write. RFC 6376 8.2
func newSignatures(keys []Key, header signedHeader) (*signatures, error) {
	s := &signatures{keys: keys}
	var all []io.Writer
	for _, k := range keys {
		one, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain.String(), Selector: k.Selector.String(), Signer: k.Key, Hash: crypto.SHA256,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
			HeaderKeys: header.names,
		})
		if err != nil {
			_, _ = s.end() // what began already
			return nil, fmt.Errorf("dkim key %s: %w", k.Owner(), err)
		}
		s.running = append(s.running, one)
		all = append(all, one)
	}
	s.Writer = io.MultiWriter(all...)
	if _, err := io.WriteString(s, header.text+"\r\n"); err != nil {
		_, _ = s.end()
		return nil, err
	}
	return s, nil
}

// end returns the whole fields, or an error when one cannot be made. It must be called
// once, whatever happened: each signature is a goroutine that ends here.
func (s *signatures) end() (string, error) {
	var top strings.Builder
	var failed []error
	for i, one := range s.running {
		if err := one.Close(); err != nil {
			failed = append(failed, fmt.Errorf("dkim key %s: %w", s.keys[i].Owner(), err))
			continue
		}
		top.WriteString(one.Signature())
	}
	if len(failed) > 0 {
		return "", errors.Join(failed...)
	}
	return top.String(), nil
}
