package main

import (
	"reflect"

	"dancemta/config"
	"dancemta/internal/maillog"
	"dancemta/internal/servercert"
)

// reload reads the configuration again. Either all of it is right and takes
// effect, or the old one stays whole: half a configuration is one that nobody
// wrote.
func (p *parts) reload() {
	cfg, err := config.Load(p.path)
	if err != nil {
		maillog.ReloadRefused(p.log, err)
		return
	}
	l, err := newLive(cfg, p.directoryHooks())
	if err != nil {
		maillog.ReloadRefused(p.log, err)
		return
	}
	anchors, err := readAnchors(cfg.DNS)
	if err != nil {
		maillog.ReloadRefused(p.log, err)
		return
	}
	roots, err := readRoots(cfg.DANE)
	if err != nil {
		maillog.ReloadRefused(p.log, err)
		return
	}
	for _, cert := range []*servercert.Store{p.cert, p.dnsCert} {
		if cert == nil {
			continue
		}
		if err := cert.Reload(); err != nil { // keeps the old pair on an error
			maillog.ReloadRefused(p.log, err)
			return
		}
	}
	if err := p.bridge.reload(); err != nil {
		maillog.ReloadRefused(p.log, err)
		return
	}
	p.bridge.renew()
	p.resolver.SetAnchors(anchors)
	if p.anchors != nil {
		p.anchors.set(anchors)
	}
	p.verifier.SetRoots(roots) // and forgets what rested on the old anchors
	p.own.set(ownIdentities(cfg))
	old := p.live.Swap(l) // last: new rules make sessions ask for their identity again
	old.people.close()
	p.setLogLevel(cfg.Log.Level)
	maillog.Reloaded(p.log, needRestart(p.cfg, cfg))
}

// needRestart names the tables that changed but are read at the start only.
func needRestart(old, new *config.Config) []string {
	var names []string
	for _, t := range []struct {
		name     string
		old, new any
	}{
		{"hostname", old.Hostname, new.Hostname},
		{"postmaster", old.Postmaster, new.Postmaster},
		{"state_dir", old.StateDir, new.StateDir},
		{"log", old.Log.Format, new.Log.Format}, // its level is not
		{"tls", old.TLS, new.TLS},
		{"listener", old.Listeners, new.Listeners},
		{"ldap", old.LDAP, new.LDAP},
		{"ldap_listener", old.LDAPListeners, new.LDAPListeners},
		{"proxy", old.Proxies, new.Proxies},
		{"milter", old.Milters, new.Milters},
		{"dane", atStart(old.DANE), atStart(new.DANE)},
		{"dns", old.DNS, new.DNS},
		{"limits", old.Limits, new.Limits},
		{"queue", old.Queue, new.Queue},
		{"delivery", old.Delivery, new.Delivery},
		{"mta_sts", old.MTASTS, new.MTASTS},
		{"authentication", old.Authentication, new.Authentication},
		{"tls_reports", old.TLSReports, new.TLSReports},
		{"metrics", old.Metrics, new.Metrics},
		{"directory.password_domains", atStartOnly(old.Directory), atStartOnly(new.Directory)},
	} {
		if !reflect.DeepEqual(t.old, t.new) {
			names = append(names, t.name)
		}
	}
	return names
}

// atStart is what of [dane] is read at the start only: not the CAs.
func atStart(d config.DANE) config.DANE {
	d.PKIXRoots = ""
	return d
}
