package mtasts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
)

func TestParsePolicy(t *testing.T) {
	const good = "version: STSv1\nmode: enforce\nmx: mx.d.test\nmax_age: 86400\n"
	for _, c := range []struct {
		name, text string
		mode       Mode
		mx         []string
		age        time.Duration
		bad        string
	}{
		{"plain", good, Enforce, []string{"mx.d.test"}, 24 * time.Hour, ""},
		{"CRLF", strings.ReplaceAll(good, "\n", "\r\n"), Enforce, []string{"mx.d.test"}, 24 * time.Hour, ""},
		{"no last line end", strings.TrimSuffix(good, "\n"), Enforce, []string{"mx.d.test"}, 24 * time.Hour, ""},
		{"any order, no space, space behind", "max_age:60 \nmx:*.D.test\t\nmode:testing\nversion:STSv1", Testing, []string{"*.d.test"}, time.Minute, ""},
		{"several mx", good + "mx: *.e.test\n", Enforce, []string{"mx.d.test", "*.e.test"}, 24 * time.Hour, ""},
		{"unknown keys", good + "colour: blue\n", Enforce, []string{"mx.d.test"}, 24 * time.Hour, ""},
		{"the first of each key counts", good + "mode: none\nmax_age: 1\nversion: x\n", Enforce, []string{"mx.d.test"}, 24 * time.Hour, ""},
		{"none needs no mx", "version: STSv1\nmode: none\nmax_age: 0\n", None, nil, 0, ""},
		{"a year at most", "version: STSv1\nmode: none\nmax_age: 9999999999\n", None, nil, 31557600 * time.Second, ""},

		{"no version", strings.Replace(good, "version: STSv1\n", "", 1), 0, nil, 0, "no version"},
		{"another version", strings.Replace(good, "STSv1", "STSv2", 1), 0, nil, 0, "no version"},
		{"no mode", strings.Replace(good, "mode: enforce\n", "", 1), 0, nil, 0, "no mode"},
		{"unknown mode", strings.Replace(good, "enforce", "ENFORCE", 1), 0, nil, 0, "no mode"},
		{"no max_age", strings.Replace(good, "max_age: 86400\n", "", 1), 0, nil, 0, "no max_age"},
		{"max_age below zero", strings.Replace(good, "86400", "-1", 1), 0, nil, 0, "no max_age"},
		{"max_age too long", strings.Replace(good, "86400", "00000086400", 1), 0, nil, 0, "no max_age"},
		{"no mx", strings.Replace(good, "mx: mx.d.test\n", "", 1), 0, nil, 0, "no mx"},
		{"an inner star", strings.Replace(good, "mx.d.test", "mx.*.test", 1), 0, nil, 0, "mx "},
		{"half a label", strings.Replace(good, "mx.d.test", "*mx.d.test", 1), 0, nil, 0, "mx "},
		{"a star alone", strings.Replace(good, "mx.d.test", "*", 1), 0, nil, 0, "mx "},
		{"U-labels", strings.Replace(good, "mx.d.test", "bücher.test", 1), 0, nil, 0, "mx "},
		{"a web page", "<html>\n", 0, nil, 0, "is no field"},
		{"too many mx", good + strings.Repeat("mx: a.test\n", 200), 0, nil, 0, "too many mx"},
		{"nothing", "", 0, nil, 0, "no version"},
	} {
		p, err := parsePolicy(c.text)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: %v, want %s", c.name, err, c.bad)
			}
			continue
		}
		if err != nil || p.Mode != c.mode || !slices.Equal(p.MX, c.mx) || p.MaxAge != c.age {
			t.Errorf("%s: %v %v %v, %v", c.name, p.Mode, p.MX, p.MaxAge, err)
		}
	}
}

func TestMatch(t *testing.T) {
	p := Policy{MX: []string{"mx.d.test", "*.e.test"}}
	for name, want := range map[string]bool{
		"mx.d.test": true, "MX.D.TEST": true, "a.e.test": true,
		"d.test": false, "x.mx.d.test": false, "e.test": false, "a.b.e.test": false, "ae.test": false, "test": false,
	} {
		if got := p.Match(dnsname.MustParse(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if (Policy{}).Match(dnsname.MustParse("mx.d.test")) {
		t.Error("no policy lets a host through")
	}
}

func TestParseRecords(t *testing.T) {
	for _, c := range []struct{ records, id, bad string }{
		{"v=STSv1; id=20160831085700Z;", "20160831085700Z", ""},
		{"v=STSv1;id=1", "1", ""},
		{"v=STSv1 ; id=1 ; x=y", "1", ""},
		{"v=STSv1; x_1.-=!~; id=1; id=2", "1", ""},
		{"v=spf1 -all|v=STSv1; id=1;|v=STSv12; id=3;", "1", ""},

		{"", "", "no TXT record"},
		{"v=spf1 -all", "", "no TXT record"},
		{" v=STSv1; id=1", "", "no TXT record"},
		{"v=stsv1; id=1", "", "no TXT record"},
		{"v=STSv1", "", "no TXT record"},
		{"v=STSv1; id=1|v=STSv1; id=2", "", "more than one"},
		{"v=STSv1;", "", "no id"},
		{"v=STSv1; id=", "", "is no field"},
		{"v=STSv1; id=a-b", "", "is no field"},
		{"v=STSv1; id=" + strings.Repeat("1", 33), "", "is no field"},
		{"v=STSv1; id=1; =x", "", "is no field"},
		{"v=STSv1; id=1; x=y=z", "", "is no field"},
	} {
		id, err := parseRecords(strings.Split(c.records, "|"))
		if id != c.id || c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) || c.bad == "" && err != nil {
			t.Errorf("%s: %q, %v", c.records, id, err)
		}
	}
}

// FuzzParse: whatever a policy says, what is kept of it reads the same again.
func FuzzParse(f *testing.F) {
	f.Add("version: STSv1\nmode: enforce\nmx: *.d.test\nmax_age: 86400\n", "v=STSv1; id=1;")
	f.Add("mode:none\r\nversion:STSv1\r\nmax_age:0", "v=STSv1; a=b; id=x")
	f.Fuzz(func(t *testing.T, text, record string) {
		if id, err := parseRecords([]string{record}); (id == "") == (err == nil) || len(id) > 32 {
			t.Fatalf("%q: %q, %v", record, id, err)
		}
		p, err := parsePolicy(text)
		if err != nil {
			return
		}
		p.Domain = dnsname.MustParse("d.test")
		again, err := parsePolicy(strings.Join(p.Lines(), "\n"))
		if err != nil || again.Mode != p.Mode || again.MaxAge != p.MaxAge || !slices.Equal(again.MX, p.MX) {
			t.Fatalf("%q became %+v, %v", text, again, err)
		}
		if p.MaxAge < 0 || p.MaxAge > maxAge || p.Mode != None && len(p.MX) == 0 {
			t.Fatalf("%q: %+v", text, p)
		}
	})
}
