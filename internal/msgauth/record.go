package msgauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// maxText is what one string of a TXT record can hold. RFC 1035 3.3.14
const maxText = 255

// Record is the text of a key's TXT record. It says nothing of services, so it
// serves mail and, as RFC 8460 3 wants it, TLS reports.
func Record(public crypto.PublicKey) (string, error) {
	alg, err := algorithm(public)
	if err != nil {
		return "", err
	}
	var p []byte
	switch k := public.(type) {
	case ed25519.PublicKey:
		p = k // RFC 8463 4: the bare key
	default:
		// RFC 6376 3.6.1 says RSAPublicKey; all the world reads this, and erratum 3017 says so
		if p, err = x509.MarshalPKIXPublicKey(k); err != nil {
			return "", err
		}
	}
	return "v=DKIM1; k=" + alg + "; p=" + base64.StdEncoding.EncodeToString(p), nil
}

// ZoneText is a record's text as zone files have it: strings in quotes, none too
// long. RFC 6376 3.6.2.2
func ZoneText(record string) string {
	var b strings.Builder
	for len(record) > maxText {
		b.WriteString(`"` + record[:maxText] + `" `)
		record = record[maxText:]
	}
	return b.String() + `"` + record + `"`
}

// State is what DNS publishes of a key.
type State string

// The states.
const (
	Match    State = "match"    // verifiers will find the key
	Mismatch State = "mismatch" // they find another, or a record that forbids its use
	Missing  State = "missing"  // they find none
)

// Compare judges the TXT records of a key's owner name. why is one sentence, ""
// for a match without a remark.
func Compare(records []string, public crypto.PublicKey) (s State, why string) {
	switch len(records) {
	case 0:
		return Missing, "no TXT record"
	case 1:
	default:
		return Mismatch, fmt.Sprintf("%d TXT records where verifiers want one", len(records)) // RFC 6376 3.6.2.2
	}
	tags, err := parseTags(records[0])
	if err != nil {
		return Mismatch, err.Error()
	}
	if why := forbidden(tags); why != "" {
		return Mismatch, why
	}
	alg, err := algorithm(public)
	if err != nil {
		return Mismatch, err.Error()
	}
	if k, ok := tags["k"]; ok && k != alg || !ok && alg != "rsa" { // RFC 6376 3.6.1: rsa unless it says otherwise
		return Mismatch, "the record is for another kind of key"
	}
	if !sameKey(tags["p"], public) {
		return Mismatch, "another key is published"
	}
	if slices.Contains(words(tags["t"]), "y") {
		return Match, "the record says t=y: verifiers treat the mail as unsigned while the domain tests"
	}
	return Match, ""
}

// forbidden says what in a record keeps verifiers from using its key. RFC 6376 3.6.1
func forbidden(tags map[string]string) string {
	p, ok := tags["p"]
	switch v, version := tags["v"]; {
	case version && v != "DKIM1":
		return "the record is of another version"
	case !ok:
		return "the record has no p="
	case p == "":
		return "the record revokes the key: its p= is empty"
	}
	if h, ok := tags["h"]; ok && !slices.Contains(words(h), "sha256") {
		return "the record does not allow sha256"
	}
	if s, ok := tags["s"]; ok && !slices.Contains(words(s), "*") && !slices.Contains(words(s), "email") {
		return "the record is for another service than email"
	}
	return ""
}

// sameKey compares octets, so that white space and the form of RSA keys (erratum
// 3017 of RFC 6376) do not matter.
func sameKey(p string, public crypto.PublicKey) bool {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(p), ""))
	if err != nil {
		return false
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		return bytes.Equal(der, k)
	case *rsa.PublicKey:
		if other, err := x509.ParsePKIXPublicKey(der); err == nil {
			return k.Equal(other)
		}
		other, err := x509.ParsePKCS1PublicKey(der)
		return err == nil && k.Equal(other)
	}
	return false
}

// parseTags reads a tag-list. RFC 6376 3.2
func parseTags(s string) (map[string]string, error) {
	tags := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		switch {
		case !ok && strings.TrimSpace(part) == "":
			continue
		case !ok || name == "":
			return nil, fmt.Errorf("%.20q in the record is no tag", part)
		}
		if _, twice := tags[name]; twice {
			return nil, fmt.Errorf("the record has the tag %.20q twice", name)
		}
		tags[name] = strings.TrimSpace(value)
	}
	return tags, nil
}

func words(list string) []string {
	var all []string
	for w := range strings.SplitSeq(list, ":") {
		all = append(all, strings.TrimSpace(w))
	}
	return all
}
