package ldapbridge

import (
	"fmt"

	"dancemta/internal/dnsname"
	"dancemta/internal/limit"
	"dancemta/ldapbridge/upstream"
)

// errShare: the users of a domain, who all come from one CA that is not ours, keep no
// other domain from the directory, however slow what they ask for.
var errShare = fmt.Errorf("%w: the users of this domain have as many under way as they may", upstream.ErrBusy)

// shares bounds, for each domain, how many clients have operations outstanding. Who
// has proved nothing counts as of one domain more.
type shares = limit.KeyedGate[dnsname.Name]

// newShares bounds memory by the clients, of whom each has one key at the most.
func newShares(l Limits) *shares {
	return limit.NewKeyedGate[dnsname.Name](l.PerDomain, l.PerDomain*maxShares)
}

// maxShares domains may have all that they may at once.
const maxShares = 1000

// work takes this client's place in the share of his domain for what he is about to
// ask for; false: there is none left. Then nothing is sent, and rest is not called.
func (c *conn) work() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.working {
		c.domain = dnsname.Name{}
		if c.user != nil {
			c.domain = c.user.login.Identity.Domain
		}
		if c.working = c.shares.TryEnter(c.domain); !c.working {
			return false
		}
	}
	c.sending = true
	return true
}

// rest ends work, unless something is outstanding.
func (c *conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = false
	c.restLocked()
}

// restLocked gives the place back if nothing is outstanding.
func (c *conn) restLocked() {
	if c.working && !c.sending && len(c.open) == 0 {
		c.working = false
		c.shares.Leave(c.domain)
	}
}
