package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dancemta/config"
	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/internal/mailaddr"
	"dancemta/internal/servercert"
	"dancemta/ldapbridge/directory"
	"dancemta/saslext"
	"dancemta/smtpd"
	"dancemta/smtpd/callout"
	"dancemta/smtpd/policy"
)

// people are all that know users: the files of the groups, and the directory.
type people struct {
	files policy.Groups
	ldap  *directory.Directory // nil: there is none
	asked bool                 // the configuration says what ldap knows of users
	// withPasswords are the domains whose users have passwords.
	withPasswords []dnsname.Name
}

// Lookup implements policy.Directory. A user is in a group when its file has him, or
// when the directory does. Where the directory knows anything of users, nothing is known
// without it: it may have the group that forbids.
func (p people) Lookup(ctx context.Context, id saslext.Identity) (policy.Entry, error) {
	all, err := p.files.Lookup(ctx, id)
	if err != nil || p.ldap == nil || !p.asked {
		return all, err
	}
	e, err := p.ldap.Lookup(ctx, id)
	if err != nil {
		return policy.Entry{}, err
	}
	all.Groups = append(all.Groups, e.Groups...)
	slices.Sort(all.Groups)
	all.Groups = slices.Compact(all.Groups)
	all.Addresses, all.Quota = e.Addresses, e.Quota
	return all, nil
}

// newPeople reads the files of groups, and makes the directory.
func newPeople(cfg *config.Config, hooks ...func(*directory.Options)) (p people, err error) {
	if p.files, err = newGroups(cfg); err != nil {
		return p, err
	}
	d := cfg.Directory
	p.asked = len(d.AddressAttributes) > 0 || d.QuotaAttribute != "" ||
		slices.ContainsFunc(cfg.Groups, func(g config.Group) bool { return g.Directory != "" })
	p.withPasswords = d.PasswordDomains
	p.ldap, err = newDirectory(cfg, hooks...)
	return p, err
}

// close closes what is open for questions; those that still come are answered.
func (p people) close() {
	if p.ldap != nil {
		p.ldap.Close()
	}
}

// newDirectory makes the directory of the configuration, nil when it has none. No
// server is asked. hooks may change what the configuration does not know.
func newDirectory(cfg *config.Config, hooks ...func(*directory.Options)) (*directory.Directory, error) {
	c := cfg.Directory
	if len(c.Servers) == 0 {
		return nil, nil
	}
	o := directory.Options{
		Base: c.Base, Filter: c.Filter, GroupAttribute: c.GroupAttribute, GroupBase: c.GroupBase, GroupFilter: c.GroupFilter,
		AddressAttributes: c.AddressAttributes, QuotaAttribute: c.QuotaAttribute,
		RecipientBase: c.RecipientBase, RecipientFilter: c.RecipientFilter,
		Cache: c.Cache.Duration, Negative: c.NegativeCache.Duration, Timeout: c.Timeout.Duration, Connections: c.Connections,
	}
	for _, g := range cfg.Groups {
		if g.Directory != "" {
			o.Groups = append(o.Groups, directory.Group{Name: g.Name, Value: g.Directory})
		}
	}
	var err error
	if o.Servers, err = directoryServers(c); err != nil {
		return nil, err
	}
	if c.BindDN != "" {
		o.Bind.DN = c.BindDN
		if o.Bind.Password, err = readPassword(string(c.PasswordFile)); err != nil {
			return nil, unavailable(err, "see directory.password_file in the configuration")
		}
	}
	for _, h := range hooks {
		h(&o)
	}
	d, err := directory.New(o)
	if err != nil {
		return nil, &exitError{exitConfig, err, []string{"see [directory] in the configuration"}}
	}
	return d, nil
}

// directoryServers reads what proves the servers, and us to them.
func directoryServers(c config.Directory) ([]directory.Server, error) {
	base := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if base.RootCAs, err = readPool(config.PKIXRoots(c.Roots), "see directory.roots in the configuration"); err != nil {
		return nil, err
	}
	if c.Certificate != "" {
		pair, err := servercert.New(string(c.Certificate), string(c.Key))
		if err != nil {
			return nil, unavailable(err, "see directory.certificate in the configuration")
		}
		base.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.GetCertificate(nil) }
	}
	var servers []directory.Server
	for _, s := range c.Servers {
		server := directory.Server{Network: "tcp", Address: s.Address(), Implicit: s.IsTLS()}
		if s.IsUnix() {
			server.Network = "unix"
		} else {
			server.TLS = base.Clone()
			server.TLS.ServerName = s.Host()
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// directoryHooks let the metrics and the log hear of a directory.
func (p *parts) directoryHooks() func(*directory.Options) {
	return func(o *directory.Options) {
		o.Logger = p.log
		o.Count = func(q directory.Question, r directory.Result, cached bool) {
			if p.metrics != nil {
				p.metrics.Directory(string(q), string(r), cached)
			}
		}
	}
}

// livePasswords checks passwords at the directory of the day.
type livePasswords struct{ p *parts }

// CheckPassword implements saslext.PasswordChecker.
func (l livePasswords) CheckPassword(ctx context.Context, id saslext.Identity, password saslext.Password) error {
	p := l.p.live.Load().people
	switch {
	case p.ldap == nil:
		return errors.New("there is no directory")
	case !slices.Contains(p.withPasswords, id.Domain): // dropped by a reload, whose rules may let certificates in
		return fmt.Errorf("password_domains has %s no more", id.Domain)
	}
	return p.ldap.CheckPassword(ctx, id, password)
}

// passwords says who may log in by one.
func (p *parts) passwords() smtpd.Passwords {
	c := p.cfg.Directory
	w := smtpd.Passwords{Checker: livePasswords{p}, Domains: map[dnsname.Name]bool{},
		PerUser: limit.Rate(c.PasswordRatePerUser), PerAddress: limit.Rate(c.PasswordRatePerAddress)}
	for _, d := range c.PasswordDomains {
		w.Domains[d] = true
	}
	return w
}

// inDirectory finds out about a mailbox at the directory. Where its domain has
// subaddresses, rick+lists exists when rick does.
func (l *live) inDirectory(ctx context.Context, to mailaddr.Address) callout.Answer {
	if l.people.ldap == nil {
		return callout.Unknown
	}
	for _, a := range slices.Compact([]mailaddr.Address{to, l.rules.Plain(to)}) {
		ok, err := l.people.ldap.Exists(ctx, a)
		switch {
		case err != nil:
			return callout.Unknown
		case ok:
			return callout.Exists
		}
	}
	return callout.Absent
}

// directoryDomains are the relay domains whose mailboxes the directory knows.
func directoryDomains(cfg *config.Config) map[dnsname.Name]bool {
	domains := map[dnsname.Name]bool{}
	for _, d := range cfg.RelayDomains {
		domains[d.Domain] = d.Recipients == config.RecipientsDirectory
	}
	return domains
}

// atStartOnly is what of [directory] is read at the start only.
func atStartOnly(d config.Directory) config.Directory {
	return config.Directory{PasswordDomains: d.PasswordDomains, PasswordRatePerUser: d.PasswordRatePerUser, PasswordRatePerAddress: d.PasswordRatePerAddress}
}

// directory asks each server for itself, and searches.
func (r *report) directory(ctx context.Context, cfg *config.Config) {
	if len(cfg.Directory.Servers) == 0 {
		return
	}
	for _, server := range cfg.Directory.Servers {
		one := *cfg
		one.Directory.Servers = []config.DirectoryServer{server}
		d, err := newDirectory(&one)
		if err != nil {
			r.problem(err)
			return // it is no affair of this server alone
		}
		err = d.Probe(ctx)
		d.Close()
		if err != nil {
			r.problem(fmt.Errorf("directory.servers (line %d): %s: %w", cfg.Line("directory.servers"), server, err))
			continue
		}
		r.ok("the directory server %s answers, and lets us search", server)
	}
	if len(cfg.Directory.PasswordDomains) > 0 {
		var names []string
		for _, d := range cfg.Directory.PasswordDomains {
			names = append(names, d.Unicode())
		}
		r.note("passwords are taken for users of %s", strings.Join(names, ", "))
	}
}
