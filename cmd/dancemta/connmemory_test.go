package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
	"dancemta/smtpd/wire"
)

// judgements are at once as many as internal/msgauth lets be, and each holds so much
// beside its connection at the most (docs/security.md).
const (
	judgements  = 40
	ofJudgement = 256 << 10
)

// TestMemoryPerConnection: what docs/security.md says one connection holds at the most
// is true for peers that make it hold as much as they can. Their own side of it, in
// this process, is counted, too.
func TestMemoryPerConnection(t *testing.T) {
	t.Run("not judged", func(t *testing.T) { holdsAtMost(t, unjudged, wire.MemoryPerConnection) })
	t.Run("judged", func(t *testing.T) {
		holdsAtMost(t, "", wire.MemoryPerConnection+judgements*ofJudgement/stallers)
	})
}

const stallers = 80 // twice as many as are judged at once

func holdsAtMost(t *testing.T, settings string, most int64) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	dir := t.TempDir()
	if err := internet.WritePKI(dir); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "dancemta.toml")
	text := settings + "tls = { certificate = \"mx.pem\", key = \"mx.key\" }\n" + minimalConfig + "[[relay_domain]]\ndomain = \"remote.test\"\nrecipients = \"any\"\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, addresses := startParts(t, config)
	fields := strings.Repeat("X-Field: "+strings.Repeat("x", 900)+"\r\n", 70)
	line := strings.Repeat("0123456789abcdef", 60) + "\r\n"
	const envelope = "MAIL FROM:<a@b.test>\r\nRCPT TO:<ann@remote.test>\r\n"
	for _, c := range []struct {
		name  string
		under bool // TLS
		words string
	}{
		{"a command without an end", true, "MAIL FROM:<" + strings.Repeat("a", 4000)},
		{"a handshake without an end", false, "STARTTLS\r\n" + clientHello(60_000)},
		{"a header without an end", true, envelope + "DATA\r\n" + fields},
		{"a body without an end", true, envelope + "DATA\r\nSubject: x\r\n\r\n" + strings.Repeat(line, 65)},
		{"a long header, and a body", true, envelope + "DATA\r\n" + fields + "\r\n" + strings.Repeat(line, 65)},
		{"a large body", true, envelope + "DATA\r\nSubject: x\r\n\r\n" + strings.Repeat(line, 400)},
		{"a chunk without an end", true, envelope + "BDAT 65000\r\nSubject: x\r\n\r\n" + strings.Repeat(line, 65)},
	} {
		running := runtime.NumGoroutine()
		before := held()
		var conns []net.Conn
		for range stallers {
			conn, err := stallWith(addresses["relay"], c.under, c.words)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			conns = append(conns, conn)
		}
		waitRead(t, addresses["relay"])
		each := (int64(held()) - int64(before)) / stallers
		t.Logf("%s: %d KiB", c.name, each>>10)
		if each > most {
			t.Errorf("%s: a connection holds %d octets, and %d are promised", c.name, each, most)
		}
		for _, conn := range conns {
			conn.Close()
		}
		for ctx := withTimeout(t); runtime.NumGoroutine() > running; runtime.Gosched() {
			if ctx.Err() != nil {
				t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-running)
			}
		}
	}
}

// held is what the process holds in heap and stacks, after the garbage.
func held() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// clientHello is the begin of one of so many octets, in records of TLS.
func clientHello(size int) string {
	message := "\x01" + string([]byte{byte((size + 4000) >> 16), byte((size + 4000) >> 8), byte(size + 4000)}) + strings.Repeat("\x00", size)
	var b strings.Builder
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		b.WriteString("\x16\x03\x01" + string([]byte{byte(n >> 8), byte(n)}) + message[:n])
		message = message[n:]
	}
	return b.String()
}

// stallWith says words, command by command up to a body or a handshake, and no more.
func stallWith(address string, under bool, words string) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(testTimeout))
	r := bufio.NewReaderSize(conn, 64)
	ask := func(line string) error {
		if _, err := io.WriteString(conn, line); err != nil {
			return err
		}
		for {
			text, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if len(text) > 3 && text[3] == ' ' {
				if text[0] > '3' {
					return fmt.Errorf("%.60q: %s", line, text)
				}
				return nil
			}
		}
	}
	err = ask("")
	if err == nil {
		err = ask("EHLO peer.test\r\n")
	}
	if err == nil && under {
		if err = ask("STARTTLS\r\n"); err == nil {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			r = bufio.NewReaderSize(conn, 64)
			err = ask("EHLO peer.test\r\n")
		}
	}
	for err == nil {
		line, rest, ok := strings.Cut(words, "\r\n")
		if !ok || strings.HasPrefix(line, "BDAT ") {
			break
		}
		words = rest
		if err = ask(line + "\r\n"); line == "DATA" || line == "STARTTLS" {
			break
		}
	}
	if err == nil {
		_, err = io.WriteString(conn, words)
	}
	return conn, err
}

// waitRead waits until the server has read all that came at a port (proc(5), net/tcp:
// the fifth field is what waits to be sent and to be read).
func waitRead(t *testing.T, address string) {
	t.Helper()
	port := netPort(t, address)
	for ctx := withTimeout(t); ; {
		text, err := os.ReadFile("/proc/net/tcp")
		if err != nil {
			t.Skip(err)
		}
		waits := false
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			waits = waits || len(f) > 4 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) && f[3] == "01" && !strings.HasSuffix(f[4], ":00000000")
		}
		if !waits {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the server does not read")
		}
		runtime.Gosched()
	}
}

func netPort(t *testing.T, address string) (port int) {
	t.Helper()
	if _, text, err := net.SplitHostPort(address); err != nil {
		t.Fatal(err)
	} else if _, err := fmt.Sscan(text, &port); err != nil {
		t.Fatal(err)
	}
	return port
}
