package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dancemta/internal/admin"
	"dancemta/internal/maillog"
	"dancemta/queue/boltstore"
)

// What a server of the figures is told.
const (
	flushesEnv = "DANCEMTA_TEST_FLUSHES"     // file that holds the number of flushes
	delayEnv   = "DANCEMTA_TEST_FLUSH_DELAY" // each flush takes so much longer
	keepEnv    = "DANCEMTA_TEST_KEEP"        // deliver nothing
)

// flushesOf says how many flushes of the disk a step of the store is.
var flushesOf = map[string]int64{"journal fsync": 1, "before commit": 2, "spool fsync": 1, "spool folder fsync": 1}

// serveFigures is a server that counts its flushes, and may have a slow disk, or take
// mail in only.
func serveFigures(ctx context.Context, config string) error {
	f, err := os.Create(os.Getenv(flushesEnv))
	if err != nil {
		return err
	}
	delay, _ := time.ParseDuration(os.Getenv(delayEnv))
	var flushes atomic.Int64
	so := boltstore.Options{Step: func(name string) {
		n := flushesOf[name]
		if n == 0 {
			return
		}
		f.WriteAt(fmt.Appendf(nil, "%12d", flushes.Add(n)), 0)
		<-time.After(time.Duration(n) * delay) // this is the slow disk
	}}
	if os.Getenv(keepEnv) == "" {
		return serve(ctx, config, os.Stderr, so)
	}
	cfg, err := loadConfig(config)
	if err != nil {
		return err
	}
	log := newLogger(cfg.Log, os.Stderr)
	ears, err := listenAll(ports(cfg))
	if err != nil {
		return err
	}
	p, err := newParts(config, cfg, log, so)
	if err != nil {
		return err
	}
	defer p.close()
	control, err := admin.Listen(filepath.Join(string(cfg.StateDir), socketName))
	if err != nil {
		return err
	}
	p.admin.Serve(control)
	var wait sync.WaitGroup
	for _, e := range ears {
		maillog.Listening(log, e.name, e.Addr().String())
		wait.Go(func() { p.serveEar(e) })
	}
	maillog.Ready(log, version, clientNameSources())
	<-ctx.Done()
	p.smtp.Drain(ctx)
	wait.Wait()
	return nil
}

// figureServer is a server under measurement, ours or Postfix.
type figureServer struct {
	address string
	pid     int // 0: many processes
	flushes string
	stop    func()
}

// startOurs starts our server with a configuration; keep: nothing is delivered.
func startOurs(t *testing.T, config string, delay time.Duration, keep bool) *figureServer {
	t.Helper()
	dir := filepath.Dir(config)
	s := &figureServer{flushes: filepath.Join(dir, "flushes")}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "serve", "--config", config)
	cmd.Env = append(os.Environ(), flushesEnv+"="+s.flushes, delayEnv+"="+delay.String())
	if keep {
		cmd.Env = append(cmd.Env, keepEnv+"=1")
	}
	cmd.Stderr = log // a file, as in production: nobody's time goes into reading it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
			log.Close()
		})
	}
	t.Cleanup(s.stop)
	s.address = s.waitReady(t, log.Name())
	return s
}

// waitReady reads the address from the log.
func (s *figureServer) waitReady(t *testing.T, log string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), `"listener":"relay","address":"`)
		address, _, whole := strings.Cut(rest, `"`)
		if ok && whole && strings.Contains(rest, `"msg":"ready"`) {
			return address
		}
	}
	text, _ := os.ReadFile(log)
	t.Fatalf("the server did not start:\n%s", text)
	return ""
}

// flushCount is how many flushes there were since the start.
func (s *figureServer) flushCount() int64 {
	text, err := os.ReadFile(s.flushes)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// cpu is the processor time that the server took since its start.
func (s *figureServer) cpu(t *testing.T) time.Duration {
	t.Helper()
	if s.pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, proc(5)
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is what the server has for itself, in octets; the pages of its files are the
// system's cache.
func (s *figureServer) memory(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib * 1024
}

const postfixMain = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/log/mail
maillog_file_prefixes = %[1]s
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_PRELOAD
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
message_size_limit = 104857600
mailbox_size_limit = 0
default_process_limit = 200
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
smtp_destination_concurrency_limit = 20
smtp_tls_security_level = none
`

const postfixMaster = `127.0.0.1:%d inet n - n - 200 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
tlsmgr    unix  - - n 1000? 1 tlsmgr
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
proxymap  unix  - - n - - proxymap
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`

// startPostfix starts a Postfix of its own folders; nil where there is none. preload is
// a library for it, or "".
func startPostfix(t *testing.T, more, preload string) *figureServer {
	t.Helper()
	if _, err := exec.LookPath("postfix"); err != nil || os.Getuid() != 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "postfix") // others than root must get in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port := freePort(t)
	for _, name := range []string{"conf", "spool", "data", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "conf")
	for path, text := range map[string]string{
		filepath.Join(conf, "main.cf"):   fmt.Sprintf(postfixMain, dir) + more,
		filepath.Join(conf, "master.cf"): fmt.Sprintf(postfixMaster, port),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(verb string) ([]byte, error) {
		cmd := exec.Command("postfix", "-c", conf, verb)
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload)
		return cmd.CombinedOutput()
	}
	if text, err := exec.Command("sh", "-c", "chmod 755 "+dir+" && chown postfix "+dir+"/data").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if text, err := run("start"); err != nil {
		t.Fatalf("postfix: %v: %s", err, text)
	}
	var once sync.Once
	s := &figureServer{address: fmt.Sprintf("127.0.0.1:%d", port), stop: func() { once.Do(func() { run("abort") }) }}
	t.Cleanup(s.stop)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := newBenchClient(s.address)
		if err == nil {
			c.conn.Close()
			return s
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(filepath.Join(dir, "log", "mail"))
			t.Fatalf("postfix does not answer: %v\n%s", err, text)
		}
	}
}

// freePort is one that nobody had a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
