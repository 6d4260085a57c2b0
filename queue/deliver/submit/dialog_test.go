package submit

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dialog"
	"dancemta/internal/dnsname"
)

// published is a DNS in which every host is 127.0.0.1 and has one certificate.
type published struct{ leaf []byte }

func (p published) Lookup(_ context.Context, _ dnsname.Name, t dnssec.Type) dnssec.Answer {
	answer := dnssec.Answer{State: dnssec.Secure}
	switch t {
	case dnssec.TypeA:
		answer.Addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	case dnssec.TypeMX:
		answer.MX = []dnssec.MX{{Preference: 10, Host: dnsname.MustParse("one.test")}, {Preference: 20, Host: dnsname.MustParse("two.test")}}
	case dnssec.TypeTLSA:
		answer.TLSA = []dnssec.TLSA{{Usage: 3, Data: p.leaf}}
	}
	return answer
}

// scripted is a relay that is proved, and plays written dialogs, one for each
// connection.
func scripted(t *testing.T, scripts ...string) Options {
	t.Helper()
	own := dialog.Certificate(t)
	played := 0
	config := &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert}
	ends := make(chan error, len(scripts))
	t.Cleanup(func() {
		if played != len(scripts) {
			t.Errorf("%d of %d scripts were played", played, len(scripts))
		}
		for range played {
			if err := <-ends; err != nil {
				t.Error(err)
			}
		}
	})
	return Options{
		Resolver: published{own.Certificate[0]}, Hostname: dnsname.MustParse("me.test"), Relay: dnsname.MustParse("mx.test"), Port: 25,
		Dial: func(context.Context, string, string) (net.Conn, error) {
			if played == len(scripts) {
				return nil, fmt.Errorf("nobody is there")
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer l.Close()
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return nil, err
			}
			server, err := l.Accept()
			if err != nil {
				client.Close()
				return nil, err
			}
			script := scripts[played]
			played++
			go func() { ends <- dialog.Play(server, config, script) }()
			return client, nil
		},
	}
}

const (
	begin = `
		S: 220 mx
		C: EHLO me.test
		S: 250-mx
		S: 250-AUTH EXTERNAL
		S: 250 STARTTLS
		C: STARTTLS
		S: 220 go
		TLS
		C: EHLO me.test
	`
	envelope = `
		C: MAIL FROM:<a@example.test>
		S: 250 ok
		C: RCPT TO:<b@b.test>
	`
	takes = envelope + `
		S: 250 ok
		C: DATA
		S: 354 go
		C: x
		C: .
		S: 250 2.6.0 taken
	` + leaves
	leaves = `
		C: QUIT
		S: 221 bye
	`
)

// outcome writes a result for tables.
func outcome(all []Result) string {
	var words []string
	for _, r := range all {
		switch {
		case r.Err == nil:
			words = append(words, "taken")
		case Permanent(r.Err):
			words = append(words, "refused")
		default:
			words = append(words, "later")
		}
	}
	return strings.Join(words, " ")
}

func TestLogin(t *testing.T) {
	plain, offers := begin+"S: 250 mx", begin+"S: 250-mx\nS: 250 AUTH EXTERNAL"
	for _, c := range []struct {
		name   string
		login  Login
		script string
		want   string
	}{
		{"never, though offered", LoginNever, offers + takes, "taken"},
		{"where offered, and it is", LoginOffered, offers + "\nC: AUTH EXTERNAL =\nS: 235 2.7.0 you" + takes, "taken"},
		{"where offered, and it was in clear only", LoginOffered, plain + takes, "taken"},
		{"always, and it is not offered", LoginAlways, plain + leaves, "later"},
		{"always, and it is", LoginAlways, offers + "\nC: AUTH EXTERNAL =\nS: 235 2.7.0 you" + takes, "taken"},
		{"refused", LoginOffered, offers + "\nC: AUTH EXTERNAL =\nS: 535 5.7.8 no" + leaves, "refused"},
		{"not now", LoginOffered, offers + "\nC: AUTH EXTERNAL =\nS: 454 4.7.0 DNS" + leaves, "later"},
	} {
		o := scripted(t, c.script)
		o.Login = c.login
		all, err := Send(t.Context(), o, mail("x\r\n", "b@b.test"))
		if err != nil || outcome(all) != c.want {
			t.Errorf("%s: %+v, %v; want %s", c.name, all, err, c.want)
		}
	}
}

// TLS or nothing: of the message not a word is said in clear.
func TestNeverInClear(t *testing.T) {
	for name, script := range map[string]string{
		"no offer":   "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 AUTH EXTERNAL" + leaves,
		"taken back": "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 no" + leaves,
		"injected":   "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS! \"220 go\\r\\n250 ok\\r\\n\"",
	} {
		if all, err := Send(t.Context(), scripted(t, script), mail("x\r\n", "b@b.test")); err != nil || outcome(all) != "later" {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
}

// Each recipient has its own end.
func TestRecipients(t *testing.T) {
	three := []string{"b@b.test", "c@b.test", "d@b.test"}
	toFirst := begin + `
		S: 250 mx
		C: MAIL FROM:<a@example.test>
		S: 250 ok
		C: RCPT TO:<b@b.test>
		S: 250 ok
		C: RCPT TO:<c@b.test>
		S: 550 5.7.1 no
		C: RCPT TO:<d@b.test>
		S: 450 4.2.1 later
		C: DATA
		S: 354 go
		C: x
		C: .
	`
	toSecond := begin + "S: 250 mx" + strings.ReplaceAll(takes, "b@b.test", "d@b.test")
	for _, c := range []struct {
		name    string
		to      []string
		scripts []string
		want    string
	}{
		{"one taken, one refused, one later", three, []string{toFirst + "S: 250 2.6.0 taken" + leaves}, "taken refused later"},
		{"one taken, one refused, all else refused", three, []string{toFirst + "S: 554 5.6.0 no" + leaves}, "refused refused later"},
		{"the host leaves, the second takes it", []string{"d@b.test"}, []string{begin + "S: 421 4.3.2 bye", toSecond}, "taken"},
		{"the first is full, the second takes it", []string{"d@b.test"}, []string{begin + "S: 250 mx\nC: MAIL FROM:<a@example.test>\nS: 452 4.3.1 full" + leaves, toSecond}, "taken"},
		{"no word after the dot: never a second time", []string{"d@b.test"}, []string{toSecond[:strings.Index(toSecond, "S: 250 2.6.0")] + "DROP"}, "later"},
		{"nobody there", three, nil, "later later later"},
	} {
		o := scripted(t, c.scripts...)
		o.Relay, o.Domain = dnsname.Name{}, dnsname.MustParse("d.test")
		all, err := Send(t.Context(), o, mail("x\r\n", c.to...))
		if err != nil || outcome(all) != c.want {
			t.Errorf("%s: %+v, %v; want %s", c.name, all, err, c.want)
		}
	}
}

// More recipients than one transaction may have.
func TestManyRecipients(t *testing.T) {
	const most = 100 // RFC 5321 4.5.3.1.8
	to := make([]string, most+1)
	script := begin + "S: 250 mx\nC: MAIL FROM:<a@example.test>\nS: 250 ok\n"
	for i := range to {
		to[i] = fmt.Sprintf("b%d@b.test", i)
		if i == most {
			script += "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok\nC: MAIL FROM:<a@example.test>\nS: 250 ok\n"
		}
		script += "C: RCPT TO:<" + to[i] + ">\nS: 250 ok\n"
	}
	o := scripted(t, script+"C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok"+leaves)
	all, err := Send(t.Context(), o, mail("x\r\n", to...))
	if err != nil || strings.Count(outcome(all), "taken") != len(to) {
		t.Errorf("%v, %v", outcome(all), err)
	}
}

func TestImplicitTLS(t *testing.T) {
	o := scripted(t, "TLS\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 AUTH EXTERNAL\nC: AUTH EXTERNAL =\nS: 235 2.7.0 you"+takes)
	o.Implicit, o.Login = true, LoginOffered
	if all, err := Send(t.Context(), o, mail("x\r\n", "b@b.test")); err != nil || outcome(all) != "taken" {
		t.Errorf("%+v, %v", all, err)
	}
}
