package filter

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

const keyID = "id"

// key is a word that conditions begin with.
type key struct {
	operators string
	make      func(term) (test, error)
	help      string
}

// keys are all of them. help is repeated in docs/queue.md.
var keys = map[string]key{
	keyID:       {"= !=", makeID, "the queue id"},
	"sender":    {"= != ~ !~", text(senderOf, matchAddress, checkAddress), `rick@example.org, @example.org, @*.example.org; "" is the null sender`},
	"recipient": {"= != ~ !~", text(recipientOf, matchAddress, checkAddress), "as sender"},
	"domain":    {"= !=", makeDomain, "of the recipient: example.org, *.example.org"},
	"identity":  {"= != ~ !~", text(identityOf, equal, anything), `who logged in; "": nobody did`},
	"session":   {"= !=", text(sessionOf, equal, anything), "the session id of the log"},
	"state":     {"= !=", makeState, strings.Join(queue.States(), ", ")},
	"reply":     {"= != ~ !~", text(replyOf, equal, anything), "the last reply"},
	"hold":      {"= != ~ !~", text(holdOf, equal, anything), "why it is held"},
	"tls":       {"= != ~ !~", text(tlsOf, equal, anything), "the TLS of the last attempt"},
	"age":       {"> < >= <=", number(ageOf, parseAge), "since its arrival: 90s, 30m, 2h, 3d"},
	"size":      {"> < >= <=", number(sizeOf, parseSize), "octets: 500, 10k, 5M"},
	"attempts":  {"= != > < >= <=", number(attemptsOf, parseCount), "so far"},
}

// names lists the words.
func names() []string { return slices.Sorted(maps.Keys(keys)) }

// Help lists the words with what they mean, a line for each.
func Help() string {
	var b strings.Builder
	for _, n := range names() {
		fmt.Fprintf(&b, "  %-10s %-16s %s\n", n, keys[n].operators, keys[n].help)
	}
	return b.String()
}

// badValue says which of a list of values is wrong.
type badValue struct {
	index int
	what  string
}

func (e *badValue) Error() string { return e.what }

func always(*queue.Summary, *queue.RecipientSummary, time.Time) bool { return true }

type textOf func(*queue.Summary, *queue.RecipientSummary) string

func senderOf(s *queue.Summary, _ *queue.RecipientSummary) string    { return s.Sender.Key() }
func recipientOf(_ *queue.Summary, r *queue.RecipientSummary) string { return r.Address.Key() }
func identityOf(s *queue.Summary, _ *queue.RecipientSummary) string  { return s.Identity }
func sessionOf(s *queue.Summary, _ *queue.RecipientSummary) string   { return s.Session }
func holdOf(_ *queue.Summary, r *queue.RecipientSummary) string      { return r.HoldReason }
func replyOf(_ *queue.Summary, r *queue.RecipientSummary) string     { return r.LastReply }
func tlsOf(_ *queue.Summary, r *queue.RecipientSummary) string       { return r.LastTLS }
func ageOf(s *queue.Summary, _ *queue.RecipientSummary, now time.Time) int64 {
	return int64(now.Sub(s.Arrived))
}
func sizeOf(s *queue.Summary, _ *queue.RecipientSummary, _ time.Time) int64 { return s.Size }
func attemptsOf(_ *queue.Summary, r *queue.RecipientSummary, _ time.Time) int64 {
	return int64(r.Attempts)
}

func equal(have, want string) bool       { return strings.EqualFold(have, want) }
func anything(v string) (string, string) { return v, "" }

// text makes terms about a text: = and != by match, ~ and !~ by what it contains.
// check returns the normal form of a value, or what is wrong with it.
func text(of textOf, match func(have, want string) bool, check func(string) (normal, wrong string)) func(term) (test, error) {
	return func(t term) (test, error) {
		values := slices.Clone(t.values)
		fits := match
		if strings.HasSuffix(t.op, "~") {
			fits = func(have, want string) bool { return strings.Contains(strings.ToLower(have), strings.ToLower(want)) }
		} else {
			for i, v := range values {
				normal, wrong := check(v)
				if wrong != "" {
					return nil, &badValue{i, wrong}
				}
				values[i] = normal
			}
		}
		return negated(t.op, func(s *queue.Summary, r *queue.RecipientSummary, _ time.Time) bool {
			have := of(s, r)
			return slices.ContainsFunc(values, func(want string) bool { return fits(have, want) })
		}), nil
	}
}

func negated(op string, yes test) test {
	if !strings.HasPrefix(op, "!") {
		return yes
	}
	return func(s *queue.Summary, r *queue.RecipientSummary, now time.Time) bool { return !yes(s, r, now) }
}

// checkAddress reads an address, or a pattern of domains behind @.
func checkAddress(v string) (normal, wrong string) {
	if v == "" || v == "<>" {
		return "", ""
	}
	if domain, ok := strings.CutPrefix(v, "@"); ok {
		pattern, err := queue.ParseDestinations(domain)
		if err != nil {
			return "", err.Error()
		}
		return "@" + pattern, ""
	}
	a, err := mailaddr.Parse(v)
	if err != nil {
		return "", fmt.Sprintf("%v; @example.org means a whole domain, ~ a part", err)
	}
	return a.Key(), ""
}

// matchAddress compares the key of an address with what checkAddress gave.
func matchAddress(have, want string) bool {
	pattern, domains := strings.CutPrefix(want, "@")
	if !domains {
		return have == want
	}
	at := strings.LastIndexByte(have, '@')
	return at >= 0 && queue.MatchDestination(pattern, have[at+1:])
}

func makeID(t term) (test, error) {
	for i, v := range t.values {
		id, err := queue.ParseID(v)
		if err != nil {
			return nil, &badValue{i, err.Error()}
		}
		t.values[i] = string(id)
	}
	return negated(t.op, func(s *queue.Summary, _ *queue.RecipientSummary, _ time.Time) bool {
		return slices.Contains(t.values, string(s.ID))
	}), nil
}

func makeDomain(t term) (test, error) {
	values := make([]string, len(t.values))
	for i, v := range t.values {
		var err error
		if values[i], err = queue.ParseDestinations(v); err != nil {
			return nil, &badValue{i, err.Error()}
		}
	}
	return negated(t.op, func(_ *queue.Summary, r *queue.RecipientSummary, _ time.Time) bool {
		return slices.ContainsFunc(values, func(p string) bool { return queue.MatchDestination(p, r.Destination) })
	}), nil
}

func makeState(t term) (test, error) {
	for i, v := range t.values {
		if !slices.Contains(queue.States(), v) {
			return nil, &badValue{i, fmt.Sprintf("unknown state %q; there are %s", v, strings.Join(queue.States(), ", "))}
		}
	}
	return negated(t.op, func(_ *queue.Summary, r *queue.RecipientSummary, _ time.Time) bool {
		return slices.Contains(t.values, r.State)
	}), nil
}

type numberOf func(*queue.Summary, *queue.RecipientSummary, time.Time) int64

// number makes terms about a number, each with one value.
func number(of numberOf, parse func(string) (int64, error)) func(term) (test, error) {
	return func(t term) (test, error) {
		if len(t.values) != 1 {
			return nil, &badValue{1, "one value is enough"}
		}
		want, err := parse(t.values[0])
		if err != nil {
			return nil, &badValue{0, err.Error()}
		}
		return func(s *queue.Summary, r *queue.RecipientSummary, now time.Time) bool {
			have := of(s, r, now)
			switch t.op {
			case ">":
				return have > want
			case "<":
				return have < want
			case ">=":
				return have >= want
			case "<=":
				return have <= want
			case "!=":
				return have != want
			}
			return have == want
		}, nil
	}
}

// units of times and sizes, by their letter.
var (
	timeUnits = map[byte]int64{'s': int64(time.Second), 'm': int64(time.Minute), 'h': int64(time.Hour), 'd': int64(24 * time.Hour)}
	sizeUnits = map[byte]int64{'k': 1 << 10, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
)

// What no queue reaches: products with the largest unit stay within int64.
const maxNumber = 100_000

func parseAge(v string) (int64, error) {
	n, unit := v, int64(0)
	if v != "" {
		n, unit = v[:len(v)-1], timeUnits[v[len(v)-1]]
	}
	count, err := strconv.ParseUint(n, 10, 32)
	if err != nil || unit == 0 || count > maxNumber {
		return 0, fmt.Errorf("%.20q is no time; write 90s, 30m, 2h or 3d", v)
	}
	return int64(count) * unit, nil
}

func parseSize(v string) (int64, error) {
	n, unit := v, int64(1)
	if v != "" && sizeUnits[v[len(v)-1]] != 0 {
		n, unit = v[:len(v)-1], sizeUnits[v[len(v)-1]]
	}
	count, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%.20q is no size; write 500, 10k or 5M", v)
	}
	return int64(count) * unit, nil
}

func parseCount(v string) (int64, error) {
	count, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%.20q is no number", v)
	}
	return int64(count), nil
}
