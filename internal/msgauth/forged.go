package msgauth

import (
	"strings"

	"github.com/emersion/go-msgauth/authres"

	"dancemta/internal/dnsname"
)

// forged returns the Authentication-Results fields that must not pass: those that
// claim to be ours, and those that might be taken so because they are of a version
// that we do not know or say in no plain word whose they are. RFC 8601 5
func forged(fields []raw, ours dnsname.Name) []raw {
	var gone []raw
	for _, f := range fields {
		if !strings.EqualFold(f.name, resultsField) {
			continue
		}
		if id, ok := authservID(f.value); !ok || isOurs(id, ours) {
			gone = append(gone, f)
		}
	}
	return gone
}

// isOurs compares as those may who believe us: in any case, in U-labels or
// A-labels, with a final dot or without.
func isOurs(id string, ours dnsname.Name) bool {
	name, err := parseDomain(strings.TrimRight(id, "."))
	return err == nil && name == ours
}

// authservID reads whose the value of a field is: authserv-id [version], up to the first
// semicolon (RFC 8601 2.2). ok is false when that cannot be read. What stands behind
// changes nothing: it is as honest as he whose name it bears.
//
// The library knows no comments and no quoted strings, which others may read where we
// see a part of a name; almost nobody writes them there, and a field with one goes.
func authservID(value string) (id string, ok bool) {
	value, _, _ = strings.Cut(value, ";")
	id, _, err := authres.Parse(value)
	return id, err == nil && id != "" && !strings.ContainsFunc(id, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>@,:\"/[]?=`, r) // RFC 2045 5.1: no token
	})
}
