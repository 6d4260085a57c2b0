package daneclient_test

import (
	"errors"
	"testing"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
)

func TestReasons(t *testing.T) {
	tests := []struct {
		reason    daneclient.Reason
		word      string
		temporary bool
	}{
		{daneclient.NoCertificate, "no-certificate", false},
		{daneclient.WeakTLS, "weak-tls", false},
		{daneclient.Resumed, "resumed", false},
		{daneclient.NoName, "no-name", false},
		{daneclient.AmbiguousName, "ambiguous-name", false},
		{daneclient.NotAllowed, "not-allowed", false},
		{daneclient.ForbiddenName, "forbidden-name", false},
		{daneclient.NoRecord, "no-record", false},
		{daneclient.Unusable, "unusable", false},
		{daneclient.NoMatch, "no-match", false},
		{daneclient.Insecure, "insecure", false},
		{daneclient.WildcardForbidden, "wildcard-forbidden", false},
		{daneclient.BogusDNS, "bogus-dns", true},
		{daneclient.FailedDNS, "failed-dns", true},
		{daneclient.Overloaded, "overloaded", true},
		{0, "unknown", true},
		{99, "unknown", true},
	}
	for _, test := range tests {
		e := &daneclient.Error{Reason: test.reason}
		if e.Reason.String() != test.word || e.Temporary() != test.temporary {
			t.Errorf("%d: %s, temporary %v; want %s, %v", test.reason, e.Reason, e.Temporary(), test.word, test.temporary)
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("cause")
	e := &daneclient.Error{Reason: daneclient.BogusDNS, Name: dnsname.MustParse(device), Detail: "no signature", Err: cause}
	if got, want := e.Error(), device+" TLSA: bogus-dns: no signature: cause"; got != want || !errors.Is(e, cause) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (&daneclient.Error{Reason: daneclient.NoName}).Error(); got != "no-name" {
		t.Errorf("got %q", got)
	}
}
