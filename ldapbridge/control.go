package ldapbridge

import (
	"unicode/utf8"

	"dancemta/ldapbridge/mapping"
	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
	"dancemta/saslext/door"
)

// passed are the controls of requests that go to the server, for anybody who may ask
// for the operation itself. What is not in a table here never gets there: it would
// ask for other rights, for the server's inner life, or for replies without an end.
var passed = map[string]bool{
	message.OIDPagedResults:  true,
	message.OIDServerSort:    true,
	message.OIDAssertion:     true,
	message.OIDPreRead:       true,
	message.OIDPostRead:      true,
	message.OIDMatchedValues: true,
}

// passedByRule are those that the rule of the user must have.
var passedByRule = map[string]mapping.Controls{message.OIDManageDsaIT: mapping.ManageDSAIT}

// scope says which controls have a meaning on a request.
type scope uint8

const (
	nothing   scope = iota // none
	proxied                // proxied authorization, as on WhoAmI
	forwarded              // all of the tables
)

// asked are the controls of one request.
type asked struct {
	pass    []message.Control // to the server
	ruled   []message.Control // the same, if the rule of who asks has them
	proxied *message.Control  // RFC 4370
}

// controlsOf sorts the controls of a request. Critical ones that have no meaning here
// refuse the request, others are left out (RFC 4511 4.1.11).
func controlsOf(raw []byte, s scope) (a asked, o outcome) {
	list, err := message.ParseControls(raw)
	if err != nil {
		return a, syntax
	}
	for _, one := range list {
		_, ruled := passedByRule[one.OID]
		switch {
		case one.OID == message.OIDProxiedAuth && s != nothing:
			a.proxied = &one
		case s == forwarded && passed[one.OID]:
			a.pass = append(a.pass, one)
		case s == forwarded && ruled:
			a.ruled = append(a.ruled, one)
		case one.Critical:
			return a, badControl
		}
	}
	return a, done
}

// under returns the controls that go to the server for somebody with these rights.
func (a asked) under(r rights) ([]message.Control, outcome) {
	pass := a.pass
	for _, one := range a.ruled {
		switch {
		case r.controls.Has(passedByRule[one.OID]):
			pass = append(pass, one)
		case one.Critical:
			return nil, badControl
		}
	}
	return pass, done
}

// rights are as whom an operation runs, and what it may be.
type rights struct {
	as         upstream.Authzid
	who        string // for the log
	identity   string // the same, as WhoAmI has it
	rule       string
	operations mapping.Operations
	controls   mapping.Controls
}

// takesAnybody reports whether operations of nobody are forwarded.
func (f *front) takesAnybody() bool { return f.Anonymous && f.Certificates != door.Require }

// rightsOf returns the rights of a user; nil: of nobody.
func (c *conn) rightsOf(u *user) rights {
	if u == nil {
		r := rights{}
		if c.takesAnybody() {
			r.operations = mapping.Search | mapping.Compare
		}
		return r
	}
	return rightsAs(u.mapped)
}

func rightsAs(m mapping.Mapped) rights {
	return rights{as: upstream.Authzid(m.Authzid), who: m.Identity.LogString(), identity: "u:" + m.Identity.String(), rule: m.Rule,
		operations: m.Operations, controls: m.Controls}
}

// proxy returns the rights of whom a client asks to be for one operation: himself, or
// another by a rule of authzids; nobody only where nobody may do anything. The
// client's own text never goes to the server. It is the certificate's user whose
// leave counts, not that of whom he acts as already.
func (c *conn) proxy(u *user, p message.Control) (rights, outcome, error) {
	switch {
	case !p.Critical || !p.HasValue: // RFC 4370 3
		return rights{}, syntax, nil
	case u == nil:
		return rights{}, proxyDenied, nil
	case len(p.Value) == 0 && c.takesAnybody():
		return c.rightsOf(nil), done, nil
	case len(p.Value) == 0 || !utf8.Valid(p.Value):
		return rights{}, proxyDenied, nil
	}
	request, err := mapping.ParseAuthzid(string(p.Value))
	if err != nil {
		return rights{}, proxyDenied, err
	}
	mapped, err := u.rules.As(c.ctx, u.login.Identity, request)
	if err != nil {
		if mappedOutcome(err) == cannotJudge {
			return rights{}, cannotJudge, err
		}
		return rights{}, proxyDenied, err
	}
	return rightsAs(mapped), done, nil
}
