package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dancemta/daneclient"
	player "dancemta/internal/dialog"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue"
	"dancemta/smtpd/wire"
)

// TestDialogs plays the dialogs of testdata/dialogs, a file for each matter of the
// RFCs: each in writes as they stand, and octet by octet. Beside what
// player.Call knows they may say
//
//	=== title              a new server and a new connection
//	LISTENER name          of harness_test.go; default mx
//	WHOLE                  it makes no sense octet by octet
//	LIMIT what n           recipients, message, hops, disk or errors
//	ADDRESS ip             another one of this host
//	NULLMX domain          it takes no mail, says DNS
//	ROUTED domain          its mail goes where the configuration says
//	DNS proves|refuses|is silent
//	CONNECT                another connection
//	QUEUED n               so many messages are in the queue by now
//	H: text                a line of the last message
//	NOT H: text            no line of it
//	E: text                of its envelope, as MAIL and RCPT would say it
//	LOG text               is in the log
//	DRAIN                  the server is told to go down
//	LONG n                 the client sends a line of so many octets
//	DISK is slow|goes on|fails|is full
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogs/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogs: ", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		matter := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, s := range scripts(string(text)) {
			t.Run(matter+"/"+s.title, func(t *testing.T) {
				for _, drip := range []bool{false, true} {
					if drip && slices.Contains(s.lines, "WHOLE") {
						continue
					}
					synctest.Test(t, func(t *testing.T) { s.play(t, file, drip) })
				}
			})
		}
	}
}

// script is one dialog of a file.
type script struct {
	title string
	first int // line number of lines[0]
	lines []string
}

func scripts(text string) (all []script) {
	for n, line := range strings.Split(text, "\n") {
		if title, ok := strings.CutPrefix(line, "=== "); ok {
			all = append(all, script{title: title, first: n + 2})
		} else if len(all) > 0 {
			all[len(all)-1].lines = append(all[len(all)-1].lines, line)
		}
	}
	return all
}

// scene is where a script is played.
type scene struct {
	*world
	call     *player.Call
	listener string
	change   []func(*Options)
	proofs   func(*fakeVerifier)
	doors    chan net.Conn
	closed   chan struct{}
	served   chan error
}

func (s script) play(t *testing.T, file string, drip bool) {
	st := &scene{listener: "mx", doors: make(chan net.Conn), closed: make(chan struct{}), served: make(chan error, 1)}
	st.world = &world{t: t}
	st.call = &player.Call{Drip: drip, TLS: st.clientTLS, Clean: cut, Else: st.line}
	defer st.end()
	for i, line := range s.lines {
		fail := func(err error) {
			t.Fatalf("%s:%d: %s: %v (drip %v)\n%s", file, s.first+i, line, err, drip, st.log)
		}
		if st.Server == nil && !st.prepares(line) {
			st.begin()
		}
		if st.Server == nil {
			if err := st.prepare(line); err != nil {
				fail(err)
			}
			continue
		}
		if err := st.call.Line(line); err != nil {
			fail(err)
		}
	}
	if err := st.call.End(); err != nil {
		t.Errorf("%s: %s: at the end: %v (drip %v)", file, s.title, err, drip)
	}
}

// prepares reports whether a line stands before the connection.
func (st *scene) prepares(line string) bool {
	verb, _, _ := strings.Cut(line, " ")
	switch verb {
	case "", "#", "LISTENER", "WHOLE", "LIMIT", "DNS", "ADDRESS", "NULLMX", "ROUTED":
		return true
	}
	return false
}

func (st *scene) prepare(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "LISTENER":
		st.listener = arg
	case "LIMIT":
		what, text, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(text)
		set, ok := limits[what]
		if err != nil || !ok {
			return errors.New("no such limit")
		}
		st.change = append(st.change, func(o *Options) { set(o, n) })
	case "ADDRESS":
		ip, err := netip.ParseAddr(arg)
		if err != nil {
			return err
		}
		st.change = append(st.change, func(o *Options) { o.Addresses = append(o.Addresses, ip) })
	case "NULLMX":
		st.change = append(st.change, func(o *Options) {
			o.NullMX = func(_ context.Context, d dnsname.Name) bool { return d.String() == arg }
		})
	case "ROUTED":
		st.change = append(st.change, func(o *Options) { o.Routed = func(d dnsname.Name) bool { return d.String() == arg } })
	case "DNS":
		st.proofs = proofs[arg]
		if st.proofs == nil {
			return errors.New("no such word")
		}
	}
	return nil
}

var limits = map[string]func(*Options, int){
	"recipients": func(o *Options, n int) { o.MaxRecipients = n },
	"message":    func(o *Options, n int) { o.MaxMessageBytes = int64(n) },
	"hops":       func(o *Options, n int) { o.MaxHops = n },
	"disk": func(o *Options, n int) {
		o.Room = func(size int64) error {
			if size < int64(n) {
				return nil
			}
			return &queue.Error{Kind: queue.Full, Err: errors.New("no space left")}
		}
	},
	"errors": func(o *Options, n int) { o.Limits.Errors = n },
}

var proofs = map[string]func(*fakeVerifier){
	"proves":    func(v *fakeVerifier) { verified(v, start.Add(time.Hour)) },
	"refuses":   func(v *fakeVerifier) { refused(v, daneclient.NoMatch) },
	"is silent": func(v *fakeVerifier) { refused(v, daneclient.FailedDNS) },
}

func (st *scene) begin() {
	st.world = newWorld(st.t, append(st.change, func(o *Options) {
		if o.Limits.Errors == 0 {
			o.Limits = wire.Limits{Errors: 1000} // but for the dialogs that are about it
		}
	})...)
	if st.proofs != nil {
		st.proofs(st.verifier)
	}
	go func() { st.served <- st.Serve(st.listener, st) }()
	st.connect()
}

func (st *scene) connect() {
	ours, theirs := net.Pipe()
	st.doors <- addressed{theirs}
	st.call.Begin(ours)
}

// addressed is a connection in memory with the addresses of fakePeer.
type addressed struct{ net.Conn }

func (addressed) RemoteAddr() net.Addr { return fakePeer{}.RemoteAddr() }
func (addressed) LocalAddr() net.Addr  { return fakePeer{}.LocalAddr() }

// Accept, Close and Addr make the scene a listener.
func (st *scene) Accept() (net.Conn, error) {
	select {
	case c := <-st.doors:
		return c, nil
	case <-st.closed:
		return nil, net.ErrClosed
	}
}

func (st *scene) Close() error {
	select {
	case <-st.closed:
	default:
		close(st.closed)
	}
	return nil
}

func (st *scene) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:25"))
}

func (st *scene) end() {
	if st.Server == nil {
		st.t.Error("an empty dialog")
		return
	}
	st.call.Conn.Close()
	if err := st.Drain(st.t.Context()); err != nil {
		st.t.Error("drain: ", err)
	}
	if err := <-st.served; err != nil {
		st.t.Error("serve: ", err)
	}
}

// clientTLS: nothing, a name of a client, or a user's uid, and perhaps "1.2".
func (st *scene) clientTLS(words string) (*tls.Config, error) {
	words, old := strings.CutSuffix(words, " 1.2")
	kind, name, _ := strings.Cut(words, " ")
	var leaf lab.LeafOptions
	switch kind {
	case "":
		return clientTLS(nil), nil
	case "client":
		leaf.Names = []string{name}
	case "user":
		leaf.Names, leaf.UIDs = []string{"partner.test"}, []string{name}
	default:
		return nil, errors.New("no such peer")
	}
	cert := lab.SelfSigned(leaf).TLSCertificate()
	config := clientTLS(&cert)
	if old {
		config.MaxVersion = tls.VersionTLS12
	}
	return config, nil
}

// line plays what only this scene knows.
func (st *scene) line(verb, arg string) error {
	switch verb {
	case "CONNECT":
		if err := st.call.End(); err != nil {
			return err
		}
		st.connect()
	case "DNS":
		proofs[arg](st.verifier)
	case "LONG":
		n, err := strconv.Atoi(arg)
		if err != nil {
			return err
		}
		return st.call.Line("C: " + strings.Repeat("x", n-len("\r\n")))
	case "DISK":
		return st.disk(arg)
	case "DRAIN":
		for _, f := range st.fronts {
			go f.wire.Drain(st.t.Context())
		}
		synctest.Wait()
	case "QUEUED":
		if n := len(st.queue.messages()); strconv.Itoa(n) != arg {
			return fmt.Errorf("%d messages", n)
		}
	case "LOG":
		if !strings.Contains(st.log.String(), arg) {
			return errors.New("not in the log")
		}
	case "E:":
		return stands(envelopeLines(st.last().Envelope), arg)
	case "H:":
		return stands(strings.Split(strings.ReplaceAll(st.last().body, "\r\n\t", " "), "\r\n"), arg)
	case "NOT":
		if st.line("H:", strings.TrimPrefix(arg, "H: ")) == nil {
			return errors.New("it is there")
		}
	default:
		return errors.New("no such instruction")
	}
	return nil
}

// disk changes what the queue does with the next message.
func (st *scene) disk(words string) error {
	switch words {
	case "is slow":
		st.queue.block = make(chan struct{})
	case "goes on":
		close(st.queue.block)
		synctest.Wait()
	case "fails":
		st.queue.err = &queue.Error{Kind: queue.Broken, Err: errors.New("disk on fire")}
	case "is full":
		st.queue.err = &queue.Error{Kind: queue.Full, Err: errors.New("no space left")}
	default:
		return errors.New("no such word")
	}
	return nil
}

func (st *scene) last() accepted {
	if m := st.queue.messages(); len(m) > 0 {
		return m[len(m)-1]
	}
	return accepted{}
}

func stands(lines []string, want string) error {
	for _, l := range lines {
		if player.Like(l, want) {
			return nil
		}
	}
	return fmt.Errorf("not in %q", lines)
}

// envelopeLines writes an envelope as commands, decoded.
func envelopeLines(e queue.Envelope) []string {
	line := "MAIL FROM:<" + e.Sender.String() + ">"
	for _, p := range []struct {
		given bool
		text  string
	}{{e.EightBit, " BODY=8BITMIME"}, {e.SMTPUTF8, " SMTPUTF8"}, {e.RequireTLS, " REQUIRETLS"}, {e.TLSOptional, " (TLS-Required: No)"},
		{e.Return == queue.ReturnFull, " RET=FULL"}, {e.Return == queue.ReturnHeaders, " RET=HDRS"},
		{e.EnvelopeID != "", " ENVID=" + e.EnvelopeID}, {e.Identity != "", " by " + e.Identity}} {
		if p.given {
			line += p.text
		}
	}
	lines := []string{line}
	for _, r := range e.Recipients {
		lines = append(lines, "RCPT TO:<"+r.Address.String()+">"+notifyWords(r.Notify)+original(r))
	}
	return append(lines, fmt.Sprint(len(e.Recipients), " recipients"))
}

func notifyWords(n queue.Notify) string {
	var words []string
	for _, w := range []struct {
		bit  queue.Notify
		word string
	}{{queue.NotifyNever, "NEVER"}, {queue.NotifySuccess, "SUCCESS"}, {queue.NotifyFailure, "FAILURE"}, {queue.NotifyDelay, "DELAY"}} {
		if n&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	if words == nil {
		return ""
	}
	return " NOTIFY=" + strings.Join(words, ",")
}

func original(r queue.Recipient) string {
	if r.Original == "" {
		return ""
	}
	return " ORCPT=" + r.Original
}
