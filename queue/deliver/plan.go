package deliver

import (
	"context"
	"net/netip"
	"slices"

	"dancemta/internal/maillog"
	"dancemta/queue"
	"dancemta/queue/tlsrpt"
)

// Plan is how a message for a destination would leave now, as far as that is decided
// before anybody is called.
type Plan struct {
	Route  Route     // what is configured
	Groups [][]Stop  // hosts in the order of visits; of one group the order is by chance
	Refuse []Refusal // why there are none, or some are left out
}

// Refusal is why a host, or the whole destination, is not used.
type Refusal struct {
	Final  bool // mail bounces; else it waits
	Status string
	Text   string
}

// Stop is one host of a plan.
type Stop struct {
	Host       string
	Addrs      []netip.AddrPort // that would be called; none: see Plan.Refuse
	Socket     bool             // in the file system: it has no address
	Configured bool             // by the operator
	Secure     bool             // the way to the host's name is proved, or configured
	TLS        TLSPlan
	Refuse     *Refusal // why what is demanded of its TLS keeps mail from it; nil: nothing does
}

// TLSPlan is what a host's TLS must show.
type TLSPlan struct {
	Wanted    string   // "dane", "mta-sts", "may" …: the word of logs and lists
	Required  bool     // without TLS no mail goes there
	Proof     string   // what decides on its certificate: "dane", "pkix", "" (nothing)
	Lenient   bool     // a failed proof is reported, and the mail goes all the same
	Names     []string // that count for PKIX
	Records   []string // TLSA, those that are usable
	Base      string   // where they stand
	Published []string // the MTA-STS policy that counts
	Trouble   string   // what is wrong with what is published
	Ours      bool     // our certificate is shown
}

// Plan decides as an attempt for such a message does, by the same code, and calls
// nobody.
func (d *Deliverer) Plan(ctx context.Context, destination string, e queue.Envelope) Plan {
	p := Plan{Route: d.o.Route(destination)}
	groups, v := d.route(ctx, p.Route, destination)
	p.refuse(v)
	left := maxAddresses
	for _, g := range groups {
		targets, v := d.targets(ctx, g, &left)
		p.refuse(v)
		var stops []Stop
		for _, h := range g {
			stops = append(stops, d.stop(ctx, p.Route, h, addrsOf(h, targets), e))
		}
		p.Groups = append(p.Groups, stops)
		if v.isLoop() {
			break
		}
	}
	return p
}

func (p *Plan) refuse(v *verdict) {
	if v != nil {
		p.Refuse = append(p.Refuse, v.refusal())
	}
}

func (v *verdict) refusal() Refusal {
	return Refusal{v.result == queue.Failed, v.status, maillog.Clean(v.text)}
}

func addrsOf(h host, targets []target) (addrs []netip.AddrPort) {
	for _, t := range targets {
		if t.host.String() == h.String() && t.host.port == h.port && t.host.unix == "" {
			addrs = append(addrs, t.addr)
		}
	}
	return addrs
}

// stop asks what is demanded of a host, after its addresses as always
// (RFC 7672 2.2.2): of one without any nothing is.
func (d *Deliverer) stop(ctx context.Context, r Route, h host, addrs []netip.AddrPort, e queue.Envelope) Stop {
	s := Stop{Host: h.String(), Addrs: addrs, Socket: h.unix != "", Configured: h.configured, Secure: h.from.secure}
	if len(addrs) == 0 {
		return s
	}
	dem, v := d.demandTLS(ctx, r, h, e)
	if v != nil {
		s.Refuse = new(v.refusal())
	}
	s.TLS = dem.plan()
	return s
}

func (dem *demand) plan() TLSPlan {
	t := TLSPlan{Wanted: dem.wanted, Required: dem.required, Lenient: dem.lenient, Ours: dem.certificate != nil}
	switch dem.proof {
	case proofDANE:
		t.Proof, t.Base, t.Records = "dane", dem.server.Base.String(), recordTexts(dem.server)
	case proofPKIX:
		t.Proof = "pkix"
		for _, n := range dem.names {
			t.Names = append(t.Names, n.String())
		}
	}
	if dem.published.Type == tlsrpt.STS {
		t.Published = slices.Clone(dem.published.Strings)
	}
	if dem.fault != nil {
		t.Trouble = maillog.Clean(dem.fault.Error())
	}
	return t
}
