package deliver

import (
	"context"

	"dancemta/queue"
	"dancemta/queue/deliver/smtpclient"
)

// Trial is what came of one address of a next hop.
type Trial struct {
	Target string // "mx.example.org[192.0.2.1]", or the hop when no address was found
	TLS    string // what was wanted and got
	Err    error  // why mail cannot go there now; nil: it can
}

// Try visits all next hops of a route, as for a message but without one, and without
// a login, whose offer it looks for: wrong passwords can lock an account.
func (d *Deliverer) Try(ctx context.Context, r Route) (trials []Trial) {
	groups, v := configured(r)
	if v != nil {
		return []Trial{{Err: refused{v}}}
	}
	left := maxAddresses
	for _, g := range groups {
		for i := range g {
			g[i].hello = r.Hello
		}
		targets, v := d.targets(ctx, g, &left)
		if v != nil {
			trials = append(trials, Trial{Target: g[0].String(), Err: refused{v}})
		}
		for _, t := range targets {
			trials = append(trials, d.try(ctx, r, t))
		}
	}
	return trials
}

func (d *Deliverer) try(ctx context.Context, r Route, t target) Trial {
	c, state, err := d.reach(ctx, newAttempt(queue.Job{}, r), t)
	trial := Trial{Target: t.String(), TLS: state.String(), Err: err}
	if err != nil {
		return trial
	}
	defer c.Quit(ctx)
	if !offersLogin(c, r.Auth) {
		trial.Err = &smtpclient.Error{Step: "AUTH", Err: errNoLogin, Status: statusNoLogin}
	}
	return trial
}
