package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient"
)

func TestCheckTellsRates(t *testing.T) {
	const anyClient, anyUser = `rule "any" (line 11): any domain can make this server ask DNS, at most 3000/m, 120/m for one peer and 600/m for one domain`, `rule "*@any" (line 11): any domain`
	const peer, zone = "lookup_rate_per_peer is 2/s: one peer may use up the 1/s of all", "lookup_rate_per_zone is 600/m: one zone may use up the 1/s of all"
	all := []string{anyClient, anyUser, peer, zone}
	rule := func(who, action string) string {
		return "\n[[rule]]\nwho = \"" + who + "\"\naction = \"" + action + "\"\nfrom = [\"any\"]\n"
	}
	for name, test := range map[string]struct {
		config string
		want   []string
	}{
		"nothing to say":            {rule("*._device.example.test", "allow") + rule("any", "deny"), nil},
		"any client":                {rule("any", "allow"), []string{anyClient}},
		"any user":                  {rule("*@any", "allow"), []string{anyUser}},
		"rates that one may use up": {"[limits]\nlookup_rate = \"1/s\"\nlookup_rate_per_peer = \"2/s\"\n", []string{peer, zone}},
		"as much as all":            {"[limits]\nlookup_rate = \"600/m\"\nlookup_rate_per_peer = \"10/s\"\n", nil},
	} {
		code, out, _ := run(t, "check", "--config", writeConfig(t, minimalConfig+test.config))
		if code != exitBroken { // nothing listens at the upstream
			t.Errorf("%s: exit %d", name, code)
		}
		for _, text := range all {
			wanted := strings.Contains(strings.Join(test.want, "\n"), text)
			if strings.Contains(out, text) != wanted {
				t.Errorf("%s: %q is there: %v\n%s", name, text, !wanted, out)
			}
		}
	}
}

// TestRatesAreWired: the server holds the rates of its configuration.
func TestRatesAreWired(t *testing.T) {
	cfg, err := loadConfig(writeConfig(t, minimalConfig+"[limits]\nlookup_rate = \"7/s\"\nlookup_rate_per_peer = \"5/m\"\nlookup_rate_per_zone = \"6/h\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	o := (&parts{cfg: cfg}).verifierOptions(nil)
	want := []daneclient.Rate{{N: 7, Per: time.Second}, {N: 5, Per: time.Minute}, {N: 6, Per: time.Hour}}
	if got := []daneclient.Rate{o.Rate, o.RatePerPeer, o.RatePerZone}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
