package mtasts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/internal/newfile"
)

const (
	// maxKept and maxOctets bound what strangers' policies take of our memory:
	// their domains are where mail goes, which our users choose.
	maxKept   = 20_000
	maxOctets = 32 << 20
	maxFailed = 10_000
	overhead  = 300 // octets of an entry, about, beside its patterns
	// suffix makes files of other kinds, and half-written ones, no policies.
	suffix = ".json"
)

// entry is a policy that is kept.
type entry struct {
	policy Policy
	octets int
	used   time.Time // last, in this process
	stale  bool      // to be fetched again at the next use, see Recheck
}

// current returns the policy that is kept and not expired, or the zero one.
func (c *Client) current(domain dnsname.Name) (p Policy, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[domain]
	if e == nil {
		return Policy{}, false
	}
	now := c.o.Now()
	switch {
	case now.Before(e.policy.Expires()):
		e.used = now
		return e.policy, e.stale
	case e.ended(now):
		c.drop(e)
	}
	return Policy{}, false
}

// young returns a policy that was fetched just now under this id, however short its
// own life is: to ask again would bring nothing else.
func (c *Client) young(domain dnsname.Name, id string) (Policy, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.kept[domain]
	if e == nil || e.stale || e.policy.ID != id || !c.o.Now().Before(e.policy.Fetched.Add(leastAge)) {
		return Policy{}, false
	}
	return e.policy, true
}

// ended reports whether a policy is of no use any more.
func (e *entry) ended(now time.Time) bool {
	return !now.Before(e.policy.Expires()) && !now.Before(e.policy.Fetched.Add(leastAge))
}

// keep puts a policy in the place of an older one, in memory and on disk. What
// holds longest without a use makes room.
func (c *Client) keep(p Policy) {
	if err := c.save(p); err != nil {
		maillog.STSFailed(c.o.Logger, p.Domain.String(), err) // it holds until the end of the process
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failed, p.Domain)
	c.put(p)
}

// put takes a policy into memory.
func (c *Client) put(p Policy) {
	if old := c.kept[p.Domain]; old != nil {
		c.octets -= old.octets
	}
	e := &entry{policy: p, octets: overhead, used: c.o.Now()}
	for _, mx := range p.MX {
		e.octets += len(mx)
	}
	c.kept[p.Domain] = e
	c.octets += e.octets
	for len(c.kept) > maxKept || c.octets > maxOctets {
		c.drop(c.leastUsed(e))
	}
}

// leastUsed is looked for only when there is no room, which no honest use reaches.
func (c *Client) leastUsed(but *entry) *entry {
	var least *entry
	for _, e := range c.kept {
		if e != but && (least == nil || e.used.Before(least.used)) {
			least = e
		}
	}
	return least
}

// drop forgets a policy.
func (c *Client) drop(e *entry) {
	delete(c.kept, e.policy.Domain)
	c.octets -= e.octets
	if c.o.Dir != "" && !c.o.Look {
		os.Remove(c.path(e.policy.Domain)) // what stays is dropped when it is read
	}
}

// fail remembers that a fetch failed. When there is no room nothing is remembered,
// which costs a fetch more.
func (c *Client) fail(domain dnsname.Name, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Now()
	if len(c.failed) >= maxFailed {
		for d, f := range c.failed {
			if !now.Before(f.until) {
				delete(c.failed, d)
			}
		}
	}
	if len(c.failed) < maxFailed {
		c.failed[domain] = failure{now.Add(failureRest), err}
	}
}

// due returns the domains whose policies are a day old.
func (c *Client) due() (domains []dnsname.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.o.Now()
	for domain, e := range c.kept {
		switch {
		case e.ended(now):
			c.drop(e)
		case now.Sub(e.policy.Fetched) >= refreshAfter:
			domains = append(domains, domain)
		}
	}
	return domains
}

// saved is a policy as a file.
type saved struct {
	Domain  dnsname.Name `json:"domain"`
	ID      string       `json:"id"`
	Fetched time.Time    `json:"fetched"`
	Policy  []string     `json:"policy"` // its lines
}

// path is safe to make: a name in normal form holds letters, digits, hyphens and dots.
func (c *Client) path(domain dnsname.Name) string {
	return filepath.Join(c.o.Dir, domain.String()+suffix)
}

func (c *Client) save(p Policy) error {
	if c.o.Dir == "" || c.o.Look {
		return nil
	}
	data, err := json.MarshalIndent(saved{p.Domain, p.ID, p.Fetched.UTC(), p.Lines()}, "", "  ")
	if err != nil {
		return err
	}
	return newfile.Replace(newfile.File{Path: c.path(p.Domain), Data: append(data, '\n'), Mode: newfile.Secret})
}

// load reads the folder. One that is not there is made when it is needed.
func (c *Client) load() error {
	if c.o.Dir == "" {
		return nil
	}
	files, err := os.ReadDir(c.o.Dir)
	if c.o.Look && errors.Is(err, fs.ErrPermission) {
		return nil // it is the server's
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("policies of MTA-STS: %w", err)
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok || !f.Type().IsRegular() {
			continue
		}
		p, err := readSaved(filepath.Join(c.o.Dir, f.Name()))
		if err == nil && p.Domain.String() != name {
			err = errors.New("the policy of another domain")
		}
		if err != nil {
			maillog.STSFailed(c.o.Logger, name, err)
			continue
		}
		switch {
		case c.o.Now().Before(p.Expires()):
			c.put(p)
		case !c.o.Look:
			os.Remove(filepath.Join(c.o.Dir, f.Name()))
		}
	}
	return nil
}

// readSaved reads one file by the rules for what comes from outside.
func readSaved(path string) (Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return Policy{}, err
	}
	defer f.Close()
	var s saved
	if err := json.NewDecoder(io.LimitReader(f, 2*maxPolicy)).Decode(&s); err != nil {
		return Policy{}, err
	}
	p, err := parsePolicy(strings.Join(s.Policy, "\n"))
	if err != nil {
		return Policy{}, err
	}
	p.Domain, p.ID, p.Fetched = s.Domain, s.ID, s.Fetched
	return p, nil
}
