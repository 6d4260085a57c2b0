//go:build unix

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Bounds for the real servers.
const (
	startTimeout = 20 * time.Second // to load and sign nothing, on a busy machine
	stopTimeout  = 10 * time.Second // between SIGTERM and SIGKILL
	startTries   = 3                // a port found free may be taken before its server has it
)

// TLSName is in the certificate of unbound.
const TLSName = "dns.test"

// RealDNS is the same world served by nsd, with unbound as validating resolver
// in front of it: two strangers who judge what the lab made.
type RealDNS struct {
	NSD     string // host:port
	Unbound string // host:port
	TLS     string // host:port where unbound serves over TLS, as TLSName
	TLSCA   *CA    // of its certificate
	Dir     string // holds the zone files, nsd.conf, unbound.conf, root.ds, root.anchors (for delv) and logs
	running []*process
}

// Missing returns those of the programs that are not installed.
func Missing(programs ...string) []string {
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	return missing
}

// StartRealDNS writes the zones into an empty folder and serves them on free
// ports of 127.0.0.1 until Close. The clock of a real validator cannot be set:
// the world's now must be about now.
func (w *World) StartRealDNS(dir string) (*RealDNS, error) {
	r := &RealDNS{Dir: dir}
	zones, err := w.WriteZoneFiles(dir)
	r.TLSCA = NewCA("unbound's CA", CAOptions{})
	cred := r.TLSCA.Issue(LeafOptions{Names: []string{TLSName}})
	err = errors.Join(err,
		os.WriteFile(filepath.Join(dir, "tls.pem"), cred.CertPEM(), 0o644),
		os.WriteFile(filepath.Join(dir, "tls.key"), cred.KeyPEM(), 0o600),
		os.WriteFile(filepath.Join(dir, "root.ds"), []byte(w.Anchor()), 0o644),
		os.WriteFile(filepath.Join(dir, "root.anchors"), []byte(w.AnchorDelv()), 0o644),
	)
	if err != nil {
		return nil, err
	}
	r.NSD, err = r.start("nsd", "nsd started", func(addr string) string { return nsdConf(dir, addr, zones) }, "-d", "-c")
	if err == nil {
		err = r.zonesLoaded()
	}
	if err == nil {
		r.Unbound, err = r.start("unbound", "start of service", func(addr string) string {
			r.TLS = freePort()
			return unboundConf(r, addr, w.Zones())
		}, "-d", "-c")
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// zonesLoaded demands that nsd found no fault: a zone that it cannot read would
// look like a bogus one.
func (r *RealDNS) zonesLoaded() error {
	text, err := os.ReadFile(filepath.Join(r.Dir, "nsd.log"))
	if err == nil && strings.Contains(string(text), " error: ") {
		err = fmt.Errorf("nsd: %s", text)
	}
	return err
}

// UnboundPID is the process of unbound, for those who want it to be silent.
func (r *RealDNS) UnboundPID() int { return r.running[1].cmd.Process.Pid }

// Close ends both servers and waits for them.
func (r *RealDNS) Close() error {
	var err error
	for _, p := range r.running {
		err = errors.Join(err, p.stop())
	}
	r.running = nil
	return err
}

// start writes a configuration for a free port and runs the program with it,
// whose file comes after args.
func (r *RealDNS) start(program, ready string, conf func(addr string) string, args ...string) (string, error) {
	var last error
	for range startTries {
		pc, l, err := listenBoth("127.0.0.1:0")
		if err != nil {
			return "", err
		}
		addr := l.Addr().String()
		pc.Close()
		l.Close()
		path := filepath.Join(r.Dir, program+".conf")
		if err := os.WriteFile(path, []byte(conf(addr)), 0o644); err != nil {
			return "", err
		}
		p, err := run(filepath.Join(r.Dir, program+".log"), ready, program, append(args[:len(args):len(args)], path)...)
		if err == nil {
			r.running = append(r.running, p)
			return addr, nil
		}
		last = err
	}
	return "", last
}

func nsdConf(dir, addr string, zones map[string]string) string {
	host, port, _ := net.SplitHostPort(addr)
	var b strings.Builder
	fmt.Fprintf(&b, `server:
	server-count: 1
	ip-address: %s@%s
	username: ""
	zonesdir: "%[3]s"
	database: ""
	pidfile: "%[3]s/nsd.pid"
	xfrdfile: "%[3]s/xfrd.state"
	xfrdir: "%[3]s"
	zonelistfile: "%[3]s/zone.list"
	verbosity: 1
remote-control:
	control-enable: no
`, host, port, dir)
	for name, path := range zones {
		fmt.Fprintf(&b, "zone:\n\tname: \"%s\"\n\tzonefile: \"%s\"\n", name, path)
	}
	return b.String()
}

// freePort returns an address that was free a moment ago; if it is taken since, the
// server does not start.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Addr().String()
}

// unboundConf asks nsd for each zone by name, since a delegation cannot name a port.
func unboundConf(r *RealDNS, addr string, zones []string) string {
	at := strings.Replace(r.NSD, ":", "@", 1)
	_, tlsPort, _ := net.SplitHostPort(r.TLS)
	var b strings.Builder
	fmt.Fprintf(&b, `server:
	directory: "%[1]s"
	chroot: ""
	username: ""
	pidfile: ""
	interface: %[2]s
	interface: 127.0.0.1@%[3]s
	tls-port: %[3]s
	tls-service-pem: "%[1]s/tls.pem"
	tls-service-key: "%[1]s/tls.key"
	ede: yes
	do-ip6: no
	do-daemonize: no
	use-syslog: no
	verbosity: 1
	val-log-level: 2
	val-sig-skew-min: 0
	val-sig-skew-max: 0
	trust-anchor-file: "%[1]s/root.ds"
	local-zone: "test." nodefault
	do-not-query-localhost: no
remote-control:
	control-enable: no
`, r.Dir, strings.Replace(addr, ":", "@", 1), tlsPort)
	for _, name := range zones {
		fmt.Fprintf(&b, "stub-zone:\n\tname: \"%s\"\n\tstub-addr: %s\n", name, at)
	}
	return b.String()
}

// process is a program that was started here, and its log.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its log is complete
}

// run starts a program and waits until a line of its log holds ready.
func run(logfile, ready, program string, args ...string) (*process, error) {
	log, err := os.Create(logfile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = OwnGroup()
	pipe, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	up := make(chan struct{})
	go p.follow(pipe, log, ready, up)
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-up:
		return p, nil
	case <-p.done:
	case <-timeout.C:
	}
	p.stop() // it did not start; why is in its log
	text, _ := os.ReadFile(logfile)
	return nil, fmt.Errorf("%s did not start: %s", program, text)
}

// follow copies the log, closes up at the line that says ready, and reaps the
// program at the end.
func (p *process) follow(pipe io.Reader, log *os.File, ready string, up chan struct{}) {
	defer close(p.done)
	defer log.Close()
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		fmt.Fprintln(log, lines.Text())
		if up != nil && strings.Contains(lines.Text(), ready) {
			close(up)
			up = nil
		}
	}
	p.cmd.Wait() // how it ended does not matter: stop ends it by a signal
}

// stop ends the program and all that it forked.
func (p *process) stop() error {
	group := -p.cmd.Process.Pid
	syscall.Kill(group, syscall.SIGTERM) // it may have ended already
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
	}
	syscall.Kill(group, syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s had to be killed", p.cmd.Path)
}
