package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"dancemta/queue/boltstore"
)

// childEnv makes the test binary be the program, so that tests (and the demo,
// which starts itself) run real processes with the code under test.
const childEnv = "DANCEMTA_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		collectWhenAsked()
		os.Exit(executeChild(ctx, arguments(os.Args)))
	}
	os.Setenv(childEnv, "1") // for every process that the tests start
	os.Exit(m.Run())
}

// executeChild is the program, or one of the helpers of tests: a server that
// tells at which step of the store it is (the page cache, and so its file,
// outlives SIGKILL), clients that only hold connections, and one that tells a
// name in the TLS handshake.
func executeChild(ctx context.Context, args []string) int {
	if len(args) == 3 && args[0] == idleClientsCommand {
		return helped(idleClients(args[1], args[2]))
	}
	if len(args) == 5 && args[0] == tellNameCommand {
		return helped(tellName(args[1], args[2], args[3], args[4]))
	}
	if os.Getenv(flushesEnv) != "" && len(args) == 3 && args[0] == "serve" {
		return helped(serveFigures(ctx, args[2]))
	}
	if os.Getenv(flushFailsEnv) != "" && len(args) == 3 && args[0] == "serve" {
		return helped(serveToBreak(ctx, args[2]))
	}
	path := os.Getenv(stepsEnv)
	if path == "" || len(args) != 3 || args[0] != "serve" {
		return execute(ctx, args, os.Stdout, os.Stderr)
	}
	err := serveToCrash(ctx, path, args[2])
	if err == nil {
		return exitOK
	}
	printError(os.Stderr, err)
	return exitCode(err)
}

// serveToCrash is a server that tells its steps, and kills itself at one if it was
// asked to. Its limits are low, so that each kind of step comes often.
func serveToCrash(ctx context.Context, path, config string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, step, _ := strings.Cut(os.Getenv(killEnv), " ")
	nth, _ := strconv.Atoi(n)
	var seen atomic.Int64
	return serve(ctx, config, os.Stderr, boltstore.Options{
		MaxBodyInline: crashInline, JournalBytes: crashJournal,
		Step: func(name string) {
			f.WriteAt(fmt.Appendf(nil, "%-*.*s", stepWidth, stepWidth, name), 0)
			if name == step && int(seen.Add(1)) == nth {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
}

// helped is the exit code of a helper.
func helped(err error) int {
	if err == nil {
		return exitOK
	}
	printError(os.Stderr, err)
	return exitFault
}

// run executes a command in this process.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

// writeConfig writes a configuration into a fresh folder.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dancemta.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const minimalConfig = `hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
dns        = { upstreams = ["127.0.0.1:1"] }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"
`

func TestExitCodes(t *testing.T) {
	good := writeConfig(t, minimalConfig)
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no command", nil, exitUsage, "needs a command"},
		{"unknown command", []string{"serv"}, exitUsage, `did you mean "dancemta serve"?`},
		{"unknown command of a group", []string{"queue", "lits"}, exitUsage, `did you mean "dancemta queue list"?`},
		{"group without a command", []string{"queue"}, exitUsage, "needs a command"},
		{"unknown flag", []string{"serve", "--conf", "x"}, exitUsage, "unknown flag: --conf"},
		{"too many words", []string{"version", "now"}, exitUsage, "takes no words"},
		{"no such file", []string{"serve", "--config", "/nowhere/x.toml"}, exitConfig, "no such file"},
		{"bad file", []string{"check", "--config", writeConfig(t, "hostnam = 1\n")}, exitConfig, `dancemta.toml:1:1: hostnam: `},
		{"not an id", []string{"queue", "show", "hello", "--config", good}, exitUsage, "not a queue id"},
		{"no queue yet", []string{"queue", "list", "--config", good}, exitUnavailable, "no queue yet"},
		{"no folder for manual pages", []string{"man", "main_test.go"}, exitUnavailable, "not a directory"},
	} {
		code, out, text := run(t, c.args...)
		if code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit %d, %q; want %d, %q", c.name, code, text, c.code, c.says)
		}
		if out != "" {
			t.Errorf("%s: %q on standard output", c.name, out)
		}
		if !strings.HasPrefix(text, "error: ") {
			t.Errorf("%s: %q does not begin with error:", c.name, text)
		}
	}
}

func TestVersionCompletionMan(t *testing.T) {
	if code, out, _ := run(t, "version"); code != 0 || !strings.Contains(out, "client names: "+clientNameSources()) {
		t.Errorf("version: %d, %q", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, out, _ := run(t, "completion", shell); code != 0 || len(out) < 500 {
			t.Errorf("completion %s: %d, %d octets", shell, code, len(out))
		}
	}
	dir := t.TempDir()
	if code, _, text := run(t, "man", dir); code != 0 {
		t.Fatalf("man: %d, %s", code, text)
	}
	for _, page := range []string{"dancemta.8", "dancemta-serve.8", "dancemta-queue-list.8"} {
		if _, err := os.Stat(filepath.Join(dir, page)); err != nil {
			t.Error(err)
		}
	}
}

// What help names must exist, and what is not built must not be named.
func TestHelp(t *testing.T) {
	_, out, _ := run(t, "help")
	for _, word := range []string{"serve", "check", "queue", "demo", "tlsa", "usercert", "dkim", "key", "verify", "explain", "probe", "send", "status", "version", "man", "completion"} {
		if !strings.Contains(out, "  "+word+" ") {
			t.Errorf("help does not name %s", word)
		}
	}
}
