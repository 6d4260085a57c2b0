package deliver

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"dancemta/internal/lab"
	"dancemta/queue"
	"dancemta/queue/mtasts"
)

// planned writes a plan for tables: hosts with their addresses and TLS, refusals.
func planned(p Plan) string {
	var words []string
	for _, g := range p.Groups {
		for _, s := range g {
			word := s.Host
			for _, a := range s.Addrs {
				word += " " + a.String()
			}
			if s.TLS.Wanted != "" {
				word += " " + s.TLS.Wanted + strings.TrimRight(" "+s.TLS.Proof, " ")
			}
			if s.Refuse != nil {
				word += " refused " + s.Refuse.Status
			}
			words = append(words, word)
		}
	}
	for _, r := range p.Refuse {
		words = append(words, "none: "+r.Status)
	}
	return strings.Join(words, "; ")
}

// The plan says what an attempt does, and calls nobody.
func TestPlan(t *testing.T) {
	own := lab.SelfSigned(lab.LeafOptions{Names: []string{"mx.h.test"}})
	tlsa := "h.test: _25._tcp.mx " + lab.TLSA(3, 1, 1, own.Leaf())
	for _, c := range []struct {
		name, to string
		records  []string
		route    Route
		policy   *policies
		want     string
	}{
		{"DANE", "d.test", append(toMX, tlsa), Route{}, sts(mtasts.None), "mx.h.test 192.0.2.1:25 dane dane"},
		{"nothing published", "d.test", toMX, Route{}, sts(mtasts.None), "mx.h.test 192.0.2.1:25 may"},
		{"a policy", "p.test", toPlain, Route{}, sts(mtasts.Enforce, "mx.p.test"), "mx.p.test 192.0.2.1:25 mta-sts pkix"},
		{"a policy for others", "p.test", toPlain, Route{}, sts(mtasts.Enforce, "else.test"), "mx.p.test 192.0.2.1:25 mta-sts pkix refused 4.7.5"},
		{"a next hop", "d.test", append(toMX, tlsa), Route{Hosts: []string{"[192.0.2.9]:24"}, TLS: TLSEncrypt}, sts(mtasts.None), "[192.0.2.9] 192.0.2.9:24 encrypt"},
		{"dane-only", "d.test", toMX, Route{TLS: TLSDANEOnly}, sts(mtasts.None), "mx.h.test 192.0.2.1:25 dane-only refused 4.7.10"},
		{"no such domain", "none.d.test", toMX, Route{}, sts(mtasts.None), "none: 5.1.2"},
		{"bogus", "bad.test", []string{"bad.test: @ MX 10 mx.h.test."}, Route{}, sts(mtasts.None), "none: 4.4.3"},
		{"private", "d.test", []string{"d.test: @ MX 10 mx.h.test.", "h.test: mx A 127.0.0.1"}, Route{}, sts(mtasts.None), "mx.h.test; none: 5.4.4"},
		{"two preferences", "d.test", []string{"d.test: @ MX 10 mx.h.test.", "d.test: @ MX 20 b.h.test.", "h.test: mx A 192.0.2.1", "h.test: b A 192.0.2.2"}, Route{}, sts(mtasts.None),
			"mx.h.test 192.0.2.1:25 may; b.h.test 192.0.2.2:25 may"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTLSWorld(t)
			w.add(c.records...)
			o := w.options(Options{STS: c.policy, Route: func(string) Route { return c.route }})
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				t.Error("somebody was called")
				return nil, errors.New("no")
			}
			p := newDeliverer(t, o).Plan(t.Context(), c.to, queue.Envelope{})
			if got := planned(p); got != c.want {
				t.Errorf("%s; want %s", got, c.want)
			}
		})
	}
	w := newTLSWorld(t)
	w.add(append(toMX, tlsa)...)
	d := newDeliverer(t, w.options(Options{}))
	s := d.Plan(t.Context(), "d.test", queue.Envelope{}).Groups[0][0]
	if !s.Secure || s.Configured || !s.TLS.Required || s.TLS.Ours || s.TLS.Base != "mx.h.test" || len(s.TLS.Records) != 1 {
		t.Errorf("%+v", s)
	}
	if s := d.Plan(t.Context(), "d.test", queue.Envelope{TLSOptional: true}).Groups[0][0]; s.TLS.Wanted != "may" || s.TLS.Required {
		t.Errorf("TLS-Required: No: %+v", s.TLS)
	}
}
