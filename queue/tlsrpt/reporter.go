package tlsrpt

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/internal/maillog"
	"dancemta/queue/webclient"
)

const (
	// maxDelay spreads the reports of all senders over time. RFC 8460 4.1
	maxDelay = 4 * time.Hour
	// retryFor is how long a report is tried again. RFC 8460 5.5
	retryFor = 24 * time.Hour
	// The first wait after a failure; each further one is twice as long.
	firstRetry, lastRetry = 15 * time.Minute, 4 * time.Hour
	// saveEvery is how much of the counts a crash may cost.
	saveEvery = 5 * time.Minute
	// maxSleep: the wall clock may be set, which timers do not see.
	maxSleep = time.Minute
	// parallel is how many reports are sent at once: each may wait a minute for a host
	// that a stranger has chosen.
	parallel = 8
)

// Options says what a Reporter is made of. Dir, Hostname, Organization, Contact,
// Resolver and Permitted are required.
type Options struct {
	Dir          string       // where counts are kept
	Hostname     dnsname.Name // who reports
	Organization string
	Contact      mailaddr.Address // for questions; the sender of mails
	Resolver     webclient.Resolver
	// Permitted says which addresses of HTTPS hosts may be called: they come from
	// strangers' DNS, which must not lead us to our own services.
	Permitted func(netip.Addr) bool
	// Sign puts a DKIM signature on a mail; an error, or nil, keeps it from leaving:
	// nobody may read one without. RFC 8460 3
	Sign func(message []byte) ([]byte, error)
	// Submit takes responsibility for a mail; nil: none is sent.
	Submit func(ctx context.Context, m Mail) error

	// OnReport hears of each place that a report was offered: "sent" or "failed"; and
	// of reports "given up". nil: nobody does.
	OnReport func(result string)

	Roots  *x509.CertPool                                                       // of HTTPS hosts; nil: the system's
	Dial   func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
	Delay  func() time.Duration                                                 // from a day's end to a report; default random, up to 4 h
	Now    func() time.Time                                                     // default time.Now
	Logger *slog.Logger                                                         // nil: silent
}

// Reporter sends the reports of days that have ended.
type Reporter struct {
	o       Options
	web     *webclient.Client
	counter *Counter
	saved   time.Time
	planned map[string][]*work // by date: what is left to send
}

// work is one report to be sent.
type work struct {
	about
	at    time.Time // not before
	until time.Time // not after
	tries int
}

// New reads what was counted before.
func New(o Options) (*Reporter, error) {
	if o.Dir == "" || o.Organization == "" || o.Hostname.IsZero() || o.Contact.IsNull() {
		return nil, errors.New("tlsrpt: Dir, Hostname, Organization and Contact are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnReport == nil {
		o.OnReport = func(string) {}
	}
	if o.Delay == nil {
		o.Delay = func() time.Duration { return rand.N(maxDelay) }
	}
	web, err := webclient.New(webclient.Options{Resolver: o.Resolver, Permitted: o.Permitted, Roots: o.Roots, Dial: o.Dial, Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("tlsrpt: %w", err)
	}
	r := &Reporter{o: o, web: web, counter: newCounter(o.Dir, o.Now), planned: map[string][]*work{}, saved: o.Now()}
	r.counter.log = o.Logger
	return r, r.counter.load()
}

// Counter is where sessions are counted.
func (r *Reporter) Counter() *Counter { return r.counter }

// Run saves the counts and sends the reports, until ctx ends. Sending may take hours,
// of which a crash must not cost the counts.
func (r *Reporter) Run(ctx context.Context) {
	var saving sync.WaitGroup
	saving.Go(func() { r.keepSaved(ctx) })
	for ctx.Err() == nil {
		r.plan()
		r.sendDue(ctx)
		sleep(ctx)
	}
	saving.Wait()
	r.save()
}

func (r *Reporter) keepSaved(ctx context.Context) {
	for ctx.Err() == nil {
		if r.o.Now().Sub(r.saved) >= saveEvery {
			r.save()
		}
		sleep(ctx)
	}
}

func sleep(ctx context.Context) {
	timer := time.NewTimer(maxSleep)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (r *Reporter) save() {
	r.saved = r.o.Now()
	if err := r.counter.save(); err != nil {
		maillog.Trouble(r.o.Logger, "the counts for TLS reports are not saved", err)
	}
}

// plan makes the reports of days that have ended due.
func (r *Reporter) plan() {
	for _, date := range r.counter.ended() {
		if _, known := r.planned[date]; known {
			continue
		}
		done, err := r.counter.begunReports(date)
		if err != nil {
			// Which were sent is not known, and none may be sent twice.
			maillog.Trouble(r.o.Logger, "TLS reports about "+date+" are not sent", err)
			r.planned[date] = nil
			continue
		}
		_, end := about{date: date}.span()
		var all []*work
		for _, domain := range r.counter.domains(date) {
			if !done[domain.String()] {
				all = append(all, &work{about: about{date, domain}, at: end.Add(r.o.Delay()), until: end.Add(maxDelay + retryFor)})
			}
		}
		r.planned[date] = all
	}
}

// sendDue sends what is due, and ends days of which nothing is left.
func (r *Reporter) sendDue(ctx context.Context) {
	for date, all := range r.planned {
		var left, due []*work
		for _, w := range all {
			if w.at.After(r.o.Now()) {
				left = append(left, w)
			} else {
				due = append(due, w)
			}
		}
		left = append(left, r.sendAll(ctx, due)...)
		if r.planned[date] = left; len(left) > 0 {
			continue
		}
		if err := r.counter.forget(date); err != nil {
			maillog.Trouble(r.o.Logger, "the counts of "+date+" stay, and will not be sent again", err)
		}
		delete(r.planned, date)
	}
}

// sendAll sends several reports at once and returns those to be tried again.
func (r *Reporter) sendAll(ctx context.Context, due []*work) (again []*work) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, w := range due {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			if r.try(ctx, w) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			again = append(again, w)
		})
	}
	wait.Wait()
	return again
}

// try sends a report; false: it is to be tried again.
func (r *Reporter) try(ctx context.Context, w *work) (done bool) {
	if ctx.Err() != nil {
		return false
	}
	if !r.o.Now().Before(w.until) {
		maillog.TLSReport(r.o.Logger, w.domain.String(), w.date, "", errors.New("given up"))
		r.o.OnReport("given up")
		return true
	}
	err := r.send(ctx, w.about)
	if err == nil {
		return true
	}
	w.at = r.o.Now().Add(min(firstRetry<<min(w.tries, 8), lastRetry))
	w.tries++
	return false
}

// send looks where a domain wants its report, and sends it there: to all places,
// and one that takes it is enough (RFC 8460 3). nil: it was sent, or is not wanted.
func (r *Reporter) send(ctx context.Context, a about) error {
	places, err := r.places(ctx, a.domain)
	all := r.counter.tallies(a.date, a.domain)
	if err != nil || len(places) == 0 || all == nil {
		return err
	}
	packed, err := r.build(a, all)
	if err == nil {
		err = r.counter.note(a.date, begun, a.domain) // durable before anything leaves
	}
	if err != nil {
		maillog.TLSReport(r.o.Logger, a.domain.String(), a.date, "", err)
		return err
	}
	taken := false
	for _, p := range places {
		trouble := r.sendTo(ctx, a, p, packed)
		maillog.TLSReport(r.o.Logger, a.domain.String(), a.date, p.String(), trouble)
		if trouble == nil {
			taken = true
			r.o.OnReport("sent")
		} else {
			err = trouble
			r.o.OnReport("failed")
		}
	}
	if taken || ctx.Err() != nil { // cut off in the middle it may have arrived
		return nil
	}
	if noteErr := r.counter.note(a.date, refused, a.domain); noteErr != nil {
		maillog.TLSReport(r.o.Logger, a.domain.String(), a.date, "", noteErr) // a restart will not send it
	}
	return err
}

// places are where a domain wants reports; none: it wants none.
func (r *Reporter) places(ctx context.Context, domain dnsname.Name) ([]rua, error) {
	name, err := domain.Prepend("_tls")
	if err == nil {
		name, err = name.Prepend("_smtp")
	}
	if err != nil {
		return nil, nil // too long a name: it cannot have the record
	}
	answer := r.o.Resolver.Lookup(ctx, name, dnssec.TypeTXT)
	if answer.State != dnssec.Secure && answer.State != dnssec.Insecure {
		return nil, fmt.Errorf("lookup %s TXT: %s: %s", name, answer.State, answer.Reason)
	}
	return parseRecords(answer.TXT), nil
}

func (r *Reporter) sendTo(ctx context.Context, a about, to rua, packed []byte) error {
	if to.url != nil {
		return r.post(ctx, to.url, packed)
	}
	if r.o.Sign == nil || r.o.Submit == nil {
		return errors.New("no key signs it, so it may not be sent by mail")
	}
	signed, err := r.o.Sign(r.message(a, to.mail, packed))
	if err != nil {
		return fmt.Errorf("not sent by mail: %w", err)
	}
	return r.o.Submit(ctx, Mail{Sender: r.o.Contact, Recipient: to.mail, Body: signed, Expires: r.o.Now().Add(retryFor)})
}
