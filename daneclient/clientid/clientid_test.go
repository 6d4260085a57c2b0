package clientid

import (
	"errors"
	"strings"
	"testing"

	"dancemta/internal/dnsname"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("a.", 126) + "a" // 253 octets
	for _, c := range []struct {
		name, data, want string
		err              error
	}{
		{"device", "\x1csensor7._device.partner.test", "sensor7._device.partner.test", nil},
		{"user", "\x11_user.example.org", "_user.example.org", nil},
		{"upper case", "\x0bExample.ORG", "example.org", nil},
		{"one label", "\x04test", "test", nil},
		{"longest", "\xfd" + long, long, nil},
		{"zero length", "\x00", "", ErrEmpty},
		{"no octets", "", "", ErrEmpty},
		{"short", "\x05test", "", ErrEncoding},
		{"trailing octets", "\x03test", "", ErrEncoding},
		{"zero length and more", "\x00x", "", ErrEncoding},
		{"final dot", "\x05test.", "", ErrName},
		{"empty label", "\x04a..b", "", ErrName},
		{"over 253", "\xff" + strings.Repeat("a.", 127) + "a", "", ErrName},
		{"label over 63", "\x40" + strings.Repeat("a", 64), "", ErrName},
		{"escape", "\x06\\065.b", "", ErrName},
		{"escaped dot", "\x05a\\.bc", "", ErrName},
		{"at", "\x08rick@a.b", "", ErrName},
		{"star", "\x05*.a.b", "", ErrName},
		{"space", "\x04a .b", "", ErrName},
		{"NUL", "\x04a\x00.b", "", ErrName},
		{"U-label", "\x0cb\xc3\xbccher.test", "", ErrName},
	} {
		got, err := Parse([]byte(c.data))
		if !errors.Is(err, c.err) || got.String() != c.want {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// Files that were patched before Go was upgraded in place are noticed.
func TestMixed(t *testing.T) {
	for _, c := range []struct{ patched, own, want string }{
		{"go1.26.8", "go1.26.8", ""},
		{"go1.26.8", "go1.26.8 X:nodwarf5", ""},
		{"go1.26.8 X:a", "go1.26.8 X:b", ""},
		{"go1.26.7", "go1.26.8", "crypto/tls of this build was made from go1.26.7, all else from go1.26.8"},
		{"go1.26.8", "go1.26.80", "crypto/tls of this build was made from go1.26.8, all else from go1.26.80"},
		{"", "go1.26.8", "crypto/tls of this build was made from , all else from go1.26.8"},
	} {
		if got := mixed(c.patched, c.own); got != c.want {
			t.Errorf("%q, %q: %q", c.patched, c.own, got)
		}
	}
	if got := Mixed(); got != "" {
		t.Errorf("this very build: %s", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x0bexample.org"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		name, err := Parse(data)
		if err != nil {
			return
		}
		if again, err := Parse(marshal(name)); err != nil || again != name {
			t.Errorf("%q: %q, %v the second time", name, again, err)
		}
	})
}

func TestMarshal(t *testing.T) {
	if got := string(marshal(dnsname.MustParse("_user.example.org"))); got != "\x11_user.example.org" {
		t.Errorf("%q", got)
	}
	if got := string(marshal(dnsname.Name{})); got != "\x00" {
		t.Errorf("the request for a name: %q", got)
	}
}
