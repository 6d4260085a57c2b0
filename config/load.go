package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Load reads and checks the file at path. The error is Errors when the file
// could be read but says something wrong.
func Load(path string) (*Config, error) {
	doc, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("folder of %s: %w", path, err)
	}
	cfg, err := parse(path, doc)
	if err != nil {
		return nil, err
	}
	cfg.resolvePaths(dir)
	return cfg, nil
}

// parse compares the document with the struct key by key (walk), which finds
// most faults with their places; then go-toml fills the struct from what is
// right, and the rules between keys are checked on it.
func parse(file string, doc []byte) (*Config, error) {
	f := &faults{file: file, index: index{}}
	clean, ok := walk(doc, f)
	if !ok {
		return nil, f.list.sorted()
	}
	cfg := defaults()
	cfg.index = f.index
	d := toml.NewDecoder(bytes.NewReader(clean))
	if len(f.list) == 0 {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(cfg); err != nil {
		if len(f.list) == 0 {
			f.decodeError(err)
		}
		return nil, f.list.sorted()
	}
	cfg.fillLists()
	check(cfg, f)
	return cfg, f.list.sorted()
}

// decodeError adds what go-toml finds beyond walk: faults of TOML's own rules,
// such as a table that is also a value.
func (f *faults) decodeError(err error) {
	p, text := place{1, 1}, err.Error()
	if de, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.line, p.column = de.Position()
	}
	f.at(p, "", strings.TrimPrefix(text, "toml: "), "see https://toml.io for the form of the file")
}

// defaults is the choice for every absent key that has one.
func defaults() *Config {
	return &Config{
		Log:  Log{Level: "info", Format: Text},
		DANE: DANE{ExtensionType: 65500},
		DNS:  DNS{Trust: Validate, Timeout: Duration{5 * time.Second}},
		Limits: Limits{
			MessageSize: Size{50 << 20}, Recipients: 100, Hops: 100, Connections: 1000, ConnectionsPerAddress: 100, ConnectionsPerNetwork: 300,
			Commands: 100_000, Errors: 10, ConnectionBytes: Size{16 << 30}, ConnectionTime: Duration{time.Hour}, DataRate: 128,
			FreeSpace: Size{64 << 20}, FreeInodes: 1000, Lookups: 64, LookupsPerPeer: 4, LookupsPerZone: 8,
			LookupRate: Rate{3000, time.Minute}, LookupRatePerPeer: Rate{120, time.Minute}, LookupRatePerZone: Rate{600, time.Minute},
		},
		Queue: Queue{Expire: Duration{5 * day}, BounceExpire: Duration{2 * day}, DelayNotice: Duration{4 * time.Hour}, History: Duration{day}, Concurrency: 50, PerDestination: 20},
		Delivery: Delivery{
			MXPort: 25,
		},
		MTASTS: MTASTS{Enabled: true, Roots: SystemRoots, Port: 443},
		LDAP: LDAP{Connections: 200, ConnectionWait: Duration{5 * time.Second}, IdleConnections: 8, ConnectTimeout: Duration{10 * time.Second},
			ReplyTimeout: Duration{5 * time.Minute}, ReplySize: Size{16 << 20}},

		Authentication: Authentication{DMARC: DMARCMark},
		Directory: Directory{
			RecipientFilter: "(mail={address})", Cache: Duration{5 * time.Minute}, NegativeCache: Duration{time.Minute}, Timeout: Duration{5 * time.Second},
			Connections: 4, PasswordRatePerUser: Rate{20, time.Minute}, PasswordRatePerAddress: Rate{60, time.Minute},
		},
	}
}

// fillLists sets the defaults of lists and of tables in lists, which exist only
// after decoding.
func (c *Config) fillLists() {
	if !c.index.has("queue.retry") {
		c.Queue.Retry = []Duration{{5 * time.Minute}, {10 * time.Minute}, {20 * time.Minute}, {40 * time.Minute}, {time.Hour}}
	}
	for i := range c.Routes {
		if r := &c.Routes[i]; r.Protocol == "" {
			r.Protocol = SMTP
		}
	}
	for i := range c.Milters {
		m := &c.Milters[i]
		if m.OnFailure == "" {
			m.OnFailure = FailureTemporary
		}
		if m.Timeout.Duration == 0 {
			m.Timeout = Duration{30 * time.Second}
		}
		if m.MessageTimeout.Duration == 0 {
			m.MessageTimeout = Duration{3 * time.Minute}
		}
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.ClientCertificates == "" {
			l.ClientCertificates = CertificatesAsk
			if c.Believes(l.Name) {
				l.ClientCertificates = CertificatesOff
			}
		}
		if l.DANEFailure == "" {
			l.DANEFailure = Unauthenticated
		}
	}
	c.defaultLDAPListeners()
}

// resolvePaths makes the paths absolute.
func (c *Config) resolvePaths(dir string) {
	paths := []*Path{&c.StateDir, &c.TLS.Certificate, &c.TLS.Key, &c.DNS.TrustAnchors, &c.DNS.TLSRoots, &c.DNS.TLSCertificate, &c.DNS.TLSKey,
		&c.LDAP.Roots, &c.LDAP.Certificate, &c.LDAP.Key}
	if c.DANE.PKIXRoots != SystemRoots {
		paths = append(paths, (*Path)(&c.DANE.PKIXRoots))
	}
	if c.MTASTS.Roots != SystemRoots {
		paths = append(paths, (*Path)(&c.MTASTS.Roots))
	}
	for i := range c.RelayDomains {
		d := &c.RelayDomains[i]
		paths = append(paths, &d.RecipientsFile, &d.ClientCertificate, &d.ClientKey)
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		paths = append(paths, &r.PasswordFile, &r.ClientCertificate, &r.ClientKey)
		if r.Roots != SystemRoots {
			paths = append(paths, (*Path)(&r.Roots))
		}
	}
	for i := range c.Groups {
		paths = append(paths, &c.Groups[i].MembersFile)
	}
	paths = append(paths, &c.Directory.Roots, &c.Directory.Certificate, &c.Directory.Key, &c.Directory.PasswordFile)
	for i := range c.DKIM {
		paths = append(paths, &c.DKIM[i].Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(string(*p)) {
			*p = Path(filepath.Join(dir, string(*p)))
		}
	}
}

// Line returns the line on which a key or table stands, as "rule[2]", for
// messages of the parts that use it; 1 when it is absent.
func (c *Config) Line(path string) int { return c.index.find(path).line }
