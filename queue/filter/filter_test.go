package filter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// message has four recipients: new, deferred, held, delivered.
func message() *queue.Summary {
	r := func(address, destination, state, reply string, attempts int) queue.RecipientSummary {
		return queue.RecipientSummary{Address: mailaddr.MustParse(address), Destination: destination, State: state,
			LastReply: reply, Attempts: attempts, LastTLS: "may: none"}
	}
	held := func(r queue.RecipientSummary) queue.RecipientSummary {
		r.HoldReason = "held by an operator: looks odd"
		return r
	}
	return &queue.Summary{
		ID: "01KJN000000000000001", Arrived: now.Add(-3 * time.Hour), Size: 2000, Sender: mailaddr.MustParse("Rick@partner.test"),
		Identity: "rick@partner.test", Session: "s1",
		Recipients: []queue.RecipientSummary{
			r("a@one.test", "one.test", queue.StateQueued, "", 0),
			r("b@sub.one.test", "sub.one.test", queue.StateDeferred, "451 4.7.5 certificate, of a stranger", 3),
			held(r("c@two.test", "two.test", queue.StateHeld, "451 4.7.1 later", 1)),
			r("d@[192.0.2.1]", "[192.0.2.1]", queue.StateDelivered, "250 ok", 1),
		},
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct{ filter, want string }{
		{"all", "abcd"},
		{"01kjn000000000000001", "abcd"},
		{"id=01KJN000000000000002", ""},
		{"id=01KJN000000000000002,01KJN000000000000001", "abcd"},
		{"id!=01KJN000000000000001", ""},
		{"sender=rick@PARTNER.test", "abcd"},
		{"sender=rick@other.test", ""},
		{"sender=@partner.test", "abcd"},
		{"sender=@*.test", "abcd"},
		{"sender=@*.partner.test", ""},
		{"sender!=@partner.test", ""},
		{`sender=""`, ""},
		{`sender!=<>`, "abcd"},
		{"sender~PART", "abcd"},
		{"recipient=a@one.test", "a"},
		{"recipient=a@one.test,c@two.test", "ac"},
		{"recipient=@[192.0.2.1]", "d"},
		{"recipient!~one", "cd"},
		{"domain=one.test", "a"},
		{"domain=*.one.test", "b"},
		{"domain=one.test,*.one.test", "ab"},
		{"domain!=*.test", "d"},
		{"identity=rick@partner.test", "abcd"},
		{`identity=""`, ""},
		{"session=s1", "abcd"},
		{"state=deferred", "b"},
		{"state=deferred,held", "bc"},
		{"state!=delivered", "abc"},
		{`reply~"4.7.5"`, "b"},
		{`reply~4.7.`, "bc"},
		{`reply~"certificate, of a"`, "b"},
		{`reply=""`, "a"},
		{`reply!~"4.7"`, "ad"},
		{`hold~odd`, "c"},
		{`hold=""`, "abd"},
		{"tls~none", "abcd"},
		{"age>2h", "abcd"}, {"age>3h", ""}, {"age>=3h", "abcd"}, {"age<1d", "abcd"}, {"age<=10800s", "abcd"}, {"age<180m", ""},
		{"size>1k", "abcd"}, {"size<2k", "abcd"}, {"size>=2000", "abcd"}, {"size>1M", ""},
		{"attempts=0", "a"}, {"attempts>1", "b"}, {"attempts!=1", "ab"}, {"attempts<=1", "acd"},
		{`sender=@partner.test age>2h state=deferred reply~"4.7.5"`, "b"},
		{"state=deferred domain=two.test", ""},
		{"  state=deferred \t domain=sub.one.test ", "b"},
		{"STATE=deferred", "b"},
	} {
		f, err := Parse(c.filter)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		got := ""
		for _, r := range f.Match(message(), now) {
			got += r.Address.Local()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.filter, got, c.want)
		}
		if again, err := Parse(f.String()); err != nil || again.String() != f.String() {
			t.Errorf("%s: written as %s, which is read as %v, %v", c.filter, f, again, err)
		}
	}
}

// TestNullSender: bounces are found, and nothing else.
func TestNullSender(t *testing.T) {
	f, err := Parse(`sender=""`)
	if err != nil {
		t.Fatal(err)
	}
	m := message()
	m.Sender = mailaddr.Address{}
	if len(f.Match(m, now)) != 4 || len(f.Match(message(), now)) != 0 {
		t.Error("the null sender is not told from others")
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		filter string
		at     int
		what   string
	}{
		{"", 0, "it is empty"},
		{"   ", 0, "it is empty"},
		{"stat=deferred", 0, `unknown word "stat"`},
		{"age>2h stat=deferred", 7, `unknown word "stat"`},
		{"state=sleeping", 6, "unknown state"},
		{"state=deferred,sleeping", 15, "unknown state"},
		{`state="deferred",sleeping`, 17, "unknown state"},
		{"state>deferred", 5, "state takes = !="},
		{"age=2h", 3, "age takes"},
		{"age>2", 4, "no time"},
		{"age>", 4, "a value was expected"},
		{"age>2h,3h", 7, "one value"},
		{"age>99999999999d", 4, "no time"},
		{"size>1T", 5, "no size"},
		{"attempts>x", 9, "no number"},
		{"sender=rick", 7, "not a mail address"},
		{"sender=@a..b", 7, "not a destination"},
		{"domain=a_b", 7, `not a destination: "a_b": character`}, // the name stands there once
		{`reply~"open`, 6, "quotes do not end"},
		{`reply~"open\`, 6, "quotes do not end"},
		{`reply~"a"b`, 9, "a space was expected"},
		{`reply~a"b`, 7, "a space was expected"},
		{"reply~", 6, "a value was expected"},
		{"state", 5, "after state comes one of = !="},
		{"everything", 0, "neither a queue id nor a condition"},
		{"=x", 0, `unknown word ""`},
		{"id=x", 3, "not a queue id"},
		{"all; rm", 3, "a word was expected"},
		{"\xff", 0, "not UTF-8"},
		{strings.Repeat("a", 5000), 0, "longer than"},
	} {
		f, err := Parse(c.filter)
		var e *Error
		if !errors.As(err, &e) || e.At != c.at || !strings.Contains(e.What, c.what) {
			t.Errorf("%.40q: got %v (%v), want %q at %d", c.filter, err, f, c.what, c.at)
		}
	}
}

// TestErrorPoints: the mark stands below the mistake.
func TestErrorPoints(t *testing.T) {
	_, err := Parse("reply~ü state=no")
	want := "filter: unknown state \"no\"; there are " + strings.Join(queue.States(), ", ") +
		"\n  reply~ü state=no\n                ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"all", `sender=@example.org age>2h state=deferred reply~"4.7.5"`, `reply!~"a\"b",c`, "id=01KJN000000000000001 size<=5M", "domain=*.x,[192.0.2.1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		filter, err := Parse(s)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.At < 0 || e.At > len(e.Text) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		m := message()
		first := len(filter.Match(m, now))
		again, err := Parse(filter.String())
		if err != nil {
			t.Fatalf("%q is written as %q: %v", s, filter, err)
		}
		if again.String() != filter.String() || len(again.Match(m, now)) != first {
			t.Fatalf("%q is written as %q, which means another thing", s, filter)
		}
	})
}
