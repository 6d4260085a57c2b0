package smtpclient

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
)

func parseReply(s string) (Reply, error) {
	code, lines, err := readReply(bufio.NewReader(strings.NewReader(s)))
	if err != nil {
		return Reply{}, err
	}
	return newReply(code, lines), nil
}

func TestReply(t *testing.T) {
	for in, want := range map[string]Reply{
		"250 ok\r\n":                                {250, "", "ok"},
		"250\r\n":                                   {250, "", ""},
		"250 \r\n":                                  {250, "", ""},
		"250-\r\n250 x\r\n":                         {250, "", "x"},
		"250 lf is enough\n":                        {250, "", "lf is enough"},
		"550 5.1.1 no such user\r\n":                {550, "5.1.1", "no such user"},
		"550-5.1.1 no\r\n550 5.1.1 user\r\n":        {550, "5.1.1", "no user"},
		"550 5.1.1\r\n":                             {550, "5.1.1", ""},
		"550 4.1.1 class differs\r\n":               {550, "", "4.1.1 class differs"},
		"550 5.1.1000 long\r\n":                     {550, "", "5.1.1000 long"},
		"550 5.1.1x\r\n":                            {550, "", "5.1.1x"},
		"550 a\x1b[31m\tb\x00\xff\r\n":              {550, "", "a?[31m?b??"},
		"550 x\rfake\r\n":                           {550, "", "x?fake"},
		"250 " + strings.Repeat("x", 2000) + "\r\n": {250, "", strings.Repeat("x", 509) + "..."},
		"299 ok\r\n":                                {299, "", "ok"},
	} {
		if got, err := parseReply(in); got != want || err != nil {
			t.Errorf("%.40q: got %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"\r\n", "25\r\n", "2500 x\r\n", "250_x\r\n", " 250 x\r\n", "199 x\r\n", "600 x\r\n", "2a0 x\r\n", "-50 x\r\n",
		"250-a\r\n251 b\r\n", "250-a\r\nb\r\n", "250-" + strings.Repeat("x", maxReply) + "\r\n250 x\r\n",
		strings.Repeat("250-x\r\n", maxReply/7+1) + "250 x\r\n",
	} {
		if got, err := parseReply(in); !errors.Is(err, errMalformed) {
			t.Errorf("%.40q: got %+v, %v; want a malformed reply", in, got, err)
		}
	}
	for in, want := range map[string]error{"": io.EOF, "250 half": io.ErrUnexpectedEOF, "250-a\r\n": io.EOF} {
		if _, err := parseReply(in); err != want {
			t.Errorf("%q: got %v, want %v", in, err, want)
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add("250-a\r\n250 2.0.0 b\r\n")
	f.Add("550 5.1.1 \x1b\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseReply(in)
		if err != nil {
			return
		}
		if r.Code < 200 || r.Code > 599 {
			t.Errorf("code %d", r.Code)
		}
		if len(r.String()) > maxText+16 || strings.ContainsFunc(r.String(), func(c rune) bool { return c > '~' || !unicode.IsPrint(c) }) {
			t.Errorf("text %q", r)
		}
		if s := r.EnhancedStatus(); int(s[0]-'0') != r.Code/100 && r.Code/100 != 3 {
			t.Errorf("code %d with status %s", r.Code, s)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	f.Add("mx.test\nSIZE 100\n8BITMIME")
	f.Fuzz(func(t *testing.T, in string) {
		for k := range parseExtensions(strings.Split(in, "\n")) {
			if k != strings.ToUpper(k) || strings.ContainsAny(k, " \r\n=") || k == "" {
				t.Errorf("keyword %q", k)
			}
		}
	})
}
