package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// setLevel writes log.level of a configuration file.
func setLevel(t *testing.T, path, level string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(`log = { format = "json", level = "`+level+"\" }\n"+minimalConfig), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLogLevel: a command and a reload change what is logged; the last one counts.
func TestLogLevel(t *testing.T) {
	path := writeConfig(t, jsonLog+minimalConfig)
	setLevel(t, path, "info")
	if code, _, text := run(t, "log", "level", "debug", "--config", path); code != exitUnavailable || !strings.Contains(text, "no server answers") {
		t.Errorf("without a server: exit %d, %s", code, text)
	}
	c := startServer(t, path)
	level := func(want string, args ...string) {
		t.Helper()
		code, out, text := run(t, append([]string{"log", "level", "--config", path}, args...)...)
		if code != exitOK || out != want+"\n" {
			t.Errorf("%v: exit %d, %q %s; want %q", args, code, out, text, want)
		}
	}
	level("info")
	level("debug, was info", "debug")
	level("debug", "debug")
	level(`{"level":"debug","before":"debug"}`, "--json")
	waitLog(t, c, `"msg":"log level","level":"debug","before":"info"`)
	level("error, was debug", "error")
	waitLog(t, c, `"level":"error","before":"debug"`)
	setLevel(t, path, "warn")
	c.cmd.Process.Signal(syscall.SIGHUP) // of which "reloaded" is not written, at this level
	for ctx := withTimeout(t); ctx.Err() == nil; {
		if _, out, _ := run(t, "log", "level", "--config", path); out == "warn\n" {
			break
		}
	}
	level("warn")
	level("info, was warn", "info")
	waitLog(t, c, `"level":"info","before":"warn"`)
	for _, args := range [][]string{{"loud"}, {"info", "debug"}} {
		if code, _, text := run(t, append([]string{"log", "level", "--config", path}, args...)...); code != exitUsage {
			t.Errorf("%v: exit %d, %s", args, code, text)
		}
	}
	level("info")
}

// TestReloadNamesLogFormat: the level takes effect at a reload, the format waits for
// a restart.
func TestReloadNamesLogFormat(t *testing.T) {
	path := writeConfig(t, jsonLog+minimalConfig)
	setLevel(t, path, "info")
	c := startServer(t, path)
	setLevel(t, path, "debug")
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, `"msg":"configuration reloaded"}`)
	if err := os.WriteFile(path, []byte("log = { format = \"text\" }\n"+minimalConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	c.cmd.Process.Signal(syscall.SIGHUP)
	waitLog(t, c, `"need_restart":"log"`)
}
