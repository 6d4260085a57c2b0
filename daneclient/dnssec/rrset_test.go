package dnssec

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/miekg/dns"

	"dancemta/internal/lab"
)

// proved returns a zone of the lab with its keys as the chain would prove them.
func proved(t *testing.T, z *lab.Zone) *zone {
	t.Helper()
	sets := group(z.Signed("@", dns.TypeDNSKEY))
	keys, err := keysOf(sets[0])
	if err != nil || len(keys) == 0 {
		t.Fatalf("%v %v", keys, err)
	}
	return &zone{name: z.Name(), keys: keys, expires: today.Add(maxLife)}
}

// TestVerify takes one check each away from a signature that is good otherwise:
// the library's own Verify lets most of these through.
func TestVerify(t *testing.T) {
	w := lab.NewWorld(today)
	w.AddZone("test.", lab.ZoneOptions{})
	good := w.AddZone("good.test.", lab.ZoneOptions{})
	signed := func(z *lab.Zone, rr string) *rrset { return group(z.SignRRset(text(t, rr)))[0] }
	for name, c := range map[string]struct {
		zone *lab.Zone
		set  *rrset
		at   time.Duration // from now
		want string        // "": it is proved
	}{
		"good":        {good, signed(good, "x.good.test. 60"+tlsa), 0, ""},
		"apex":        {good, signed(good, "good.test. 60"+tlsa), 0, ""},
		"evil suffix": {good, signed(good, "x.evilgood.test. 60"+tlsa), 0, "x.evilgood.test. TLSA: signed by good.test., not by its zone good.test."},
		"not below":   {good, signed(good, "x.test. 60"+tlsa), 0, "x.test. TLSA: signed by good.test., not by its zone good.test."},
		"the parent's": {good, signed(w.Zone("test."), "x.good.test. 60"+tlsa), 0,
			"x.good.test. TLSA: signed by test., not by its zone good.test."},
		"first second": {good, signed(good, "x.good.test. 60"+tlsa), -24 * time.Hour, ""},
		"too early": {good, signed(good, "x.good.test. 60"+tlsa), -24*time.Hour - time.Second,
			"x.good.test. TLSA: signature not valid before 20261123120000"},
		"last second": {good, signed(good, "x.good.test. 60"+tlsa), 14 * 24 * time.Hour, ""},
		"too late": {good, signed(good, "x.good.test. 60"+tlsa), 14*24*time.Hour + time.Second,
			"x.good.test. TLSA: signature expired on 20261208120000"},
	} {
		l := &lookup{now: today.Add(c.at)}
		_, err := l.verify(proved(t, c.zone), c.set)
		if got := errText(err); got != c.want || err != nil && !isBogus(err) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return anyKey(err.Error())
}

// TestLabels turns the Labels field, which decides what was signed.
func TestLabels(t *testing.T) {
	w := lab.NewWorld(today)
	z := w.AddZone("test.", lab.ZoneOptions{})
	for _, c := range []struct {
		owner    string
		labels   uint8
		encloser string // of the wildcard; "!" when the signature must not count
	}{
		{"x.w.test.", 3, ""}, {"x.w.test.", 2, "w.test."}, {"x.w.test.", 1, "test."}, {"x.w.test.", 0, "!"}, {"x.w.test.", 4, "!"},
		{"*.w.test.", 2, ""}, {"*.w.test.", 1, "test."}, {"*.w.test.", 3, "!"},
	} {
		set := group(z.SignRRset(text(t, c.owner+" 60"+tlsa)))[0]
		set.sigs[0].Labels = c.labels
		l := &lookup{now: today}
		key := proved(t, z)
		// The arithmetic fails for all but the true number, so look at the checks before it.
		_, err := l.verify(key, set)
		if refused := err != nil && l.spent.checks == 0; refused != (c.encloser == "!") {
			t.Errorf("%s with %d labels: %v after %d checks", c.owner, c.labels, err, l.spent.checks)
		}
		if c.encloser != "!" {
			if p := l.proven(key, set, set.sigs[0]); p.encloser != c.encloser {
				t.Errorf("%s with %d labels: encloser %q, want %q", c.owner, c.labels, p.encloser, c.encloser)
			}
		}
	}
}

// TestSerialDates: 32 bits of seconds wrap in 2106, and dates count by their
// distance. RFC 4034 3.1.5, RFC 1982
func TestSerialDates(t *testing.T) {
	wrap := time.Unix(1<<32, 0)
	for _, c := range []struct {
		inception, expiration uint32
		now                   time.Time
		ok                    bool
	}{
		{1<<32 - 100, 100, wrap, true},
		{1<<32 - 100, 100, wrap.Add(-100 * time.Second), true},
		{1<<32 - 100, 100, wrap.Add(-101 * time.Second), false},
		{1<<32 - 100, 100, wrap.Add(100 * time.Second), true},
		{1<<32 - 100, 100, wrap.Add(101 * time.Second), false},
		{100, 200, time.Unix(150, 0), true},
		{200, 100, time.Unix(150, 0), false},
	} {
		l := &lookup{now: c.now}
		if got := l.dates(&dns.RRSIG{Inception: c.inception, Expiration: c.expiration}) == ""; got != c.ok {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestUsableKey(t *testing.T) {
	ec := base64.StdEncoding.EncodeToString(make([]byte, 64))
	rsa := func(bits int) string {
		raw := append([]byte{3, 1, 0, 1}, make([]byte, bits/8)...)
		raw[4] = 0x80
		return base64.StdEncoding.EncodeToString(raw)
	}
	for name, c := range map[string]struct {
		key  dns.DNSKEY
		want bool
	}{
		"zone key":      {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 13, PublicKey: ec}, true},
		"SEP":           {dns.DNSKEY{Flags: 257, Protocol: 3, Algorithm: 13, PublicKey: ec}, true},
		"no zone flag":  {dns.DNSKEY{Flags: 1, Protocol: 3, Algorithm: 13, PublicKey: ec}, false},
		"revoked":       {dns.DNSKEY{Flags: 257 | 128, Protocol: 3, Algorithm: 13, PublicKey: ec}, false},
		"protocol":      {dns.DNSKEY{Flags: 256, Protocol: 2, Algorithm: 13, PublicKey: ec}, false},
		"algorithm 5":   {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 5, PublicKey: rsa(2048)}, false},
		"RSA 512":       {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 8, PublicKey: rsa(512)}, false},
		"RSA 1016":      {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 10, PublicKey: rsa(1016)}, false},
		"RSA 1024":      {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 8, PublicKey: rsa(1024)}, true},
		"RSA truncated": {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 8, PublicKey: "/w=="}, false},
		"RSA nothing":   {dns.DNSKEY{Flags: 256, Protocol: 3, Algorithm: 8}, false},
	} {
		if got := usableKey(&c.key); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWeakKey: a zone whose only key is too short is bogus, for its DS is one
// that we follow.
func TestWeakKey(t *testing.T) {
	raw := append([]byte{3, 1, 0, 1}, make([]byte, 64)...)
	raw[4] = 0x80
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: "z.test.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 60},
		Flags: 257, Protocol: 3, Algorithm: 8, PublicKey: base64.StdEncoding.EncodeToString(raw)}
	b := newBench(t)
	z := b.zone("z.test.", lab.ZoneOptions{NoDS: true}, "x"+tlsa)
	z.Add(k.String())
	ds := k.ToDS(dns.SHA256)
	b.Zone("test.").Add(ds.String())
	check(t, b.lookup("x.z.test", TypeTLSA), Bogus, "x.z.test. TLSA: z.test. DNSKEY: no usable key matches the DS (key #)")
}

// TestMatchesDS: a tag is a sum of 16 bits, the digest is what counts.
func TestMatchesDS(t *testing.T) {
	w := lab.NewWorld(today)
	z := w.AddZone("z.test.", lab.ZoneOptions{})
	key := proved(t, z).keys[0]
	ds := text(t, z.DS(2)[0]).(*dns.DS)
	if !matchesDS(key, ds) {
		t.Error("the zone's own DS does not match")
	}
	for name, change := range map[string]func(*dns.DS){
		"tag":       func(d *dns.DS) { d.KeyTag++ },
		"algorithm": func(d *dns.DS) { d.Algorithm = 14 },
		"type":      func(d *dns.DS) { d.DigestType = 4 },
		"digest":    func(d *dns.DS) { d.Digest = "00" + d.Digest[2:] },
		"length":    func(d *dns.DS) { d.Digest = d.Digest[2:] },
		"empty":     func(d *dns.DS) { d.Digest = "" },
	} {
		other := *ds
		if change(&other); matchesDS(key, &other) {
			t.Errorf("another %s matches", name)
		}
	}
}

// TestWildcardDS: a DS is never made from a wildcard.
func TestWildcardDS(t *testing.T) {
	b := newBench(t)
	b.Zone("test.").Add("*.d DS 1 13 2 0011223344556677889900112233445566778899001122334455667788990011")
	b.tamper("x.any.d.test.", dns.TypeTLSA, func(m *dns.Msg) *dns.Msg { m.Answer, m.Ns = nil, nil; return m })
	check(t, b.lookup("x.any.d.test", TypeTLSA), Bogus, "x.any.d.test. TLSA: any.d.test. DS: made from a wildcard")
}
