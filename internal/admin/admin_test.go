package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := New(nil)
	s.Handle("echo", func(_ context.Context, args []string, w io.Writer) error {
		_, err := fmt.Fprintln(w, strings.Join(args, "|"))
		return err
	})
	s.Handle("lost", func(context.Context, []string, io.Writer) error { return fmt.Errorf("ID1: %w", ErrNotFound) })
	s.Handle("bad", func(context.Context, []string, io.Writer) error { return errors.New("store is broken") })
	s.Handle("half", func(_ context.Context, _ []string, w io.Writer) error {
		fmt.Fprintln(w, "half")
		return errors.New("too late to say")
	})
	s.HandleIntake("count", func(_ context.Context, args []string, in io.Reader, w io.Writer) error {
		n, err := io.Copy(io.Discard, in)
		if err == nil {
			_, err = fmt.Fprintln(w, n, args)
		}
		return err
	})
	s.Serve(l)
	t.Cleanup(s.Close)
	return path
}

func call(path, name string, args ...string) (string, error) {
	r, err := Call(context.Background(), path, name, args...)
	if err != nil {
		return "", err
	}
	defer r.Close()
	out, err := io.ReadAll(r)
	return string(out), err
}

func TestCall(t *testing.T) {
	path := start(t)
	if out, err := call(path, "echo", "a b", "c&d"); err != nil || out != "a b|c&d\n" {
		t.Errorf("echo: %q, %v", out, err)
	}
	if _, err := call(path, "lost"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "ID1") {
		t.Errorf("lost: %v", err)
	}
	if _, err := call(path, "bad"); err == nil || err.Error() != "store is broken" {
		t.Errorf("bad: %v", err)
	}
	if out, err := call(path, "half"); err == nil {
		t.Errorf("half: %q came as if it were whole", out)
	}
	if _, err := call(path, "unknown"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestListen(t *testing.T) {
	path := start(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v; only its owner may open it", info.Mode(), err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("second server: %v", err)
	}
	if _, err := Listen(strings.Repeat("x", 200)); err == nil {
		t.Error("an over-long path was accepted")
	}
}

// What a killed server leaves behind is replaced; what is no socket is not ours.
func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	left, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	if _, err := call(path, "echo"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("call without a server: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := call(path, "echo"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("call after the end: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

// TestPeer: another user is not served, whatever the mode of the socket says.
func TestPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := New(slog.New(slog.NewTextHandler(&log, nil)))
	asked := -1
	s.allowed = func(uid int) bool { asked = uid; return false }
	called := false
	s.Handle("echo", func(context.Context, []string, io.Writer) error { called = true; return nil })
	s.Serve(l)
	if out, err := call(path, "echo"); err == nil {
		t.Errorf("another user was answered %q", out)
	}
	s.Close()
	if called || asked != os.Getuid() || !strings.Contains(log.String(), "another user") {
		t.Errorf("called %v, user %d, log %s", called, asked, log.String())
	}
	for uid, want := range map[int]bool{0: true, os.Geteuid(): true, os.Geteuid() + 1: false, 65534: os.Geteuid() == 65534, -1: false} {
		if got := ownOrRoot(uid); got != want {
			t.Errorf("user %d: %v", uid, got)
		}
	}
}

// TestIntake: a stream goes in, and its end is seen.
func TestIntake(t *testing.T) {
	path := start(t)
	r, err := Send(context.Background(), path, "count", strings.NewReader(strings.Repeat("x", 1<<20)), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if out, err := io.ReadAll(r); err != nil || string(out) != "1048576 [a]\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestTooManyClients: those beyond the bound are sent away, and places come back.
func TestTooManyClients(t *testing.T) {
	path := start(t)
	var conns []net.Conn
	for range maxClients {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST /echo HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	if _, err := call(path, "echo"); err == nil {
		t.Error("one too many was served")
	}
	for _, conn := range conns {
		conn.Close()
	}
	for limit := time.Now().Add(10 * time.Second); ; {
		if _, err := call(path, "echo"); err == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the places did not come back")
		}
	}
}

// TestHostile: what is no request ends its own connection alone.
func TestHostile(t *testing.T) {
	path := start(t)
	for name, text := range map[string]string{
		"noise":      "\x00\xff\x00\xff\r\n\r\n",
		"long line":  "POST /" + strings.Repeat("a", 2*maxRequest) + " HTTP/1.1\r\n\r\n",
		"long head":  "POST /echo HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 2*maxRequest) + "\r\n\r\n",
		"other verb": "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"climbing":   "POST /../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"bad query":  "POST /echo?arg=%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, text) // the far side may close before its end
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if strings.Contains(string(answer), "root:") || strings.HasPrefix(string(answer), "HTTP/1.1 200") && name != "bad query" {
			t.Errorf("%s: %.80q", name, answer)
		}
	}
	if _, err := call(path, "echo"); err != nil {
		t.Error(err)
	}
}
