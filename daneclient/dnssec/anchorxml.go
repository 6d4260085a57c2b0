package dnssec

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"time"
)

// xmlAnchors is the form of root-anchors.xml. RFC 9718 2.1
type xmlAnchors struct {
	XMLName xml.Name    `xml:"TrustAnchor"`
	Zone    string      `xml:"Zone"`
	Digests []xmlDigest `xml:"KeyDigest"`
}

type xmlDigest struct {
	ValidFrom  string `xml:"validFrom,attr"`
	ValidUntil string `xml:"validUntil,attr"`
	KeyTag     uint16 `xml:"KeyTag"`
	Algorithm  uint8  `xml:"Algorithm"`
	DigestType uint8  `xml:"DigestType"`
	Digest     string `xml:"Digest"`
}

// parseXML reads root-anchors.xml. It lists the keys of all times: which are
// valid now, the clock says when they are used. Entries that are not supported
// are passed over, since the file is made for everybody.
func parseXML(text string) ([]Anchor, error) {
	var doc xmlAnchors
	text = strings.TrimPrefix(text, "\ufeff")
	d := xml.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("trust anchors: XML: %w", err)
	}
	if strings.TrimSpace(text[d.InputOffset():]) != "" {
		return nil, errors.New("trust anchors: XML: something stands behind the end")
	}
	if strings.TrimSpace(doc.Zone) != root {
		return nil, fmt.Errorf("trust anchors: XML: they are those of the zone %.80q, not of the root", doc.Zone)
	}
	var anchors []Anchor
	for i, x := range doc.Digests {
		a, ok, err := x.anchor()
		if err != nil {
			return nil, fmt.Errorf("trust anchors: XML: KeyDigest %d: %w", i+1, err)
		}
		if ok {
			anchors = append(anchors, a)
		}
	}
	if len(anchors) == 0 {
		return nil, errors.New("trust anchors: XML: no KeyDigest that is supported")
	}
	return anchors, nil
}

// anchor returns one entry; ok is false when it is not supported. A date that
// cannot be read is an error: without it a withdrawn key would be valid.
func (x xmlDigest) anchor() (a Anchor, ok bool, err error) {
	a = Anchor{KeyTag: x.KeyTag, Algorithm: x.Algorithm, DigestType: x.DigestType}
	if a.ValidFrom, err = xmlDate(x.ValidFrom); err != nil {
		return Anchor{}, false, err
	}
	if x.ValidFrom == "" {
		return Anchor{}, false, errors.New("no validFrom") // RFC 9718 2.1.3: required
	}
	if a.ValidUntil, err = xmlDate(x.ValidUntil); err != nil {
		return Anchor{}, false, err
	}
	if !usableDS(a.record()) {
		return Anchor{}, false, nil
	}
	// Blanks are for the eyes: a hexBinary may be broken over lines.
	a.Digest, err = hex.DecodeString(strings.Join(strings.Fields(x.Digest), ""))
	if err != nil || len(a.Digest) != digestSizes[a.DigestType] {
		return Anchor{}, false, errors.New("the digest has a wrong length")
	}
	return a, true, nil
}

// xmlDate reads a dateTime, "" as the zero time. One without a zone is UTC.
func xmlDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(form, s); err == nil && !t.IsZero() {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.80q is no date", s)
}
