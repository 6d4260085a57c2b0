package main

import (
	"bytes"
	"fmt"
	"os"

	"dancemta/config"
	"dancemta/smtpd/policy"
)

// newRules makes the rules of the configuration, and reads the files that they name.
func newRules(cfg *config.Config) (*policy.Rules, error) {
	o := policy.Options{Postmaster: cfg.Postmaster, Hostname: cfg.Hostname}
	for i, r := range cfg.Rules {
		rule, err := newRule(r, cfg.Line(fmt.Sprintf("rule[%d]", i)))
		if err != nil {
			return nil, err
		}
		o.Rules = append(o.Rules, rule)
	}
	for i, a := range cfg.Authzid {
		o.Authzid = append(o.Authzid, policy.Authzid{From: a.From, To: a.To, Line: cfg.Line(fmt.Sprintf("authzid[%d]", i))})
	}
	for _, s := range cfg.Subaddresses {
		o.Subaddresses = append(o.Subaddresses, policy.Subaddresses{Domains: s.Users, Delimiter: string(s.Delimiter)})
	}
	for _, q := range cfg.QuotaClasses {
		if o.Classes == nil {
			o.Classes = map[string][]policy.Quota{}
		}
		each := quotas(nil, policy.Messages, policy.EachIdentity, q.Messages)
		o.Classes[q.Name] = quotas(each, policy.Recipients, policy.EachIdentity, q.Recipients)
	}
	for _, d := range cfg.RelayDomains {
		domain, err := relayDomain(d)
		if err != nil {
			return nil, err
		}
		o.RelayDomains = append(o.RelayDomains, domain)
	}
	rules, err := policy.New(o)
	if err != nil {
		return nil, &exitError{code: exitConfig, err: err}
	}
	return rules, nil
}

var proofs = map[config.Proof]policy.Proof{
	config.ProvedByCertificate: policy.ByCertificate, config.ProvedByExtension: policy.ByExtension, config.ProvedByProxy: policy.ByProxy,
	config.ProvedByPassword: policy.ByPassword,
}

func newRule(r config.Rule, line int) (policy.Rule, error) {
	rule := policy.Rule{
		Who: r.Who, Group: r.Group, Allow: r.Action == config.Allow, Listeners: r.Listeners, As: r.As,
		Until: r.Until.End(), Size: r.Size.Bytes, Quotas: ruleQuotas(r), Line: line,
	}
	for _, n := range r.Network {
		rule.Networks = append(rule.Networks, n.Prefix)
	}
	for _, p := range r.Proved {
		rule.Proved = append(rule.Proved, proofs[p])
	}
	for _, l := range []struct {
		to   *[]policy.AddressPattern
		from []config.AddressPattern
	}{{&rule.From, r.From}, {&rule.To, r.To}, {&rule.Authors, r.HeaderFrom}} {
		var err error
		if *l.to, err = addressPatterns(l.from); err != nil {
			return rule, err
		}
	}
	return rule, nil
}

func ruleQuotas(r config.Rule) (all []policy.Quota) {
	all = quotas(all, policy.Messages, policy.EachIdentity, r.Messages)
	all = quotas(all, policy.Recipients, policy.EachIdentity, r.Recipients)
	all = quotas(all, policy.Messages, policy.EachDomain, r.MessagesPerDomain)
	all = quotas(all, policy.Recipients, policy.EachDomain, r.RecipientsPerDomain)
	all = quotas(all, policy.Messages, policy.EachAddress, r.MessagesPerAddress)
	return quotas(all, policy.Recipients, policy.EachAddress, r.RecipientsPerAddress)
}

func strangerQuotas(l config.Limits) (all []policy.Quota) {
	all = quotas(all, policy.Messages, policy.EachAddress, l.MessagesPerAddress)
	return quotas(all, policy.Recipients, policy.EachAddress, l.RecipientsPerAddress)
}

func quotas(all []policy.Quota, of, each string, from []config.Quota) []policy.Quota {
	for _, q := range from {
		all = append(all, policy.Quota{Of: of, Each: each, N: q.N, Per: q.Per})
	}
	return all
}

// newGroups reads the lists of the groups.
func newGroups(cfg *config.Config) (policy.Groups, error) {
	groups := policy.Groups{}
	for _, g := range cfg.Groups {
		if g.MembersFile == "" {
			continue // the directory's
		}
		text, err := os.ReadFile(string(g.MembersFile))
		if err != nil {
			return nil, unavailable(err, "see group.members_file in the configuration")
		}
		if groups[g.Name], err = policy.ParseMembers(bytes.NewReader(text)); err != nil {
			return nil, &exitError{code: exitConfig, err: fmt.Errorf("%s: %w", g.MembersFile, err)}
		}
	}
	return groups, nil
}
