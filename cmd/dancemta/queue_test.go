package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dancemta/internal/admin"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/boltstore"
)

// filled writes a configuration and a queue of three messages, the first deferred, with
// two recipients.
func filled(t *testing.T) (config string, ids []queue.ID) {
	t.Helper()
	config = writeConfig(t, minimalConfig)
	s, err := boltstore.Open(filepath.Join(filepath.Dir(config), "state"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(age time.Duration, sender, body string, rcpts ...string) {
		env := queue.Envelope{ID: queue.NewID(), Arrived: time.Now().Add(-age), Identity: "rick@partner.test"}
		if sender != "" {
			env.Sender = mailaddr.MustParse(sender)
		}
		for _, r := range rcpts {
			env.Recipients = append(env.Recipients, queue.To(mailaddr.MustParse(r))...)
		}
		if err := s.Put(context.Background(), env, time.Now(), strings.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, env.ID)
	}
	put(3*time.Hour, "rick@partner.test", "Subject: one\r\n\r\n", "a@one.test", "b@two.test")
	jobs, _, err := s.Due(queue.DueRequest{Now: time.Now().Add(time.Minute), Max: 9, Next: func(queue.Envelope, int) time.Time { return time.Now().Add(time.Hour) }})
	if err != nil || len(jobs) != 2 {
		t.Fatal(len(jobs), err)
	}
	for _, j := range jobs {
		st := queue.Settlement{ID: j.ID, Destination: j.Destination, Next: time.Now().Add(time.Hour),
			Outcomes: []queue.Outcome{{Recipient: j.Recipients[0].Address, Reply: "451 4.7.5 no", TLS: "dane: none"}}}
		if err := s.Settle(st); err != nil {
			t.Fatal(err)
		}
	}
	put(time.Minute, "maja@other.test", "Subject: two\r\n\r\n", "c@one.test")
	put(time.Second, "", "Subject: three\r\n\r\n"+strings.Repeat("x\r\n", 40_000), "rick@partner.test")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return config, ids
}

// attended lets a control socket answer for the queue in this process, as a server
// does, but for deliveries.
func attended(t *testing.T, config string) {
	t.Helper()
	cfg, err := loadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newParts(config, cfg, newLogger(cfg.Log, new(lockedBuffer)), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	control, err := admin.Listen(filepath.Join(string(cfg.StateDir), socketName))
	if err != nil {
		t.Fatal(err)
	}
	p.serveStatus(nil)
	p.admin.Serve(control)
	t.Cleanup(p.close)
}

type lockedBuffer struct {
	mu sync.Mutex
	strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

// ok runs a command that must succeed.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := run(t, args...)
	if code != exitOK {
		t.Fatalf("%v: exit %d, %s%s", args, code, out, errs)
	}
	return out
}

// TestQueueCommands: the same story with and without a server.
func TestQueueCommands(t *testing.T) {
	for _, live := range []bool{false, true} {
		t.Run(fmt.Sprint("server ", live), func(t *testing.T) {
			config, ids := filled(t)
			if live {
				attended(t, config)
			}
			q := func(words ...string) []string { return append(append([]string{"queue"}, words...), "--config", config) }
			has := func(out string, words ...string) {
				t.Helper()
				for _, w := range words {
					if !strings.Contains(out, w) {
						t.Errorf("%q is missing in\n%s", w, out)
					}
				}
			}
			has(ok(t, q("list")...), string(ids[0]), string(ids[2]), "3 messages")
			has(ok(t, q("list", `sender=@partner.test age>2h reply~"4.7.5"`)...), string(ids[0]), "1 message\n")
			has(ok(t, q("show", string(ids[0]))...), "a@one.test", "deferred", "451 4.7.5 no", "tls dane: none")
			if out := ok(t, q("cat", string(ids[1]))...); out != "Subject: two\r\n\r\n" {
				t.Errorf("cat: %q", out)
			}
			if out := ok(t, q("cat", string(ids[2]))...); len(out) != 17+120_000+1 {
				t.Errorf("cat of a large message: %d octets", len(out))
			}
			has(ok(t, q("stats")...), "one.test", "deferred 1", "2")
			has(ok(t, q("stats", "--by", "sender", "state=deferred")...), "<rick@partner.test>")

			has(ok(t, q("hold", "--dry-run", "domain=one.test")...), string(ids[0]), "would hold: 2 recipients in 2 messages")
			code, _, errs := run(t, q("hold", "domain=one.test")...)
			if code != exitUsage || !strings.Contains(errs, "not without --yes") {
				t.Errorf("without --yes: exit %d, %s", code, errs)
			}
			has(ok(t, q("hold", "--yes", "domain=one.test", "--reason", "looks odd")...), "hold: 2 recipients in 2 messages")
			has(ok(t, q("show", string(ids[0]))...), "held", "held by an operator: looks odd", "b@two.test")
			if _, _, errs := run(t, q("retry", string(ids[0]), "--yes")...); strings.Contains(errs, "hint") {
				t.Errorf("retry of one who is not held: %s", errs)
			}
			_, _, errs = run(t, q("retry", "--yes", "state=held")...)
			has(errs, `hint: whoever the filter chooses is held, see "dancemta queue release"`)
			has(ok(t, q("list", "state=held")...), "2 messages")
			has(ok(t, q("release", string(ids[1]))...), "1 recipient in 1 message")
			has(ok(t, q("retry", "--yes", "all")...), "3 recipients in 3 messages")
			has(ok(t, q("delete", "--yes", `sender=""`)...), "1 recipient in 1 message")
			gone := fmt.Sprintf("error: %s: no such message in the queue\nhint: if it has ended, \"dancemta queue show %s\"", ids[2], ids[2])
			for _, words := range [][]string{{"cat"}, {"delete", "--reason", "why"}} {
				if code, _, errs := run(t, q(append(words, string(ids[2]))...)...); code != exitNotFound || !strings.Contains(errs, gone) {
					t.Errorf("%v of what is deleted: exit %d, %s", words, code, errs)
				}
			}
			has(ok(t, q("show", string(ids[2]))...), "finished", "deleted", "deleted by an operator")
			has(ok(t, q("list", "--finished", "--json")...), string(ids[2]))
			if code, _, _ := run(t, q("hold", string(queue.NewID()))...); code != exitNotFound {
				t.Errorf("hold of nothing: exit %d", code)
			}
			ok(t, q("suspend", "*.Example.org", "--reason", "they move")...)
			if code, _, _ := run(t, q("resume", "example.org")...); code != exitNotFound {
				t.Errorf("resume of what is not suspended: exit %d", code)
			}
			ok(t, q("resume", "*.example.org")...)
			has(ok(t, q("verify")...), "sound")

			file := filepath.Join(t.TempDir(), "backup.tar")
			ok(t, q("export", file)...)
			code, _, _ = run(t, q("export", file)...)
			if code != exitUnavailable {
				t.Errorf("an export took the place of another: exit %d", code)
			}
			code, out, errs := run(t, q("import", file)...)
			if code != exitOK || !strings.Contains(out, "0 messages taken in, 0 of them held, 2 passed by") || !strings.Contains(errs, "already in the queue") {
				t.Errorf("import twice: exit %d, %s%s", code, out, errs)
			}
			if code, _, errs := run(t, q("import", config)...); code != exitUnavailable || !strings.Contains(errs, config+": not an export of a queue") {
				t.Errorf("import of a text: exit %d, %s", code, errs)
			}
			code, _, errs = run(t, q("compact")...)
			if live && (code != exitUnavailable || !strings.Contains(errs, "a server runs: stop it first")) {
				t.Errorf("compact: exit %d, %s", code, errs)
			}
			code, _, errs = run(t, "status", "--config", config)
			if !live && (code != exitUnavailable || !strings.Contains(errs, `hint: "dancemta serve" starts one`)) {
				t.Errorf("status: exit %d, %s", code, errs)
			}
			other := writeConfig(t, minimalConfig)
			if err := os.Mkdir(filepath.Join(filepath.Dir(other), "state"), 0o700); err != nil {
				t.Fatal(err)
			}
			has(ok(t, "queue", "import", file, "--config", other), "2 messages taken in")
			has(ok(t, "queue", "show", string(ids[0]), "--config", other), "held", "b@two.test", "deferred", "attempts 1")
			if got, want := ok(t, "queue", "cat", string(ids[0]), "--config", other), "Subject: one\r\n\r\n"; got != want {
				t.Errorf("after export and import: %q", got)
			}
		})
	}
}

// The list names somebody for whom something is still to be done, if there is one.
func TestRecipientsWord(t *testing.T) {
	rcpt := func(local, state string) queue.RecipientSummary {
		return queue.RecipientSummary{Address: mailaddr.MustParse(local + "@x.test"), State: state}
	}
	for _, c := range []struct {
		rcpts []queue.RecipientSummary
		want  string
	}{
		{nil, ""},
		{[]queue.RecipientSummary{rcpt("a", queue.StateFailed), rcpt("b", queue.StateDeferred)}, "<b@x.test> deferred and 1 more"},
		{[]queue.RecipientSummary{rcpt("a", queue.StateDelivered), rcpt("b", queue.StateHeld), rcpt("c", queue.StateQueued)}, "<b@x.test> held and 2 more"},
		{[]queue.RecipientSummary{rcpt("a", queue.StateDelivered), rcpt("b", queue.StateDeleted)}, "<a@x.test> delivered and 1 more"},
	} {
		if got := recipientsWord(c.rcpts); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestQueueErrors: what is wrong is said with its place.
func TestQueueErrors(t *testing.T) {
	config, _ := filled(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"list", "stat=deferred"}, exitUsage, "error:   stat=deferred\nerror:   ^"},
		{[]string{"hold"}, exitUsage, `"all" means all messages`},
		{[]string{"hold", "age>2x", "--yes"}, exitUsage, "no time"},
		{[]string{"suspend", "a b"}, exitUsage, "not a destination"},
		{[]string{"stats", "--by", "weather"}, exitUsage, "--by weather"},
		{[]string{"export"}, exitUsage, "a file is needed"},
		{[]string{"import", "/nowhere"}, exitUnavailable, "no such file"},
	} {
		code, _, errs := run(t, append(append([]string{"queue"}, c.args...), "--config", config)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %s; want %d, %q", c.args, code, errs, c.code, c.want)
		}
	}
	if code, _, errs := run(t, "status", "--config", config); code != exitUnavailable || !strings.Contains(errs, "no server") {
		t.Errorf("status without a server: exit %d, %s", code, errs)
	}
}

// TestQueueDamaged: a damaged store is named, refused, and what can be read of it
// comes back.
func TestQueueDamaged(t *testing.T) {
	config, ids := filled(t)
	state := filepath.Join(filepath.Dir(config), "state")
	ok(t, "queue", "compact", "--config", config)
	path := filepath.Join(state, "queue.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[:2*os.Getpagesize()])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := run(t, "queue", "verify", "--config", config); code != exitBroken || !strings.Contains(out, "queue export FILE") {
		t.Errorf("verify: exit %d, %s", code, out)
	}
	file := filepath.Join(t.TempDir(), "rescue.tar")
	code, _, errs := run(t, "queue", "export", file, "--config", config)
	if code != exitBroken || !strings.Contains(errs, "3 messages written, 3 of them in doubt, 0 lost") {
		t.Errorf("export: exit %d, %s", code, errs)
	}
	for _, name := range []string{"queue.db", "queue.journal", "spool"} {
		if err := os.Rename(filepath.Join(state, name), filepath.Join(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if out := ok(t, "queue", "import", file, "--config", config); !strings.Contains(out, "3 messages taken in, 3 of them held") {
		t.Errorf("import: %s", out)
	}
	if out := ok(t, "queue", "show", string(ids[0]), "--config", config); !strings.Contains(out, "held") || !strings.Contains(out, "it may have been delivered already") {
		t.Errorf("show: %s", out)
	}
}

func TestStatus(t *testing.T) {
	config, _ := filled(t)
	attended(t, config)
	ok(t, "queue", "suspend", "slow.test", "--for", "1h", "--reason", "asked for it", "--config", config)
	out := ok(t, "status", "--config", config)
	for _, w := range []string{"store", "sound", "deferred 2", "suspended", "slow.test", "asked for it"} {
		if !strings.Contains(out, w) {
			t.Errorf("%q is missing in\n%s", w, out)
		}
	}
	var s status
	if err := json.Unmarshal([]byte(ok(t, "status", "--json", "--config", config)), &s); err != nil || s.Deferred != 2 || s.Store != "sound" || len(s.Suspensions) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
