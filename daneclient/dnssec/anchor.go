package dnssec

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Anchor is the digest of one key of the root that is trusted from the start
// (RFC 4034 5.1, RFC 9718). DNSKEY anchors are kept as their SHA-256 digest.
type Anchor struct {
	KeyTag     uint16
	Algorithm  uint8
	DigestType uint8
	Digest     []byte

	// Outside of these the anchor is trusted no more, or not yet (RFC 9718
	// 2.1.3); the zero times are no bounds.
	ValidFrom, ValidUntil time.Time
}

// problem says why an anchor must not be used at a time, "" when it may.
func (a Anchor) problem(now time.Time) string {
	switch {
	case !a.ValidFrom.IsZero() && now.Before(a.ValidFrom):
		return "not valid before " + a.ValidFrom.UTC().Format(time.DateOnly)
	case !a.ValidUntil.IsZero() && !now.Before(a.ValidUntil):
		return "not valid since " + a.ValidUntil.UTC().Format(time.DateOnly)
	}
	return ""
}

// String returns the anchor as a DS line.
func (a Anchor) String() string {
	return fmt.Sprintf(". IN DS %d %d %d %X", a.KeyTag, a.Algorithm, a.DigestType, a.Digest)
}

// builtin holds both keys of the roll from KSK-2017 to KSK-2024: a program
// that knows one of them alone fails on one side of the day of the change.
const builtin = `
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
`

// BuiltinAnchors returns the keys of the root that this build knows.
func BuiltinAnchors() []Anchor {
	anchors, err := ParseAnchors(builtin)
	if err != nil {
		panic(err) // a constant of this file, proved by a test
	}
	return anchors
}

// maxAnchorText bounds a trust anchor file: the root has had at most four keys
// at once, a line has less than 1 KiB.
const maxAnchorText = 64 << 10

// ParseAnchors reads DS or DNSKEY records of the root, one a line, as
// dns-root-data's root.key and unbound-anchor write them, or IANA's
// root-anchors.xml (RFC 9718). Of DNSKEYs only key signing keys count; keys that
// an RFC 5011 state file marks as not (or no longer) trusted are left out. The
// errors name the line.
func ParseAnchors(text string) ([]Anchor, error) {
	if len(text) > maxAnchorText {
		return nil, fmt.Errorf("trust anchors: more than %d octets", maxAnchorText)
	}
	if strings.HasPrefix(strings.TrimLeft(text, "\ufeff \t\r\n"), "<") {
		return parseXML(text)
	}
	var anchors []Anchor
	number := 0
	for line := range strings.Lines(text) {
		number++
		record, comment, _ := strings.Cut(line, ";")
		if strings.TrimSpace(record) == "" {
			continue
		}
		a, ok, err := parseAnchor(record)
		if err != nil {
			return nil, fmt.Errorf("trust anchors: line %d: %w", number, err)
		}
		if ok && trustedState(comment) {
			anchors = append(anchors, a)
		}
	}
	if len(anchors) == 0 {
		return nil, errors.New("trust anchors: no DS or DNSKEY of a key signing key of the root")
	}
	return anchors, nil
}

// parseAnchor reads one line; ok is false for a DNSKEY that is no anchor.
func parseAnchor(line string) (a Anchor, ok bool, err error) {
	if strings.HasPrefix(line, "$") {
		return Anchor{}, false, errors.New("no directives here")
	}
	rr, err := dns.NewRR(line)
	if err != nil {
		return Anchor{}, false, err
	}
	if rr == nil || rr.Header().Name != root || rr.Header().Class != dns.ClassINET {
		return Anchor{}, false, errors.New("no record of the root")
	}
	ds, isDS := rr.(*dns.DS)
	if key, isKey := rr.(*dns.DNSKEY); isKey {
		if key.Flags&dns.SEP == 0 || !usableKey(key) {
			return Anchor{}, false, nil
		}
		ds, isDS = key.ToDS(dns.SHA256), true
	}
	if !isDS || ds == nil {
		return Anchor{}, false, errors.New("neither a DS nor a DNSKEY record")
	}
	if !usableDS(ds) {
		return Anchor{}, false, fmt.Errorf("algorithm %d or digest type %d is not supported", ds.Algorithm, ds.DigestType)
	}
	digest, err := hex.DecodeString(ds.Digest)
	if err != nil || len(digest) != digestSizes[ds.DigestType] {
		return Anchor{}, false, errors.New("the digest has a wrong length")
	}
	return Anchor{KeyTag: ds.KeyTag, Algorithm: ds.Algorithm, DigestType: ds.DigestType, Digest: digest}, true, nil
}

// trustedState reads the comment that autotrust files put behind a key, such
// as ";;state=2 [  VALID  ]". RFC 5011 4.2: VALID (2) and MISSING (3) are
// trusted, all other states are not; a file without states trusts all it has.
func trustedState(comment string) bool {
	_, state, found := strings.Cut(comment, "state=")
	return !found || strings.HasPrefix(state, "2") || strings.HasPrefix(state, "3")
}

// records returns the anchors that are valid at a time as the DS RRset of the
// root, which has no parent to publish one, and how long that will be so: the
// zero time for ever.
func records(anchors []Anchor, now time.Time) (set []*dns.DS, until time.Time) {
	for _, a := range anchors {
		if a.problem(now) != "" {
			continue
		}
		set = append(set, a.record())
		if !a.ValidUntil.IsZero() && (until.IsZero() || a.ValidUntil.Before(until)) {
			until = a.ValidUntil
		}
	}
	return set, until
}

func (a Anchor) record() *dns.DS {
	return &dns.DS{
		Hdr:    dns.RR_Header{Name: root, Rrtype: dns.TypeDS, Class: dns.ClassINET},
		KeyTag: a.KeyTag, Algorithm: a.Algorithm, DigestType: a.DigestType, Digest: hex.EncodeToString(a.Digest),
	}
}
