package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	s := New()
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
