package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

// A domain takes no mail when it says so, and when DNS can be believed.
func TestNullMX(t *testing.T) {
	n := selfWorld(t)
	n.World.Zone("example.test.").Add("null MX 0 .", "both MX 0 .", "both MX 10 mx")
	n.World.Zone("unsigned.test.").Add("null MX 0 .")
	n.World.Zone("bogus.test.").Add("null MX 0 .")
	path := writeConfig(t, fmt.Sprintf(selfConfig, "boss@example.test", n.DNS.Addr()))
	if err := n.WritePKI(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	resolver, _, err := newResolver(cfg, dnssec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	p := &parts{cfg: cfg, resolver: resolver}
	for domain, want := range map[string]bool{"null.example.test": true, "null.unsigned.test": true, "null.bogus.test": false,
		"both.example.test": false, "remote.test": false, "none.example.test": false} {
		if got := p.nullMX(t.Context(), dnsname.MustParse(domain)); got != want {
			t.Errorf("%s: %v", domain, got)
		}
	}
}
