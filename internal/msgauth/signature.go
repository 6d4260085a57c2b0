package msgauth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/dnsname"
)

const (
	signatureField = "DKIM-Signature"

	// maxSignatures is how many are judged, from the top: those of whoever handled the
	// message last. Each costs a look-up and a hash of the header. RFC 6376 8.4
	maxSignatures = 8
	// Bounds of RSA keys: below, signatures are worth nothing (RFC 8301 3.2); above,
	// a key costs more time than a message should.
	leastRSA, mostRSA = 1024, 8192
	// beginning is how much of b= tells a signature from others. RFC 6008 4
	beginning = 8
)

// signature is one DKIM-Signature field on its way to a Result.
type signature struct {
	Signature
	raw                      raw
	names                    []string // h=
	simpleHeader, simpleBody bool
	identity                 dnsname.Name // the domain of i=
	bodyHash, value          []byte
	body                     summer
	key                      crypto.PublicKey
}

// be ends the judgement.
func (s *signature) be(r Result, why string) { s.Result, s.Why = r, why }

// parseSignature reads a field; its Result stays open when nothing is wrong with
// it. RFC 6376 3.5, 6.1.1
func parseSignature(f raw, now time.Time) *signature {
	s := &signature{raw: f}
	tags, err := parseTags(f.value)
	if err != nil {
		s.be(Neutral, "cannot be read")
		return s
	}
	for _, step := range []func(map[string]string) (Result, string){
		s.readNames, s.readForm, s.readValues, s.readHeaderList,
		func(tags map[string]string) (Result, string) { return readDates(tags, now) },
	} {
		if r, why := step(tags); r != unjudged {
			s.be(r, why)
			return s
		}
	}
	return s
}

// readNames reads who signs. RFC 6376 6.1.1: i= is d= or below it
func (s *signature) readNames(tags map[string]string) (Result, string) {
	var err error
	if s.Domain, err = parseDomain(tags["d"]); err != nil {
		return Neutral, "d= is no domain"
	}
	if s.Selector, err = parseDomain(tags["s"]); err != nil {
		return Neutral, "s= is no selector"
	}
	s.identity = s.Domain
	if i, ok := tags["i"]; ok {
		if s.identity, err = parseDomain(i[strings.LastIndexByte(i, '@')+1:]); err != nil || !s.identity.Within(s.Domain) {
			return PermError, "i= is not of d="
		}
	}
	return unjudged, ""
}

// parseDomain also takes U-labels, which mail in UTF-8 may hold. RFC 8616 4
func parseDomain(s string) (dnsname.Name, error) {
	n, err := dnsname.ParseOwner(strings.TrimSpace(s))
	if err != nil {
		n, err = dnsname.ParseUnicode(strings.TrimSpace(s))
	}
	return n, err
}

// readForm reads by which rules the signature was made.
func (s *signature) readForm(tags map[string]string) (Result, string) {
	switch a := strings.ToLower(tags["a"]); a {
	case "rsa-sha256", "ed25519-sha256":
		s.Algorithm = a
	case "rsa-sha1":
		return Policy, "SHA-1" // RFC 8301 3.1
	default:
		return Neutral, "unknown algorithm"
	}
	if tags["v"] != "1" {
		return Neutral, "another version"
	}
	header, body, _ := strings.Cut(stripSpace(tags["c"]), "/") // RFC 6376 3.5: simple unless it says otherwise
	var ok [2]bool
	s.simpleHeader, ok[0] = isSimple(header)
	s.simpleBody, ok[1] = isSimple(body)
	if !ok[0] || !ok[1] {
		return Neutral, "unknown canonical form"
	}
	if q, ok := tags["q"]; ok && !slices.Contains(words(q), "dns/txt") {
		return Neutral, "the key is not in DNS"
	}
	if _, ok := tags["l"]; ok {
		return Policy, "covers a part of the body only" // RFC 6376 8.2
	}
	return unjudged, ""
}

func isSimple(c string) (simple, known bool) {
	switch strings.ToLower(c) {
	case "", "simple":
		return true, true
	case "relaxed":
		return false, true
	}
	return false, false
}

// readValues reads the digest of the body and the signature.
func (s *signature) readValues(tags map[string]string) (Result, string) {
	text := stripSpace(tags["b"])
	var err error
	if s.value, err = base64.StdEncoding.DecodeString(text); err != nil || len(s.value) == 0 || len(s.value) > mostRSA/8 {
		return Neutral, "b= cannot be read"
	}
	s.Begins = text[:min(beginning, len(text))]
	if s.bodyHash, err = base64.StdEncoding.DecodeString(stripSpace(tags["bh"])); err != nil || len(s.bodyHash) != sha256.Size {
		return Neutral, "bh= cannot be read"
	}
	return unjudged, ""
}

// readHeaderList reads which fields are signed.
func (s *signature) readHeaderList(tags map[string]string) (Result, string) {
	s.names = strings.Split(strings.ToLower(stripSpace(tags["h"])), ":")
	switch {
	case !slices.Contains(s.names, "from"): // RFC 6376 5.4
		return PermError, "From is not signed"
	case len(s.names) > maxFields:
		return Policy, "too many fields are signed"
	}
	return unjudged, ""
}

// readDates reads when it was made and until when it is good.
func readDates(tags map[string]string, now time.Time) (Result, string) {
	at, made, ok := readDate(tags, "t")
	if !ok {
		return Neutral, "t= is no time"
	}
	until, ends, ok := readDate(tags, "x")
	switch {
	case !ok || made && ends && until < at:
		return Neutral, "x= is no time, or before t="
	case ends && now.Unix() > until:
		return Policy, "expired"
	}
	return unjudged, ""
}

// readDate reads a tag; ok is false when it is there and no number of seconds. Those
// of the far future may be longer than we can count. RFC 6376 3.5
func readDate(tags map[string]string, tag string) (seconds int64, there, ok bool) {
	text, there := tags[tag]
	if !there {
		return 0, false, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, true, err == nil && n >= 0
}

func stripSpace(s string) string { return strings.Join(strings.Fields(s), "") }

// fetchKey finds the key in DNS. RFC 6376 6.1.2
func (s *signature) fetchKey(ctx context.Context, r Resolver) {
	if s.Result != unjudged {
		return
	}
	owner, err := dnsname.ParseOwner(s.Selector.String() + "._domainkey." + s.Domain.String())
	if err != nil {
		s.be(PermError, "the name of the key is too long")
		return
	}
	a := r.Lookup(ctx, owner, TypeTXT)
	switch {
	case !a.Known:
		s.be(TempError, "DNS does not say what the key is")
	case len(a.TXT) == 0:
		s.be(PermError, "no key")
	case len(a.TXT) > 1:
		s.be(PermError, "several keys under one name") // RFC 6376 3.6.2.2
	default:
		s.useRecord(a.TXT[0])
	}
}

// useRecord takes the key of a record, if it is one for this signature. RFC 6376 3.6.1
func (s *signature) useRecord(record string) {
	tags, err := parseTags(record)
	if err != nil {
		s.be(PermError, "the record of the key cannot be read")
		return
	}
	if why := forbidden(tags); why != "" {
		s.be(PermError, why)
		return
	}
	kind, _, _ := strings.Cut(s.Algorithm, "-")
	if k, ok := tags["k"]; ok && k != kind || !ok && kind != "rsa" {
		s.be(PermError, "the record is for another kind of key")
		return
	}
	flags := words(tags["t"])
	switch {
	case slices.Contains(flags, "y"):
		s.be(Policy, "the domain only tests") // RFC 6376 3.6.1: as if it were not signed
		return
	case slices.Contains(flags, "s") && s.identity != s.Domain:
		s.be(PermError, "i= is below d=, which its record forbids")
		return
	}
	der, err := base64.StdEncoding.DecodeString(stripSpace(tags["p"]))
	if err != nil {
		s.be(PermError, "the key cannot be read")
		return
	}
	s.useKey(kind, der)
}

// useKey takes a key that is strong enough and not a burden.
func (s *signature) useKey(kind string, der []byte) {
	if kind == "ed25519" {
		if len(der) != ed25519.PublicKeySize {
			s.be(PermError, "the key cannot be read")
			return
		}
		s.key = ed25519.PublicKey(der) // RFC 8463 4
		return
	}
	key, ok := parseRSA(der)
	switch {
	case !ok:
		s.be(PermError, "the key cannot be read")
	case key.N.BitLen() < leastRSA:
		s.be(Policy, "the key is too short")
	case key.N.BitLen() > mostRSA:
		s.be(Policy, "the key is too long")
	default:
		s.key = key
	}
}

// parseRSA takes both forms that RFC 6376 and its erratum 3017 leave us with.
func parseRSA(der []byte) (*rsa.PublicKey, bool) {
	if k, err := x509.ParsePKIXPublicKey(der); err == nil {
		key, ok := k.(*rsa.PublicKey)
		return key, ok
	}
	key, err := x509.ParsePKCS1PublicKey(der)
	return key, err == nil
}

// verify judges a signature whose key is known, once the body has ended. RFC 6376 6.1.3
func (s *signature) verify(fields []raw) {
	switch {
	case s.Result != unjudged:
		return
	case s.key == nil: // nobody asked, or nobody was asked in time
		s.be(TempError, "DNS does not say what the key is")
		return
	case s.body == nil || !slices.Equal(s.body.sum(), s.bodyHash):
		s.be(Fail, "the body was changed")
		return
	}
	digest := sha256.Sum256([]byte(s.signedText(fields)))
	good := false
	switch key := s.key.(type) {
	case ed25519.PublicKey:
		good = ed25519.Verify(key, digest[:], s.value) // RFC 8463 3
	case *rsa.PublicKey:
		good = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], s.value) == nil
	}
	if !good {
		s.be(Fail, "the header was changed, or another key signed")
		return
	}
	s.be(Pass, "")
}

// signedText is what the signature is about: the fields of h=, those of one name from
// the last up (RFC 6376 5.4.2), and its own without what b= holds (3.7).
func (s *signature) signedText(fields []raw) string {
	left := map[string][]int{}
	for i, f := range fields {
		name := strings.ToLower(f.name)
		left[name] = append(left[name], i)
	}
	var b strings.Builder
	for _, name := range s.names {
		at := left[name]
		if len(at) == 0 {
			continue // RFC 6376 5.4: that it was not there is signed
		}
		b.WriteString(s.canonical(fields[at[len(at)-1]]))
		b.WriteString("\r\n")
		left[name] = at[:len(at)-1]
	}
	own := s.raw
	own.text = strings.TrimSuffix(own.text, own.value)
	own.value = withoutValue(own.value)
	own.text += own.value
	b.WriteString(s.canonical(own))
	return b.String()
}

// canonical is a field without its line end. RFC 6376 3.4.1, 3.4.2
func (s *signature) canonical(f raw) string {
	if s.simpleHeader {
		return strings.TrimSuffix(f.text, "\r\n")
	}
	return relaxed(f.field)
}

// withoutValue empties the tag b= of a signature.
func withoutValue(value string) string {
	parts := strings.Split(value, ";")
	for i, part := range parts {
		if name, _, ok := strings.Cut(part, "="); ok && strings.TrimSpace(name) == "b" {
			parts[i] = name + "="
		}
	}
	return strings.Join(parts, ";")
}
