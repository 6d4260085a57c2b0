package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dancemta/internal/lab"
)

// Results of LDAP that the chapter waits for. RFC 4511 A.1, RFC 4513 5.2.3
const (
	ldapSuccess           = 0
	ldapNoSuchMethod      = 7
	ldapNoSuchObject      = 32
	ldapInappropriateAuth = 48
	ldapInsufficient      = 50
	ldapBusy              = 51
	ldapUnavailable       = 52
)

// demoBridge is the part of the configuration that makes a bridge.
const demoBridge = `
[ldap]
upstream    = ["ldaps://%s"]
roots       = "server-ca.pem"
certificate = "gateway.pem"
key         = "gateway.key"

[[ldap_listener]]
name    = "ldap"
address = "127.0.0.1:0"
tls     = "starttls"

[[ldap_rule]]
who    = "*@partner.test"
action = "allow"
dn     = "uid={uid},ou={domain},ou=people,dc=example,dc=test"

[[ldap_rule]]
who    = "*@other.test"
action = "allow"
dn     = "uid={uid},ou={domain},ou=people,dc=example,dc=test"

[[ldap_rule]]
who    = "*@unsigned.test"
action = "allow"
dn     = "uid={uid},ou={domain},ou=people,dc=example,dc=test"

[[ldap_rule]]
who    = "*@remote.test"
action = "allow"
dn     = "uid={uid},ou={domain},ou=people,dc=example,dc=test"
`

// crossover: realm crossover. Users of two other domains open the directory of
// example.test, each with what his own domain gave him.
func (d *demo) crossover(ctx context.Context) error {
	d.out.say("     the directory: %s, behind dancemta", lab.DirectorySuffix)
	for _, c := range []*lab.Client{&d.net.Rick, &d.net.Namesake} {
		if err := d.reads(ctx, c); err != nil {
			return err
		}
	}
	proxied := true
	for _, o := range d.ldap.Operations() {
		proxied = proxied && (o.Proxied || o.Name == "bind" || o.Name == "rootdse" || o.Name == "unbind")
	}
	d.out.promise(proxied, "the directory did nothing for dancemta itself: each operation named the user")
	return d.turnedAway(ctx)
}

// reads is one user, who binds and sees what is his.
func (d *demo) reads(ctx context.Context, c *lab.Client) error {
	s, err := d.bind(ctx, c, ldapSuccess)
	if err != nil {
		return err
	}
	defer s.Close()
	who, err := s.WhoAmI()
	if err != nil {
		return err
	}
	d.out.say("     C: whoami\n     S: %s", who)
	d.out.promise(who == "u:"+c.User, "%s is bound, with nothing but a certificate of that domain", c.User)
	uid, domain, _ := strings.Cut(c.User, "@")
	unit := ",ou=" + domain + ","
	want := []string{"cn=price list" + unit + lab.DirectoryShared, "ou=" + domain + "," + lab.DirectoryShared, "uid=" + uid + unit + lab.DirectoryPeople}
	seen, code, err := d.search(s, lab.DirectorySuffix)
	if err != nil {
		return err
	}
	d.out.promise(code == ldapSuccess && slices.Equal(seen, want), "that is what example.test shares with users of %s, his own entry, and no more", domain)
	other := map[string]string{"partner.test": "other.test", "other.test": "partner.test"}[domain]
	seen, code, err = d.search(s, "cn=price list,ou="+other+","+lab.DirectoryShared)
	if err != nil {
		return err
	}
	d.out.promise(code == ldapNoSuchObject && len(seen) == 0, "what it shares with %s does not exist for him, whatever another %s may see", other, uid)
	return d.mayNot(s, want[0])
}

// mayNot: what his rule does not have, and what nobody has.
func (d *demo) mayNot(s *lab.DirectoryClient, dn string) error {
	code, err := s.Replace(dn, "description", "free of charge")
	if err != nil {
		return err
	}
	d.out.say("     C: modify %s\n     S: %s", dn, lab.ResultText(code))
	d.out.promise(code == ldapInsufficient, "he may read, and not change")
	if code, err = s.BindPassword("cn=admin,"+lab.DirectorySuffix, "secret"); err != nil {
		return err
	}
	d.out.say("     C: bind cn=admin with a password\n     S: %s", lab.ResultText(code))
	d.out.promise(code == ldapNoSuchMethod, "no password opens anything")
	_, code, err = d.search(s, lab.DirectorySuffix)
	d.out.promise(code == ldapInsufficient, "and who has tried is nobody until he binds again")
	return err
}

// turnedAway: who is nobody, and who cannot be known now.
func (d *demo) turnedAway(ctx context.Context) error {
	asked := len(d.net.DNS.Queries())
	for _, r := range []struct {
		client *lab.Client
		code   int
		why    string
	}{
		{&d.net.Unknown, ldapInappropriateAuth, "a perfect record, but no rule names stranger.test"},
		{nil, ldapInappropriateAuth, "no certificate"},
	} {
		if err := d.turnAway(ctx, r.client, r.code, r.why); err != nil {
			return err
		}
	}
	d.out.promise(len(d.net.DNS.Queries()) == asked, "and neither cost a DNS query")
	if err := d.turnAway(ctx, &d.net.Careless, ldapInappropriateAuth, "a perfect record, but the zone is not signed"); err != nil {
		return err
	}
	d.net.DNS.Mute(true)
	defer d.net.DNS.Mute(false)
	s, err := d.bind(ctx, &d.net.Ann, ldapBusy, ldapUnavailable)
	if err != nil {
		return err
	}
	defer s.Close()
	_, code, err := d.search(s, lab.DirectorySuffix)
	d.out.promise(code == ldapInsufficient, "the name servers are silent: come again later, and nothing until then")
	return err
}

func (d *demo) turnAway(ctx context.Context, c *lab.Client, code int, why string) error {
	s, err := d.bind(ctx, c, code)
	if err != nil {
		return err
	}
	defer s.Close()
	_, found, err := d.search(s, lab.DirectorySuffix)
	d.out.promise(found == ldapInsufficient, "%s: %s", lab.ResultText(code), why)
	return err
}

// bind connects and binds, which must have one of these results.
func (d *demo) bind(ctx context.Context, c *lab.Client, want ...int) (*lab.DirectoryClient, error) {
	s, err := lab.DialDirectory(ctx, d.server.addresses["ldap"], d.tlsConfig(c), false)
	if err != nil {
		return nil, err
	}
	who := "without a certificate"
	if c != nil {
		who = "with the certificate of " + certificateNames(c.Leaf()) + ", its uid " + c.User
	}
	if c != nil {
		d.out.say("     DNS: %s. IN %.40s…", c.Owner, lab.TLSA(2, 0, 1, c.Chain[1]))
	}
	d.out.say("     C: StartTLS, then TLS 1.3 %s", who)
	code, err := s.Bind()
	if err == nil && !slices.Contains(want, code) {
		err = fmt.Errorf("bind was answered %s", lab.ResultText(code))
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	d.out.say("     C: bind SASL EXTERNAL\n     S: %s", lab.ResultText(code))
	return s, nil
}

// search shows the names of what is found at and below a DN, and returns them sorted.
func (d *demo) search(s *lab.DirectoryClient, base string) (seen []string, code int, err error) {
	found, code, err := s.Search(base, "(objectClass=*)")
	if err != nil {
		return nil, 0, err
	}
	d.out.say("     C: search %s", base)
	for _, e := range found {
		d.out.say("     S: %s", e.DN)
		seen = append(seen, e.DN)
	}
	d.out.say("     S: %s", lab.ResultText(code))
	slices.Sort(seen)
	return seen, code, nil
}
