//go:build unix

package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// NamedPrograms are those that StartNamed needs: BIND.
var NamedPrograms = []string{"named", "dnssec-keygen", "dnssec-dsfromkey"}

// Named is BIND's name server with a zone that it signs itself and that takes
// updates, below the zones of a world.
type Named struct {
	Addr string // host:port, of the zone's only server and of whoever asks for any name
	r    *RealDNS
}

// Close ends the server and waits for it.
func (n *Named) Close() error { return n.r.Close() }

// DynamicZone is the zone that StartNamed makes.
type DynamicZone struct {
	Name string // with its final dot; a child of one of the world's zones
	TTL  int    // seconds
	Key  string // a clause as tsig-keygen writes it, for the key "updater", which may change TLSA records
}

// StartNamed adds a dynamic, signed zone to the world and serves both by BIND
// on a free port of 127.0.0.1 until Close. The folder must be empty. As with
// StartRealDNS, the world's now must be about now.
func (w *World) StartNamed(dir string, z DynamicZone) (*Named, error) {
	ds, err := makeZoneKey(dir, z.Name)
	if err != nil {
		return nil, err
	}
	label, parent, _ := strings.Cut(z.Name, ".")
	w.Zone(parent).Add(label+" NS ns."+z.Name, "ns."+label+" A 127.0.0.1", ds)
	zones, err := w.WriteZoneFiles(dir)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("$TTL %d\n%[2]s SOA ns.%[2]s hostmaster.%[2]s 1 7200 900 1209600 60\n%[2]s NS ns.%[2]s\nns.%[2]s A 127.0.0.1\n", z.TTL, z.Name)
	if err := os.WriteFile(filepath.Join(dir, "dynamic.zone"), []byte(text), 0o644); err != nil {
		return nil, err
	}
	n := &Named{r: &RealDNS{Dir: dir}}
	conf := func(addr string) string { return namedConf(dir, addr, zones, z) }
	n.Addr, err = n.r.start("named", "running", conf, "-g", "-c")
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// makeZoneKey makes the one key that BIND's default policy wants, and returns
// its DS.
func makeZoneKey(dir, zone string) (string, error) {
	name, err := exec.Command("dnssec-keygen", "-k", "default", "-K", dir, zone).Output()
	if err != nil {
		return "", fmt.Errorf("dnssec-keygen: %w", err)
	}
	ds, err := exec.Command("dnssec-dsfromkey", "-2", filepath.Join(dir, strings.TrimSpace(string(name)))).Output()
	if err != nil {
		return "", fmt.Errorf("dnssec-dsfromkey: %w", err)
	}
	return strings.TrimSpace(string(ds)), nil
}

func namedConf(dir, addr string, zones map[string]string, z DynamicZone) string {
	host, port, _ := net.SplitHostPort(addr)
	var b strings.Builder
	fmt.Fprintf(&b, `options {
	directory "%[1]s";
	pid-file none;
	session-keyfile "%[1]s/session.key";
	lock-file none;
	listen-on port %[3]s { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	notify no;
};
controls { };
%[4]s
zone "%[5]s" {
	type primary;
	file "dynamic.zone";
	key-directory "%[1]s";
	dnssec-policy default;
	update-policy { grant updater zonesub TLSA; };
};
`, dir, host, port, z.Key, z.Name)
	for name, path := range zones {
		fmt.Fprintf(&b, "zone \"%s\" { type primary; file \"%s\"; };\n", name, path)
	}
	return b.String()
}
