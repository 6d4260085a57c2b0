package rollover

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

var owner = dnsname.MustParse("sensor7._device.z.test")

// zone is a zone in memory, behind a Publisher; every server shows it at once.
type zone struct {
	records []tlsa.Record
	fail    error // of the next change
}

func (z *zone) look(context.Context, dnsname.Name) (Look, error) {
	return both(15*time.Minute, z.records...), nil
}

func (z *zone) Add(_ context.Context, r tlsa.Record, _ time.Duration) error {
	if !contains(z.records, r) && z.fail == nil {
		z.records = append(slices.Clone(z.records), r)
	}
	return z.fail
}

func (z *zone) Remove(_ context.Context, r tlsa.Record) error {
	if z.fail == nil {
		z.records = slices.DeleteFunc(slices.Clone(z.records), func(o tlsa.Record) bool { return o.String() == r.String() })
	}
	return z.fail
}

func (z *zone) options(dir string, now *time.Time) Options {
	return Options{
		Dir: dir, Look: z.look, Now: func() time.Time { return *now },
		Publisher: func(string, dnsname.Name) (Publisher, error) { return z, nil },
	}
}

// inUse is what a program reads that uses the folder.
func inUse(t *testing.T, dir string) tlsa.Record {
	t.Helper()
	d, err := readPair(Certificate(dir), KeyFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	return d.Record()
}

// killed is what the hook panics with.
type killed struct{}

// TestKilled cuts off each durable change of a whole rollover once. Whatever
// was cut off, the pair in use is whole and its record stands; begun again, it
// comes to the same end.
func TestKilled(t *testing.T) {
	total := rollWith(t, -1)
	if total < 20 {
		t.Fatalf("only %d changes in a rollover", total)
	}
	for n := range total {
		rollWith(t, n)
	}
}

// rollWith creates a key and rolls it, killed before the n-th change; it
// returns how many changes there were.
func rollWith(t *testing.T, n int) int {
	dir := filepath.Join(t.TempDir(), "key")
	now, z, count, last := noon, &zone{}, 0, ""
	o := z.options(dir, &now)
	o.Step = func(name string) {
		if last = name; count == n {
			count++
			panic(killed{})
		}
		count++
	}
	survive := func(f func() error) (ok bool) {
		defer func() {
			if p := recover(); p != nil {
				if p != any(killed{}) {
					panic(p)
				}
			}
		}()
		if err := f(); err != nil {
			t.Fatalf("killed at %d: %v", n, err)
		}
		return true
	}
	if !survive(func() error { _, err := Create(o, owner); return err }) {
		survive(func() error { // or the state was written already
			if _, err := Create(o, owner); err != nil && !errors.Is(err, ErrExists) {
				return err
			}
			return nil
		})
	}
	first, done := "", false
	for range 100 {
		survived := survive(func() error { _, err := Roll(t.Context(), o); return err })
		record := inUse(t, dir) // one pair, whole
		if first == "" {
			first = record.String()
			z.Add(t.Context(), record, 0) // the administrator did what key new says
		}
		if !contains(z.records, record) {
			t.Fatalf("killed at %d (%s): the pair in use has no record", n, last)
		}
		now = now.Add(7 * time.Minute)
		state, err := (&store{dir: dir}).load()
		if err != nil {
			t.Fatal(err)
		}
		// The last step may have been cut off behind the state that ends it.
		o.Continue = state.Phase == Steady && record.String() != first
		if done = survived && o.Continue; done {
			break
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, keysDir))
	if err != nil {
		t.Fatal(err)
	}
	if !done || len(entries) != 1 || len(z.records) != 1 || inUse(t, dir).String() == first {
		t.Fatalf("killed at %d: done %v, %d keys, records %v", n, done, len(entries), z.records)
	}
	return count
}

// TestOneAtATime: a second process is refused while the first is at work.
func TestOneAtATime(t *testing.T) {
	dir, now, z := t.TempDir(), noon, &zone{}
	o := z.options(dir, &now)
	if _, err := Create(o, owner); err != nil {
		t.Fatal(err)
	}
	inner := o
	o.Look = func(ctx context.Context, n dnsname.Name) (Look, error) {
		if _, err := Roll(ctx, inner); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one: %v", err)
		}
		return z.look(ctx, n)
	}
	if _, err := Roll(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), inner); err != nil {
		t.Errorf("looking is always allowed: %v", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	dir, now := t.TempDir(), noon
	o := (&zone{}).options(dir, &now)
	for _, name := range []string{"mta.example.org", "_user.example.org", "_25._tcp.mx.example.org", "_dane.example.org", "_x"} {
		if _, err := Create(o, dnsname.MustParse(name)); !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := Create(o, owner); err != nil {
		t.Fatal(err)
	}
	before := inUse(t, dir)
	if _, err := Create(o, owner); !errors.Is(err, ErrExists) {
		t.Errorf("a second key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, stateFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(o, owner); !errors.Is(err, ErrExists) {
		t.Errorf("a pair in use without a state: %v", err)
	}
	if inUse(t, dir).String() != before.String() {
		t.Error("the pair in use was exchanged")
	}
}

// TestCertificate: the names and the key of what is made.
func TestCertificate(t *testing.T) {
	for name, want := range map[string]string{
		"sensor7._device.example.org":  "sensor7._device.example.org",
		"_smtp-client.mta.example.org": "mta.example.org",
		"_smtp-client._x.example.org":  "_smtp-client._x.example.org",
		"_smtp-client.org":             "_smtp-client.org",
		"_iot.example.org":             "_iot.example.org",
	} {
		p, err := NewPair(dnsname.MustParse(name), noon)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		block, _ := pem.Decode(p.Certificate)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		r, err := tlsa.Make(3, 1, 1, cert)
		if err != nil || r.String() != p.SPKI.Record().String() || !slices.Equal(cert.DNSNames, []string{want}) {
			t.Errorf("%s: names %v, record %s, %v", name, cert.DNSNames, r, err)
		}
		if cert.NotBefore.After(noon) || cert.NotAfter.Before(noon.AddDate(19, 0, 0)) || cert.IsCA {
			t.Errorf("%s: %v to %v, CA %v", name, cert.NotBefore, cert.NotAfter, cert.IsCA)
		}
	}
}

func TestFiles(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "a", "key"), noon
	if _, err := Create((&zone{}).options(dir, &now), owner); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, stateFile: 0o600, "current/key.pem": 0o600, "current/cert.pem": 0o600, keysDir: 0o700} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestDamaged: what is not ours, not whole or of another version is refused
// and stays as it is.
func TestDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  error
	}{
		"no state":        {func(dir string) error { return os.Remove(filepath.Join(dir, stateFile)) }, ErrNoState},
		"no folder":       {os.RemoveAll, ErrNoState},
		"later version":   {replace(`"version": 1`, `"version": 2`), ErrVersion},
		"unknown key":     {replace(`"phase"`, `"phrase": 1, "phase"`), ErrDamaged},
		"unknown phase":   {replace(`"steady"`, `"stead"`), ErrDamaged},
		"negative TTL":    {replace(`"longest_ttl": 0`, `"longest_ttl": -1`), ErrDamaged},
		"bad owner":       {replace(`sensor7._device`, `sensor7._device.`), ErrDamaged},
		"short digest":    {replace(`"spki_sha256": "`, `"spki_sha256": "ab`), ErrDamaged},
		"half":            {func(dir string) error { return os.Truncate(filepath.Join(dir, stateFile), 100) }, ErrDamaged},
		"too large":       {func(dir string) error { return os.Truncate(filepath.Join(dir, stateFile), 1<<20) }, ErrDamaged},
		"link elsewhere":  {func(dir string) error { return relink(dir, "/etc") }, ErrDamaged},
		"link to another": {func(dir string) error { return relink(dir, "keys/0123456789abcdef") }, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir, now := filepath.Join(t.TempDir(), "key"), noon
			o := (&zone{}).options(dir, &now)
			if _, err := Create(o, owner); err != nil {
				t.Fatal(err)
			}
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(dir, stateFile))
			if _, err := Roll(t.Context(), o); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, stateFile)); string(after) != string(before) {
				t.Error("the state was written")
			}
		})
	}
}

func replace(old, new string) func(dir string) error {
	return func(dir string) error {
		path := filepath.Join(dir, stateFile)
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), old) {
			return errors.Join(err, errors.New("no "+old))
		}
		return os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o600)
	}
}

func relink(dir, target string) error {
	link := filepath.Join(dir, currentLink)
	return errors.Join(os.Remove(link), os.Symlink(target, link))
}

// TestVersion1 reads a state that version 1 wrote in the middle of a rollover.
func TestVersion1(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "state-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := (&store{dir: dir}).load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Owner.String() != "sensor7._device.example.org" || s.Phase != Published || s.Current.SPKI != (Digest{1}) || s.Next.SPKI != (Digest{2}) ||
		s.Old != nil || s.LongestTTL.Duration() != 15*time.Minute || !s.SeenSince.Equal(at(5)) || !s.Next.Made.Equal(noon) {
		t.Errorf("%+v", s)
	}
}

// TestPairIsProvedBeforeUse: a next key that rotted on disk is not taken.
func TestPairIsProvedBeforeUse(t *testing.T) {
	dir, now, z := t.TempDir(), noon, &zone{}
	o := z.options(dir, &now)
	s, err := Create(o, owner)
	if err != nil {
		t.Fatal(err)
	}
	z.records = records(s.Current.Record())
	r, err := Roll(t.Context(), o)
	if err != nil || r.State.Phase != Published {
		t.Fatalf("%+v, %v", r, err)
	}
	other, err := NewPair(owner, now)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = Roll(t.Context(), o); err != nil || r.State.SeenSince.IsZero() {
		t.Fatalf("%+v, %v", r, err)
	}
	now = now.Add(time.Hour)
	next := filepath.Join(dir, keysDir, r.State.Next.SPKI.id())
	for _, f := range []struct {
		name string
		text []byte
	}{{certFile, other.Certificate}, {keyFile, other.Key}} { // first a pair that does not fit, then another pair
		if err := os.WriteFile(filepath.Join(next, f.name), f.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Roll(t.Context(), o); err == nil {
			t.Fatal("a wrong pair was taken into use")
		}
		if got := inUse(t, dir).String(); got != s.Current.Record().String() {
			t.Fatalf("in use: %s", got)
		}
	}
}

// TestUpdatesFail: a step whose update failed is not done, and is done later.
func TestUpdatesFail(t *testing.T) {
	dir, now, z := t.TempDir(), noon, &zone{}
	o := z.options(dir, &now)
	s, err := Create(o, owner)
	if err != nil {
		t.Fatal(err)
	}
	z.records = records(s.Current.Record())
	z.fail = errors.New("REFUSED")
	if r, err := Roll(t.Context(), o); err == nil || r.State.Phase != Prepared {
		t.Errorf("publish: %v, %s", err, r.State.Phase)
	}
	z.fail = nil
	for i, want := range []Phase{Published, Published, Switched, Switched} {
		if i == 3 {
			z.fail = errors.New("REFUSED")
		}
		r, err := Roll(t.Context(), o)
		if r.State.Phase != want || (err != nil) != (i == 3) {
			t.Fatalf("%d: %v, %s", i, err, r.State.Phase)
		}
		now = now.Add(2 * time.Hour)
	}
	z.fail = nil
	if r, err := Roll(t.Context(), o); err != nil || r.State.Phase != Withdrawing || len(z.records) != 1 {
		t.Errorf("withdraw: %v, %s, %v", err, r.State.Phase, z.records)
	}
}

// TestByHand: without a publisher the records are the administrator's; nothing
// goes on before they are seen. Continue begins nothing.
func TestByHand(t *testing.T) {
	dir, now, z := t.TempDir(), noon, &zone{}
	o := z.options(dir, &now)
	o.Publisher = nil
	s, err := Create(o, owner)
	if err != nil {
		t.Fatal(err)
	}
	o.Continue = true
	if r, err := Roll(t.Context(), o); err != nil || r.Progressed() || r.Pending.Why != "" || len(r.Warnings) == 0 {
		t.Errorf("nothing to continue: %+v, %v", r, err)
	}
	o.Continue = false
	r, err := Roll(t.Context(), o)
	if err != nil || !slices.Equal(r.Did, []Do{Prepare, Publish}) || r.Pending.Why == "" {
		t.Fatalf("%+v, %v", r, err)
	}
	next := r.State.Next.Record()
	z.records = records(s.Current.Record(), next)
	now = now.Add(24 * time.Hour)
	if r, err = Roll(t.Context(), o); err != nil || r.Progressed() || !r.Pending.Until.Equal(now.Add(30*time.Minute)) {
		t.Fatalf("first seen: %+v, %v", r, err)
	}
	// Looking changes nothing, and says the same.
	if i, err := Inspect(t.Context(), o); err != nil || i.Pending != r.Pending || len(i.Warnings) != 0 {
		t.Errorf("status: %+v, %v", i, err)
	}
	now = now.Add(time.Hour)
	if r, err = Roll(t.Context(), o); err != nil || !slices.Equal(r.Did, []Do{Switch}) || inUse(t, dir).String() != next.String() {
		t.Fatalf("%+v, %v", r, err)
	}
}
