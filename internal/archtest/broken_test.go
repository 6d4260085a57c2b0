package archtest

import (
	"strings"
	"testing"
)

// TestRules breaks each rule once, and obeys it once.
func TestRules(t *testing.T) {
	long := "package x\nfunc f() {" + strings.Repeat("\n", maxFunction) + "}\n"
	for _, c := range []struct {
		rule, path, text string
		bad              bool
	}{
		{"imports", "queue/dsn/x.go", `import "dancemta/queue"`, true},
		{"imports", "internal/limit/x.go", `import "dancemta/smtpd"`, true},
		{"imports", "smtpd/x.go", `import "dancemta/config"`, true},
		{"imports", "cmd/dancemta/x.go", `import "dancemta/config"`, false},
		{"imports", "queue/boltstore/x.go", `import "dancemta/queue"`, false},
		{"imports", "queue/boltstore/x_test.go", `import "dancemta/queue/storetest"`, false},
		{"imports", "newroom/x.go", ``, true},
		{"imports", "queue/deliver/x.go", `import "github.com/miekg/dns"`, true},
		{"imports", "queue/deliver/x_test.go", `import "github.com/miekg/dns"`, true},
		{"imports", "daneclient/dnssec/x.go", `import "github.com/miekg/dns"`, false},
		{"imports", "queue/x.go", `import "go.etcd.io/bbolt/errors"`, true},
		{"imports", "queue/deliver/x_test.go", `import "github.com/emersion/go-smtp"`, false},
		{"imports", "queue/x.go", `import "testing"`, true},
		{"size of functions", "queue/x.go", long, true},
		{"size of functions", "queue/x_test.go", long, false},
		{"size of functions", "queue/x.go", strings.Replace(long, "\n\n", "\n", 1), false},
		{"size of functions", "queue/x.go", `func f(a, b, c int, d, e, f string) {}`, true},
		{"size of functions", "queue/x.go", `func (x T) f(a, b, c int, d, e string) {}`, false},
		{"size of functions", "queue/x.go", `func g() { _ = func(a, b, c, d, e, f int) {} }`, true},
		{"size of files", "queue/x_test.go", strings.Repeat("\n", maxFile), true},
		{"size of files", "queue/x.go", strings.Repeat("\n", maxFile-2), false},
		{"citations", "queue/x.go", "// RFC 5321 4.5.3.1, RFC 7505 and client-auth 5; an RFC.", false},
		{"citations", "queue/x.go", "// RFC 4035 appendix B, and a part message/rfc822", false},
		{"citations", "queue/x.go", "// RFC5321 4.1", true},
		{"citations", "queue/x.go", "// rfc 5321 4.1", true},
		{"citations", "queue/x.go", "// RFC-5321", true},
		{"citations", "queue/x.go", "// RFC 5321, section 4.1", true},
		{"citations", "queue/x.go", "// RFC 5321 §4.1", true},
		{"citations", "queue/x.go", "// draft-ietf-dance-client-auth", true},
		{"citations", "queue/x.go", "// client-auth section 5", true},
		{"words", "queue/x.go", "// TO" + "DO: later", true},
		{"words", "queue/x_test.go", "var s = \"FIX" + "ME\"", true},
		{"words", "queue/x.go", "// as specs" + " 4.2 has it", true},
		{"words", "queue/x.go", "// a style of its own, by design", false},
		{"package variables", "queue/x.go", `var n int`, true},
		{"package variables", "queue/x.go", `var n = 5`, true},
		{"package variables", "queue/x.go", `var now = time.Now()`, true},
		{"package variables", "queue/x.go", `var f = func() {}`, true},
		{"package variables", "queue/x.go", `var m = make(map[string]int)`, true},
		{"package variables", "queue/x.go", `var ErrX = errors.New("x")`, false},
		{"package variables", "queue/x.go", `var ErrX = &E{}`, false},
		{"package variables", "queue/x.go", `var words = []string{"a"}`, false},
		{"package variables", "queue/x.go", `var x = regexp.MustCompile("x")`, false},
		{"package variables", "queue/x.go", `var _ I = T{}`, false},
		{"package variables", "queue/x.go", `var key = []byte("x")`, false},
		{"package variables", "queue/x.go", `var version = "1"`, true},
		{"package variables", "cmd/dancemta/x.go", `var version = "1"`, false},
		{"package variables", "queue/x_test.go", `var update = flag.Bool("update", false, "")`, false},
		{"context first", "queue/x.go", `func f(a int, ctx context.Context) {}`, true},
		{"context first", "queue/x.go", `func f(ctx context.Context, a int) {}`, false},
		{"no init", "queue/x.go", `func init() {}`, true},
		{"no init", "queue/x.go", `func (t T) init() {}`, false},
		{"no sleep", "queue/x_test.go", `func f() { time.Sleep(1) }`, true},
		{"no sleep", "queue/x_test.go", `func f() { for !done() { time.Sleep(1) } }`, false},
		{"no sleep", "queue/x_test.go", "import \"testing/synctest\"\nfunc f() { time.Sleep(1) }", false},
	} {
		if !strings.HasPrefix(c.text, "package") {
			c.text = "package x\n" + c.text
		}
		f, err := parse(c.path, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := complaintsOf(c.rule, f); (len(got) > 0) != c.bad {
			t.Errorf("%s, %s, %.60q: %q", c.rule, c.path, c.text, got)
		}
	}
}

func complaintsOf(rule string, f *file) []string {
	for _, r := range rules {
		if r.name == rule {
			return r.check(f)
		}
	}
	return []string{"no such rule"}
}

func TestCheckPackage(t *testing.T) {
	const fine = "// Package x is x.\npackage x\n\nvar table = map[string]int{}\n"
	for _, c := range []struct {
		name string
		text []string
		bad  bool
	}{
		{"fine", []string{fine, "package x\n"}, false},
		{"no comment", []string{"package x\n"}, true},
		{"comment on something else", []string{"// x is x.\npackage x\n"}, true},
		{"main", []string{"// Command x does x.\npackage main\n"}, false},
		{"written in the same file", []string{fine + "func f() { table[\"a\"] = 1 }\n"}, true},
		{"written in another file", []string{fine, "package x\nfunc f() { table = nil }\n"}, true},
		{"counted", []string{fine, "package x\nfunc f() { table[\"a\"]++ }\n"}, true},
		{"nobody's name", []string{fine + "var _ I = T{}\nfunc f() { _ = 1 }\n"}, false},
		{"a local of the same name", []string{fine, "package x\nfunc f() { table := 1; table = 2; _ = table }\n"}, false},
		{"a parameter of the same name", []string{fine, "package x\nfunc f(table []int) { table[0] = 2 }\n"}, false},
	} {
		var files []*file
		for _, text := range c.text {
			f, err := parse("queue/x.go", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if got := checkPackage(files); (len(got) > 0) != c.bad {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
