package msgauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

const (
	// defaultTimeout is for all look-ups of a message together: RFC 7208 4.6.4 wants
	// at least so much for SPF, and clients wait ten minutes for the reply.
	defaultTimeout = 20 * time.Second
	// defaultChecks bounds the messages whose look-ups run at once. Each does three at
	// a time, and logins share the resolver.
	defaultChecks = 40
)

// VerifierOptions are those of NewVerifier. Hostname and Resolver are required.
type VerifierOptions struct {
	Hostname dnsname.Name     // our authserv-id. RFC 8601 2.5
	Resolver Resolver         // nil: nothing can be found out
	Dir      string           // for the bodies of large messages while they are judged; default the system's
	Timeout  time.Duration    // for the look-ups of one message; default 20 s
	Checks   int              // messages whose look-ups run at once; default 40
	Now      func() time.Time // default time.Now
	Percent  func() int       // a number from 0 to 99 for DMARC's pct=; default at random
}

// Verifier judges who sent a message, by SPF, DKIM and DMARC. It may be used at once
// from many goroutines.
type Verifier struct {
	o     VerifierOptions
	slots chan struct{} // one for each message whose look-ups run
}

// NewVerifier returns a verifier.
func NewVerifier(o VerifierOptions) *Verifier {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Checks <= 0 {
		o.Checks = defaultChecks
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Percent == nil {
		o.Percent = func() int { return rand.IntN(100) }
	}
	return &Verifier{o: o, slots: make(chan struct{}, o.Checks)}
}

// Envelope is what is known of a message beside itself.
type Envelope struct {
	Peer   netip.Addr       // who sends it
	Helo   string           // what he calls himself
	Sender mailaddr.Address // of MAIL FROM
}

// Checked is a message that was judged: as it came, but for fields that only we may
// write. Close it.
type Checked struct {
	io.Reader
	Report Report
	file   *os.File
}

// Close gives back the file that a large body was kept in.
func (c *Checked) Close() error {
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}

// Check reads message to its end and judges it. What DNS does not say in time is a
// temporary error in the report, and so is all that is said of it by nobody.
//
// Errors: that of message itself, as it came; ErrHeader; else trouble of ours, which
// may be gone later.
func (v *Verifier) Check(ctx context.Context, e Envelope, message io.Reader) (*Checked, error) {
	head, more, err := readHeader(message)
	if err != nil {
		return nil, err
	}
	fields, err := cutHeader(string(head))
	if err != nil {
		return nil, err
	}
	c := newCheck(e, fields, v.o.Now())
	ctx, cancel := context.WithTimeout(ctx, v.o.Timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	asking.Go(func() { v.ask(ctx, c) }) // while the body comes

	k := keep{dir: v.o.Dir, hash: &c.bodies}
	if err := k.all(io.MultiReader(bytes.NewReader(more), message)); err != nil {
		k.drop()
		return nil, err
	}
	body, err := k.body()
	if err != nil {
		k.drop()
		return nil, err
	}
	asking.Wait()
	if err := errors.Join(c.faults[:]...); err != nil {
		k.drop()
		return nil, err
	}
	report := c.report(v.o.Percent)
	return &Checked{Reader: io.MultiReader(strings.NewReader(without(string(head), forged(fields, v.o.Hostname))), body),
		Report: report, file: k.file}, nil
}

// Strip gives message back without the fields that only we may write. It reads its
// header, and no more. Errors are those of Check.
func Strip(hostname dnsname.Name, message io.Reader) (io.Reader, error) {
	head, more, err := readHeader(message)
	if err != nil {
		return nil, err
	}
	fields, err := cutHeader(string(head))
	if err != nil {
		return nil, err
	}
	out := without(string(head), forged(fields, hostname))
	return io.MultiReader(strings.NewReader(out), bytes.NewReader(more), message), nil
}

// without cuts fields out of a header.
func without(head string, gone []raw) string {
	if len(gone) == 0 {
		return head
	}
	var b strings.Builder
	at := 0
	for _, f := range gone {
		b.WriteString(head[at:f.at])
		at = f.at + len(f.text)
	}
	b.WriteString(head[at:])
	return b.String()
}

// check is one message on its way through the verifier.
type check struct {
	envelope   Envelope
	fields     []raw
	signatures []*signature
	bodies     bodies
	from       []mailaddr.Address // none: it is not as it must be
	authors    []dnsname.Name     // their domains
	policies   []found            // of the authors, in their order
	spf        SPF
	faults     [3]error // of our own
}

func newCheck(e Envelope, fields []raw, now time.Time) *check {
	c := &check{envelope: e, fields: fields, spf: SPF{Result: TempError}}
	c.from, c.authors = authors(fields)
	for _, f := range fields {
		if !strings.EqualFold(f.name, signatureField) {
			continue
		}
		if len(c.signatures) == maxSignatures {
			break
		}
		s := parseSignature(f, now)
		c.signatures = append(c.signatures, s)
		if s.Result == unjudged {
			s.body = c.bodies.of(s.simpleBody)
		}
	}
	c.policies = make([]found, len(c.authors))
	for i := range c.policies {
		c.policies[i].state = TempError
	}
	return c
}

// ask asks DNS all that must be known, and ends soon after ctx has.
func (v *Verifier) ask(ctx context.Context, c *check) {
	if v.o.Resolver == nil {
		return // all that is not known is a temporary error
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return
	}
	var wg sync.WaitGroup
	for i, part := range []func(){
		func() { c.spf = checkSPF(ctx, v.o.Resolver, c.envelope) },
		func() {
			for _, s := range c.signatures {
				s.fetchKey(ctx, v.o.Resolver)
			}
		},
		func() {
			for i, domain := range c.authors {
				c.policies[i] = findPolicy(ctx, v.o.Resolver, domain)
			}
		},
	} {
		wg.Go(func() {
			defer contain(&c.faults[i])
			part()
		})
	}
	wg.Wait()
}

// contain turns a panic over records of strangers into an error of this one message:
// who called is another goroutine, and cannot.
func contain(fault *error) {
	if p := recover(); p != nil {
		*fault = fmt.Errorf("panic in a check: %v\n%s", p, debug.Stack())
	}
}

// report judges, with all that was found.
func (c *check) report(percent func() int) Report {
	r := Report{Authors: c.from, SPF: c.spf}
	for _, s := range c.signatures {
		s.verify(c.fields)
		r.DKIM = append(r.DKIM, s.Signature)
	}
	r.judge(c.authors, c.policies, percent)
	return r
}
