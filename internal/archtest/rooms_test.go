package archtest

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "dancemta"

// rooms names every package and what it may import of ours. Five floors: cmd;
// the doors smtpd and config; queue, saslext and daneclient; and the ground,
// internal, where nothing knows what stands above it.
var rooms = map[string]string{
	"cmd/dancemta": "*", // wires the parts, and is alone in reading config

	"config":          "internal/dnsname internal/mailaddr internal/pattern", // words and shapes, none of the parts
	"smtpd":           "smtpd/wire smtpd/milter smtpd/policy smtpd/callout smtpd/proxy queue saslext saslext/door daneclient internal/crowd internal/dnsname internal/limit internal/mailaddr internal/maillog internal/msgauth",
	"smtpd/wire":      "internal/crowd internal/foreign internal/limit",              // sockets, lines and TLS: no mail
	"smtpd/proxy":     "daneclient internal/dnsname internal/pattern saslext",        // headers before SMTP: no sessions, no rules
	"smtpd/milter":    "internal/foreign internal/mailaddr",                          // asks and edits: no sessions, no queue
	"smtpd/callout":   "internal/limit internal/recall",                              // answers and how long they hold: no SMTP, no mail
	"smtpd/quotamail": "internal/mailaddr internal/maillog",                          // gathers and writes: no sessions, no queue
	"smtpd/policy":    "saslext internal/dnsname internal/mailaddr internal/pattern", // pure verdicts: no sockets

	"ldapbridge":           "ldapbridge/mapping ldapbridge/message ldapbridge/upstream saslext saslext/door daneclient internal/crowd internal/dnsname internal/limit internal/maillog", // not mail
	"ldapbridge/mapping":   "saslext internal/pattern",                                                                                                                                  // pure: no sockets, no look-ups of its own
	"ldapbridge/directory": "saslext internal/limit internal/mailaddr internal/maillog internal/recall",                                                                                 // answers about users: not who asks, and why
	"ldapbridge/upstream":  "ldapbridge/message internal/maillog",                                                                                                                       // not who the client is, nor what he may do
	"ldapbridge/message":   "",                                                                                                                                                          // octets alone: no sockets, no rules

	"saslext":             "saslext/usercert daneclient daneclient/tlsa internal/dnsname internal/pattern",
	"saslext/door":        "saslext daneclient daneclient/clientid internal/dnsname", // TLS and verdicts: no mail, no LDAP
	"saslext/usercert":    "internal/certname internal/dnsname internal/pemfile",
	"daneclient":          "daneclient/clientid daneclient/dnssec daneclient/tlsa internal/certname internal/dnsname internal/limit",
	"daneclient/tlsa":     "internal/foreign", // pure: no DNS queries, no names
	"daneclient/dnssec":   "internal/dnsname",
	"daneclient/rollover": "daneclient daneclient/tlsa internal/dnsname internal/servercert", // keys and waits: no DNS queries

	"daneclient/clientid":         "internal/dnsname", // TLS alone: no TLSA, no DNS
	"daneclient/clientid/overlay": "",                 // a tool of the build

	"queue":                    "queue/dsn internal/dnsname internal/mailaddr internal/maillog",                                                           // not how mail leaves
	"queue/boltstore":          "queue queue/boltstore/pages internal/mailaddr",                                                                           // not when, not how
	"queue/storetest":          "queue internal/mailaddr",                                                                                                 // no engine
	"queue/archive":            "queue internal/foreign internal/mailaddr",                                                                                // a stream: no store
	"queue/filter":             "queue internal/mailaddr",                                                                                                 // chooses, and changes nothing
	"queue/boltstore/pages":    "",                                                                                                                        // octets of a file: no mail
	"queue/dsn":                "internal/foreign internal/mailaddr",                                                                                      // pure
	"queue/tlsrpt":             "queue/webclient daneclient/dnssec internal/dnsname internal/foreign internal/mailaddr internal/maillog internal/newfile", // neither queue nor deliveries
	"queue/mtasts":             "queue/webclient daneclient/dnssec internal/dnsname internal/maillog internal/newfile",                                    // not SMTP
	"queue/webclient":          "daneclient/dnssec internal/dnsname",                                                                                      // hosts that strangers name: no mail
	"queue/deliver":            "queue queue/deliver/smtpclient queue/mtasts queue/tlsrpt daneclient daneclient/dnssec daneclient/tlsa internal/dnsname internal/mailaddr internal/maillog",
	"queue/deliver/probe":      "queue/deliver/smtpclient queue/mtasts daneclient daneclient/clientid daneclient/dnssec internal/dnsname internal/maillog", // looks, and sends nothing
	"queue/deliver/smtpclient": "internal/dnsname internal/foreign internal/mailaddr",
	"queue/deliver/submit":     "queue/deliver/smtpclient daneclient daneclient/clientid daneclient/dnssec internal/dnsname internal/mailaddr", // no queue

	"internal/admin":      "internal/maillog",
	"internal/archtest":   "",
	"internal/certname":   "",
	"internal/compose":    "internal/dnsname internal/mailaddr",
	"internal/crowd":      "internal/limit", // counts connections: no protocol
	"internal/dialog":     "",
	"internal/dnsname":    "",
	"internal/explain":    "daneclient daneclient/dnssec ldapbridge/mapping queue queue/deliver saslext smtpd/policy internal/dnsname internal/foreign internal/mailaddr", // asks those who decide, and knows nothing of how
	"internal/foreign":    "",
	"internal/lab":        "", // code of its own, so that it can disagree with what it tests
	"internal/limit":      "",
	"internal/mailaddr":   "internal/dnsname",
	"internal/maillog":    "internal/foreign",
	"internal/metrics":    "",
	"internal/msgauth":    "internal/dnsname internal/mailaddr",
	"internal/mutants":    "",
	"internal/newfile":    "",
	"internal/pattern":    "internal/dnsname",
	"internal/pemfile":    "",
	"internal/recall":     "",
	"internal/servercert": "",
}

// libraries names the rooms that may use a library, so that changing it concerns
// them alone. In tests only the first is kept from spreading.
var libraries = map[string]string{
	"github.com/miekg/dns":           "daneclient/dnssec internal/lab",
	"github.com/emersion/go-msgauth": "internal/msgauth",
	"blitiri.com.ar/go/spf":          "internal/msgauth",
	"go.etcd.io/bbolt":               "queue/boltstore",
	"github.com/emersion/go-smtp":    "smtpd smtpd/wire",
	"github.com/emersion/go-sasl":    "smtpd smtpd/wire saslext",
	"github.com/pires/go-proxyproto": "smtpd/proxy",
	"github.com/emersion/go-milter":  "smtpd/milter",
	"github.com/go-ldap/ldap":        "ldapbridge/directory ldapbridge/mapping internal/lab",
	"github.com/go-asn1-ber":         "ldapbridge/message internal/lab",
	"github.com/pelletier/go-toml":   "config",
	"github.com/spf13/cobra":         "cmd/dancemta",
	"github.com/prometheus":          "internal/metrics",
	"testing":                        "internal/dialog queue/storetest",
}

// libraryOfTests is the one whose types must not come back through tests.
const libraryOfTests = "github.com/miekg/dns"

// checkImports demands that every arrow stands in the tables.
func checkImports(f *file) (complaints []string) {
	allowed, known := rooms[f.room]
	if !known {
		return []string{"room " + f.room + " is not in the table of archtest"}
	}
	for _, spec := range f.ast.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		if ours, ok := strings.CutPrefix(path, module+"/"); ok {
			if !f.test && allowed != "*" && !has(allowed, ours) {
				complaints = append(complaints, f.at(spec, "%s may not import %s", f.room, ours))
			}
			continue
		}
		for library, users := range libraries {
			within := path == library || strings.HasPrefix(path, library+"/")
			if within && !has(users, f.room) && (!f.test || library == libraryOfTests) {
				complaints = append(complaints, f.at(spec, "%s may not use %s", f.room, library))
			}
		}
	}
	return complaints
}

func has(words, word string) bool { return slices.Contains(strings.Fields(words), word) }

// TestTableIsTrue: no room of the table has gone.
func TestTableIsTrue(t *testing.T) {
	for room := range rooms {
		if files, err := filepath.Glob(filepath.Join(root, room, "*.go")); err != nil || len(files) == 0 {
			t.Errorf("room %s is in the table and not in the tree", room)
		}
	}
}

// gallery is the one room of internal that stands above those it looks down on:
// it is nobody's ground, only cmd may go there.
const gallery = "internal/explain"

// TestGroundIsGround: the table itself keeps internal below everything.
func TestGroundIsGround(t *testing.T) {
	for room, allowed := range rooms {
		if has(allowed, gallery) {
			t.Errorf("%s may import %s", room, gallery)
		}
		if !strings.HasPrefix(room, "internal/") || room == gallery {
			continue
		}
		for _, to := range strings.Fields(allowed) {
			if !strings.HasPrefix(to, "internal/") {
				t.Errorf("%s may import %s", room, to)
			}
		}
	}
}

// TestNoCircles: the arrows of the table never lead back.
func TestNoCircles(t *testing.T) {
	var visit func(room string, way []string)
	visit = func(room string, way []string) {
		if slices.Contains(way, room) {
			t.Fatalf("a circle: %v", append(way, room))
		}
		for _, to := range strings.Fields(rooms[room]) {
			visit(to, append(way, room))
		}
	}
	for room := range rooms {
		if rooms[room] != "*" {
			visit(room, nil)
		}
	}
}

// skipped are folders without code of ours.
var skipped = []string{".git", ".ci", "build", "testdata", "docs"}

func goFiles(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
