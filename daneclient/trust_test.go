package daneclient_test

import (
	"log/slog"
	"strings"
	"testing"

	"dancemta/daneclient"
)

// A verdict that rests on a resolver's word says so in the log.
func TestTrustIsLogged(t *testing.T) {
	cred := selfSigned(device)
	for trusted, want := range map[string]bool{"": false, "ad": true} {
		var log strings.Builder
		a := secure(publish(t, 3, 1, 1, cred.Chain[0]))
		a.Trusted = trusted
		dns := &answers{}
		dns.set(device, a)
		v := verifier(t, daneclient.Options{Resolver: dns, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		if _, err := v.Client(t.Context(), cred, anyName); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "trust=ad") != want {
			t.Errorf("trusted %q: %s", trusted, &log)
		}
	}
}
