//go:build unix

package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/lab"
	ldapmessage "dancemta/ldapbridge/message"
)

const (
	ldapFigureConns = 50
	ldapFigureIdle  = 800
	// ldapFigureSilence is longer than an idle client keeps his connection to slapd.
	ldapFigureSilence = 35 * time.Second
	// ldapFigureUser is whom both clients are: by the bridge's mapping, and by slapd's
	// own for the certificate of the one who comes to it directly.
	ldapFigureUser = "uid=rick,ou=partner.test," + lab.DirectoryPeople
)

// ldapFigures measures the bridge, as a process of its own, beside the slapd that it
// stands before.
type ldapFigures struct {
	t      *testing.T
	time   time.Duration
	bridge *figureServer
	ways   []ldapWay
}

// ldapWay is one way of the same user to his entry.
type ldapWay struct {
	name    string
	address string
	tls     *tls.Config
	dials   []*loadClient
}

// TestLDAPFigures prints what docs/performance.md shows of the bridge: make figures.
func TestLDAPFigures(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv(figuresEnv))
	if err != nil {
		t.Skip("set " + figuresEnv + " to a duration")
	}
	if err := lab.Missing(lab.SlapdPrograms...); err != nil {
		t.Skip(err)
	}
	n := newInternet(t)
	s := figureSlapd(t, n)
	t.Setenv(collectEnv, "1")
	bridge := startServer(t, figureBridge(t, n, s))
	f := &ldapFigures{t: t, time: d, bridge: &figureServer{pid: bridge.cmd.Process.Pid}, ways: ldapWays(n, s, bridge.addresses)}
	f.idle()
	f.compare("base search, 1 connection", 1)
	f.compare(fmt.Sprintf("base search, %d connections", ldapFigureConns), ldapFigureConns)
}

// figureBridge writes the settings of a bridge before s.
func figureBridge(t testing.TB, n *lab.Internet, s *lab.Slapd) (config string) {
	t.Helper()
	dir := t.TempDir()
	must(t, n.WritePKI(dir))
	config = filepath.Join(dir, "dancemta.toml")
	text := strings.Replace(fmt.Sprintf(bridgeConfig, n.DNS.Addr(), "ldaps://"+s.LDAPS), "debug", "info", 1) + bridgeTLS +
		fmt.Sprintf("connections = %d\n", 2*ldapFigureIdle)
	must(t, os.WriteFile(config, []byte(text), 0o600))
	return config
}

// ldapWays are the direct way and that through the bridge.
func ldapWays(n *lab.Internet, s *lab.Slapd, bridge map[string]string) []ldapWay {
	direct := n.GatewayCA.Issue(lab.LeafOptions{CommonName: "rick"})
	return []ldapWay{
		{"slapd", s.LDAPS, clientTLS(n, lab.DirectoryName, direct), nil},
		{"bridge", bridge["ldaps"], clientTLS(n, lab.ServerName, n.Rick.Credential), nil},
	}
}

// figureSlapd is the example's slapd, where a certificate of our own says that it is
// rick, who has 2,000 connections.
func figureSlapd(t testing.TB, n *lab.Internet) *lab.Slapd {
	t.Helper()
	dir := openFolder(t)
	for _, d := range []string{"db", "run"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	text, err := os.ReadFile(filepath.Join(slapdExample, "slapd.conf"))
	must(t, err)
	conf := strings.ReplaceAll(string(text), exampleHome, dir)
	conf = strings.Replace(conf, "authz-policy", "authz-regexp \"^cn=rick$\" \""+ldapFigureUser+"\"\nauthz-policy", 1)
	server := n.DirectoryCertificate()
	for name, text := range map[string]string{
		"slapd.conf": conf, "bridge-ca.pem": string(n.GatewayCA.PEM()),
		"slapd.pem": string(server.CertPEM()), "slapd.key": string(server.KeyPEM()),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	s, err := lab.StartSlapd(dir, filepath.Join(dir, "slapd.conf"), filepath.Join(slapdExample, "base.ldif"))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// loadClient asks for one entry again and again, and decodes nothing.
type loadClient struct {
	conn   *tls.Conn
	r      *bufio.Reader
	ask    []byte
	buffer []byte
}

func (w *ldapWay) dial(t testing.TB) *loadClient {
	t.Helper()
	conn, err := tls.Dial("tcp", w.address, w.tls)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	c := &loadClient{conn: conn, r: bufio.NewReader(conn)}
	_, err = conn.Write(ldapmessage.AppendBindExternal(nil, 1))
	must(t, err)
	if code := c.answer(t); code != 0 {
		t.Fatalf("%s does not take us: %v", w.name, code)
	}
	search := ldapmessage.Search{Base: []byte(ldapFigureUser), Filter: ldapmessage.FilterPresent("objectClass"), Attributes: ldapmessage.AttributeSelection("cn", "mail")}
	c.ask = ldapmessage.AppendMessage(nil, 2, search.AppendOp(nil), nil)
	return c
}

// answer reads to the end of an operation, which is the only one.
func (c *loadClient) answer(t testing.TB) ldapmessage.Code {
	for {
		m, err := ldapmessage.ReadInto(c.buffer, c.r, ldapmessage.Limits{Elements: -1})
		if err != nil {
			t.Error(err)
			return ldapmessage.Other
		}
		c.buffer = m.Buffer()
		if m.Tag().IsFinal() {
			r, err := ldapmessage.ParseResult(m.Op)
			if err != nil {
				t.Error(err)
			}
			return r.Code
		}
	}
}

func (c *loadClient) search(t testing.TB) bool {
	_, err := c.conn.Write(c.ask)
	return err == nil && c.answer(t) == 0
}

// load searches on all connections for a while.
func (f *ldapFigures) load(clients []*loadClient) (perSecond float64, median time.Duration) {
	took := make([][]time.Duration, len(clients))
	began := time.Now()
	var wait sync.WaitGroup
	for i, c := range clients {
		wait.Go(func() {
			for last := began; last.Sub(began) < f.time; {
				if !c.search(f.t) {
					f.t.Error("a search failed")
					return
				}
				now := time.Now()
				took[i] = append(took[i], now.Sub(last))
				last = now
			}
		})
	}
	wait.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if len(all) == 0 {
		f.t.Fatal("no searches")
	}
	return float64(len(all)) / time.Since(began).Seconds(), all[len(all)/2]
}

// compare prints one line, of rounds in turns.
func (f *ldapFigures) compare(name string, conns int) {
	rates, medians := make([]float64, len(f.ways)), make([]time.Duration, len(f.ways))
	var cpu time.Duration
	var searches float64
	for i := range f.ways {
		w := &f.ways[i]
		for len(w.dials) < conns {
			w.dials = append(w.dials, w.dial(f.t))
		}
	}
	for range figureRounds {
		for i, w := range f.ways {
			before := f.bridge.cpu(f.t)
			rate, median := f.load(w.dials[:conns])
			rates[i] = max(rates[i], rate)
			if medians[i] == 0 || median < medians[i] {
				medians[i] = median
			}
			if w.name == "bridge" {
				cpu += f.bridge.cpu(f.t) - before
				searches += rate * f.time.Seconds()
			}
		}
	}
	fmt.Printf("%-32s slapd %6.0f/s p50 %v, bridge %6.0f/s p50 %v: ratio %.2f, %v more, %.0f µs CPU\n", name,
		rates[0], medians[0], rates[1], medians[1], rates[1]/rates[0], medians[1]-medians[0], float64(cpu.Microseconds())/searches)
}

// collectEnv makes a server of these tests give free memory back at SIGUSR2, so that
// what is measured is not what the collector has yet to find.
const collectEnv = "DANCEMTA_COLLECT"

func collectWhenAsked() {
	if os.Getenv(collectEnv) == "" {
		return
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	go func() {
		for range asked {
			debug.FreeOSMemory()
			debug.FreeOSMemory() // each halves the stacks that are too large
		}
	}()
}

// memory is what the bridge has after the garbage.
func (f *ldapFigures) memory() float64 {
	f.t.Helper()
	must(f.t, syscall.Kill(f.bridge.pid, syscall.SIGUSR2))
	least := f.bridge.memory(f.t)
	// It says nothing when it is done.
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		least = min(least, f.bridge.memory(f.t))
	}
	return least
}

// idle prints what a bound connection costs that says nothing, while it still has its
// connection to slapd, and when that has gone back.
func (f *ldapFigures) idle() {
	w := f.ways[1]
	w.dial(f.t).search(f.t) // what is made once, is
	before := f.memory()
	for range ldapFigureIdle {
		if !w.dial(f.t).search(f.t) {
			f.t.Fatal("a search failed")
		}
	}
	leased := f.memory()
	<-time.After(ldapFigureSilence)
	each := func(octets float64) float64 { return (octets - before) / ldapFigureIdle / 1024 }
	fmt.Printf("%d bound connections, each with one to slapd: %.0f KiB each; after half a minute: %.0f KiB\n", ldapFigureIdle, each(leased), each(f.memory()))
}
