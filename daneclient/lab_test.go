package daneclient_test

import (
	"context"
	"testing"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

func recordText(r dnssec.TLSA) string { return tlsa.Record(r).String() }

// resolver is the real one; it asks the lab and trusts the lab's root.
func resolver(t *testing.T, net *lab.Internet) *dnssec.Resolver {
	t.Helper()
	anchors, err := dnssec.ParseAnchors(net.World.Anchor())
	if err != nil {
		t.Fatal(err)
	}
	r, err := dnssec.New(dnssec.Options{Upstreams: []string{net.DNS.Addr()}, Anchors: anchors})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// fleet is the CA of all the wildcards below.
var fleet = lab.NewCA("fleet CA", lab.CAOptions{})

// addWildcards makes zones whose records stand at a wildcard.
func addWildcards(net *lab.Internet) {
	net.World.AddZone("fleet.test.", lab.ZoneOptions{}).Add("*._device " + lab.TLSA(2, 0, 1, fleet.Certificate))
	net.World.AddZone("broad.test.", lab.ZoneOptions{}).Add("* " + lab.TLSA(2, 0, 1, fleet.Certificate))
	net.World.AddZone("led.test.", lab.ZoneOptions{}).Add("*._device CNAME fleet.led.test.", "fleet "+lab.TLSA(2, 0, 1, fleet.Certificate),
		"x._device CNAME pump7.broad.test.", "*.y._device CNAME pump7.broad.test.")
}

// devices of a wildcard are clients, and nothing else is.
func devices(ctx context.Context, t *testing.T, v *daneclient.Verifier) {
	t.Helper()
	for san, want := range map[string]daneclient.Reason{
		"pump7._device.fleet.test": 0,
		"mx.fleet.test":            daneclient.NoRecord,
		"mx.broad.test":            daneclient.WildcardForbidden,
		"pump7._device.broad.test": daneclient.WildcardForbidden, // made from *.broad.test
		"pump7._device.led.test":   0,
		"x._device.led.test":       daneclient.WildcardForbidden,
		"x.y._device.led.test":     daneclient.WildcardForbidden,
	} {
		_, err := v.Client(ctx, credential(fleet.Issue(lab.LeafOptions{Names: []string{san}}).Chain...), anyName)
		if reasonOf(t, err) != want {
			t.Errorf("%s: %v, want %v", san, err, want)
		}
	}
	rick := credential(fleet.Issue(lab.LeafOptions{Names: []string{"broad.test"}, UIDs: []string{"rick"}}).Chain...)
	if _, err := v.Anchored(ctx, dnsname.MustParse("_user.broad.test"), rick); reasonOf(t, err) != daneclient.WildcardForbidden {
		t.Errorf("a user CA by wildcard: %v", err)
	}
}

func users(ctx context.Context, t *testing.T, v *daneclient.Verifier, net *lab.Internet) {
	t.Helper()
	for _, test := range []struct {
		user lab.Client
		want daneclient.Reason
	}{{net.Rick, 0}, {net.Eve, daneclient.Unusable}} {
		_, err := v.Anchored(ctx, dnsname.MustParse(test.user.Owner), credential(test.user.Chain...))
		if reasonOf(t, err) != test.want {
			t.Errorf("%s: %v, want %v", test.user.File, err, test.want)
		}
	}
}
