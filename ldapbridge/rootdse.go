package ldapbridge

import (
	"bufio"
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"dancemta/ldapbridge/message"
	"dancemta/ldapbridge/upstream"
)

const (
	// dseLife is how long the server's root DSE is believed, and dseRetry how long
	// nobody asks again after that did not work.
	dseLife  = 5 * time.Minute
	dseRetry = 10 * time.Second
	dseTime  = 5 * time.Second
)

// borrowed are the attributes of the server's root DSE that stand in ours: what a
// client needs to find its way in what is forwarded.
var borrowed = []string{"namingContexts", "subschemaSubentry", "supportedFeatures"}

// dse knows the root DSE of the directory server.
type dse struct {
	pool *upstream.Pool

	mu         sync.Mutex
	until      time.Time
	attributes []message.Attribute
}

func newDSE(p *upstream.Pool) *dse { return &dse{pool: p} }

// get returns the borrowed attributes as far as the server tells them. One client at
// a time asks; the others wait, for dseTime at the most.
func (d *dse) get(ctx context.Context) []message.Attribute {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return d.attributes
	}
	found, err := d.ask(ctx)
	life := dseLife
	if err != nil {
		life = dseRetry // what was known stays
	} else {
		d.attributes = found
	}
	d.until = time.Now().Add(life)
	return d.attributes
}

// ask reads the root DSE as nobody: it shows what the server shows to everybody.
func (d *dse) ask(ctx context.Context) ([]message.Attribute, error) {
	ctx, cancel := context.WithTimeout(ctx, dseTime)
	defer cancel()
	sink := &dseSink{over: make(chan error, 1)}
	l, err := d.pool.Lease(ctx, sink)
	if err != nil {
		return nil, err
	}
	defer l.Return()
	s := message.Search{Filter: message.FilterPresent("objectClass"), Attributes: message.AttributeSelection(borrowed...)}
	if err := l.Send(ctx, message.Message{ID: 1, Op: s.AppendOp(nil)}, ""); err != nil {
		return nil, err
	}
	select {
	case err := <-sink.over:
		return sink.attributes, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dseSink collects the one entry.
type dseSink struct {
	attributes []message.Attribute
	over       chan error // of one
}

// Replies: see upstream.Sink.
func (s *dseSink) Replies(octets []byte, ended []upstream.Done) error {
	r := bufio.NewReader(bytes.NewReader(octets))
	for {
		m, err := message.Read(r, message.Limits{Bytes: len(octets)})
		if err != nil {
			break // the end of the octets
		}
		if e, err := message.ParseEntry(m.Op); err == nil {
			s.attributes = e.Attributes
		}
	}
	if len(ended) > 0 {
		s.end(nil)
	}
	return nil
}

// Lost: see upstream.Sink.
func (s *dseSink) Lost(_ []upstream.Operation, why error) { s.end(why) }

func (s *dseSink) end(err error) {
	select {
	case s.over <- err:
	default:
	}
}

// rootEntry are the attributes of our root DSE (RFC 4512 5.1), as they are true for
// this client now. The first one is the only one that is no operational attribute.
func (c *conn) rootEntry() []message.Attribute {
	controls := []string{message.OIDProxiedAuth}
	for oid := range passed {
		controls = append(controls, oid)
	}
	for oid, needs := range passedByRule {
		if c.user != nil && c.user.mapped.Controls.Has(needs) {
			controls = append(controls, oid)
		}
	}
	slices.Sort(controls)
	extensions := []string{message.OIDWhoAmI, message.OIDCancel}
	if !c.secure {
		extensions = append(extensions, message.OIDStartTLS)
	}
	list := []message.Attribute{
		{Name: "objectClass", Values: []string{"top"}},
		{Name: "supportedLDAPVersion", Values: []string{"3"}},
		{Name: "supportedControl", Values: controls},
		{Name: "supportedExtension", Values: extensions},
		{Name: "vendorName", Values: []string{"dancemta"}},
	}
	if c.certified { // it can work: a certificate came under TLS 1.3
		list = append(list, message.Attribute{Name: "supportedSASLMechanisms", Values: []string{"EXTERNAL"}})
	}
	if len(c.opts.NamingContexts) > 0 {
		list = append(list, message.Attribute{Name: "namingContexts", Values: c.opts.NamingContexts})
	}
	for _, a := range c.dse.get(c.ctx) {
		if !has(list, a.Name) && slices.ContainsFunc(borrowed, func(n string) bool { return strings.EqualFold(n, a.Name) }) {
			list = append(list, a)
		}
	}
	return list
}

func has(list []message.Attribute, name string) bool {
	return slices.ContainsFunc(list, func(a message.Attribute) bool { return strings.EqualFold(a.Name, name) })
}

// answerRoot answers a search for the root DSE, which everybody may read.
func (c *conn) answerRoot(m message.Message, s message.Search) error {
	if _, o := controlsOf(m.Controls, forwarded); o != done {
		return c.refuseOp(m, refusal{outcome: o})
	}
	wanted, err := s.AttributeList()
	if err != nil {
		return c.refuseOp(m, refusal{outcome: syntax, err: err})
	}
	entry := c.rootEntry()
	name, ok := message.IsFilterPresent(s.Filter)
	found := ok && has(entry, name)
	c.opts.Counters.Operation(m.Tag().String(), message.Success)
	c.writing.Lock()
	defer c.writing.Unlock()
	var octets []byte // seldom needed
	if found {
		octets = message.AppendEntry(octets, m.ID, "", selected(entry, wanted), s.TypesOnly)
	}
	octets = message.AppendResult(octets, m.ID, message.SearchDone, done.result(""))
	return c.write(octets)
}

// selected are the attributes that a search asked for (RFC 4511 4.5.1.8).
func selected(entry []message.Attribute, wanted []string) (out []message.Attribute) {
	user, operational := len(wanted) == 0, false
	names := map[string]bool{}
	for _, w := range wanted {
		switch w {
		case "*":
			user = true
		case "+": // RFC 3673
			operational = true
		}
		names[strings.ToLower(w)] = true
	}
	for i, a := range entry {
		if names[strings.ToLower(a.Name)] || i == 0 && user || i > 0 && operational {
			out = append(out, a)
		}
	}
	return out
}
