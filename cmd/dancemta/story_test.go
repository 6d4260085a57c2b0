//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dancemta/daneclient/clientid"
	"dancemta/internal/lab"
)

const (
	// storiesEnv runs the stories; its value "required" forbids to skip any.
	storiesEnv   = "DANCEMTA_E2E"
	storyFolder  = "../../testdata/e2e"
	storyTimeout = 2 * time.Minute  // Postfix alone takes a few seconds
	storyGrace   = 10 * time.Second // for the script's own tidying after SIGTERM
)

// storyPrograms are the counterparts that the stories play with.
var storyPrograms = []string{"nsd", "nsd-checkzone", "ldns-signzone", "unbound", "bash", "msmtp", "gsasl", "swaks", "openssl", "curl", "perl", "nginx", "haproxy", "freeradius", "eapol_test", "opendkim", "opendkim-genkey", "postfix", "smtp-sink", "smtp-source", "sendmail", "rspamd", "cc", "slapd", "slapadd", "ldapsearch"}

// Each folder in testdata/e2e is a story: real programs against the real
// server, which asks unbound, which asks nsd, which has the lab's zones.
func TestStories(t *testing.T) {
	needPrograms(t)
	stories, err := filepath.Glob(filepath.Join(storyFolder, "*", "run.sh"))
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories in %s (%v)", storyFolder, err)
	}
	world := newStage(t)
	for _, script := range stories {
		dir := filepath.Dir(script)
		t.Run(filepath.Base(dir), func(t *testing.T) { world.play(t, dir) })
	}
}

func needPrograms(t *testing.T) {
	t.Helper()
	mode := os.Getenv(storiesEnv)
	if mode == "" {
		t.Skipf("needs real servers and mail programs; set %s=1 to run it", storiesEnv)
	}
	missing := lab.Missing(storyPrograms...)
	if os.Getuid() != 0 {
		missing = append(missing, "root's rights, for postfix")
	}
	if exec.Command("perl", "-MNet::SSLeay", "-e", "1").Run() != nil {
		missing = append(missing, "perl's Net::SSLeay, for swaks")
	}
	if exec.Command("/usr/bin/python3", "-c", "import dkim, nacl").Run() != nil {
		missing = append(missing, "Debian's python3-dkim and python3-nacl")
	}
	if exec.Command("/usr/bin/python3", "-c", "import ldap3").Run() != nil {
		missing = append(missing, "Debian's python3-ldap3")
	}
	if !haveLibssl() {
		missing = append(missing, "libssl-dev, for the peer in C")
	}
	if !clientid.Supported {
		missing = append(missing, "the overlay of crypto/tls, see make e2e")
	}
	switch {
	case missing == nil:
	case mode == "required":
		t.Fatalf("missing: %s", strings.Join(missing, ", "))
	default:
		t.Skipf("missing: %s", strings.Join(missing, ", "))
	}
}

// haveLibssl reports whether the compiler finds the static library of libssl-dev.
func haveLibssl() bool {
	path, err := exec.Command("cc", "-print-file-name=libssl.a").Output()
	return err == nil && strings.Contains(string(path), "/") // the bare name: not found
}

// buildPeer compiles testdata/e2e/peer, which says why it is linked like this.
func buildPeer(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "peer")
	cmd := exec.Command("cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror",
		"-o", path, filepath.Join(storyFolder, "peer", "peer.c"),
		"-Wl,--wrap=custom_ext_add", "-l:libssl.a", "-l:libcrypto.a")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return path
}

// stage is what all stories share.
type stage struct {
	dir string   // holds pki, mail and the log
	env []string // see lib.sh
}

// newStage starts DNS, sink and server, which end with the test.
func newStage(t *testing.T) *stage {
	t.Helper()
	dir := openFolder(t)
	for _, d := range []string{"dns", "pki", "mail", "work"} {
		must(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	internet, err := lab.NewInternet(time.Now())
	must(t, err)
	t.Cleanup(func() { must(t, internet.Close()) })
	must(t, internet.KeepMailIn(filepath.Join(dir, "mail")))
	must(t, internet.WritePKI(filepath.Join(dir, "pki")))
	self, err := os.Executable() // "dancemta", see TestMain
	must(t, err)
	s := &stage{dir: dir, env: append(os.Environ(), "DANCEMTA="+self, "PEER="+buildPeer(t, dir), "PKI="+filepath.Join(dir, "pki"))}
	_, port, err := net.SplitHostPort(internet.Sink.Addr())
	must(t, err)
	s.env = append(s.env, "MXPORT="+port)
	s.addZones(t, internet.World)
	dns, err := internet.World.StartRealDNS(filepath.Join(dir, "dns"))
	must(t, err)
	t.Cleanup(func() { must(t, dns.Close()) })

	c := s.startServer(t, storyConfig(t, dir, dns.Unbound, internet.Sink.Addr()))
	s.env = append(s.env, fmt.Sprintf("UNBOUND=%d", dns.UnboundPID()),
		"RESOLVER="+dns.Unbound, "SINK="+filepath.Join(dir, "mail"), "LOG="+s.logPath())
	for name, address := range c.addresses {
		_, port, err := net.SplitHostPort(address)
		must(t, err)
		s.env = append(s.env, strings.ToUpper(name)+"="+port)
	}
	return s
}

// addZones plays the zone.sh of those stories that have one: it prints a zone,
// which is signed and served, and may leave keys in the story's folder.
func (s *stage) addZones(t *testing.T, world *lab.World) {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join(storyFolder, "*", "zone.sh"))
	must(t, err)
	for _, script := range scripts {
		var complaints strings.Builder
		cmd := exec.Command("bash", "zone.sh")
		cmd.Dir, cmd.Stderr = filepath.Dir(script), &complaints
		cmd.Env = append(slices.Clone(s.env), "WORK="+s.workFolder(t, cmd.Dir))
		zone, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, complaints.String())
		}
		world.AddZoneFile(string(zone), lab.ZoneOptions{})
	}
}

// workFolder is where a story has its own files.
func (s *stage) workFolder(t *testing.T, story string) string {
	t.Helper()
	work := filepath.Join(s.dir, "work", filepath.Base(story))
	must(t, os.MkdirAll(work, 0o755))
	return work
}

// openFolder is a temporary folder that the users of daemons can enter.
func openFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dancemta-stories-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func (s *stage) logPath() string { return filepath.Join(s.dir, "log") }

// storyConfig fills in config.toml.
func storyConfig(t *testing.T, dir, upstream, sink string) (path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(storyFolder, "config.toml"))
	must(t, err)
	_, port, err := net.SplitHostPort(sink)
	must(t, err)
	filled := os.Expand(string(text), func(name string) string {
		return map[string]string{"UPSTREAM": upstream, "MXPORT": port, "PKI": filepath.Join(dir, "pki")}[name]
	})
	path = filepath.Join(dir, "config.toml")
	must(t, os.WriteFile(path, []byte(filled), 0o600))
	return path
}

// startServer runs "dancemta serve" of this very test binary, its log in a file.
func (s *stage) startServer(t *testing.T, config string) *child {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	log, err := os.Create(s.logPath())
	must(t, err)
	c := &child{
		cmd: exec.Command(self, "serve", "--config", config), done: make(chan struct{}),
		more: make(chan struct{}), addresses: map[string]string{},
	}
	c.cmd.SysProcAttr = lab.OwnGroup()
	stderr, err := c.cmd.StderrPipe()
	must(t, err)
	must(t, c.cmd.Start())
	ready := make(chan struct{})
	go c.readLog(io.TeeReader(stderr, log), ready)
	t.Cleanup(func() {
		stopServer(t, c)
		log.Close()
	})
	select {
	case <-ready:
	case <-c.done:
		t.Fatalf("the server did not start:\n%s", c.text())
	case <-time.After(storyGrace):
		t.Fatalf("the server is not ready:\n%s", c.text())
	}
	return c
}

// stopServer ends the server as a service manager would.
func stopServer(t *testing.T, c *child) {
	c.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended, and Wait says how
	select {
	case <-c.done:
	case <-time.After(drainTimeout):
		c.cmd.Process.Kill()
		<-c.done
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v:\n%s", err, c.text())
	}
}

// play runs one story's script.
func (s *stage) play(t *testing.T, dir string) {
	work := s.workFolder(t, dir)
	before, err := os.ReadFile(s.logPath())
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), storyTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "run.sh")
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(s.env), "WORK="+work)
	cmd.SysProcAttr = lab.OwnGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = storyGrace
	text, err := cmd.CombinedOutput()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever the script left in its group
	if err != nil {
		log, _ := os.ReadFile(s.logPath())
		t.Errorf("%v\n%s\nthe server's log meanwhile:\n%s", err, text, log[min(len(before), len(log)):])
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(fmt.Errorf("stage: %w", err))
	}
}
