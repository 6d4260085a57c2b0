package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"dancemta/daneclient/rollover"
	"dancemta/daneclient/tlsa"
)

// phaseTexts say what each phase means.
var phaseTexts = map[rollover.Phase]string{
	rollover.Steady:      "one key is in use, no exchange is under way",
	rollover.Prepared:    "the next key is made",
	rollover.Published:   "the next record is to stand beside the current one",
	rollover.Switched:    "the new key is in use, the old record still stands",
	rollover.Withdrawing: "the old record is to go",
}

// doWords are the words of --json for steps.
var doWords = map[rollover.Do]string{
	rollover.Prepare: "prepare", rollover.Publish: "publish", rollover.Switch: "switch",
	rollover.Withdraw: "withdraw", rollover.Finish: "finish",
}

// print writes a report as text, or as one JSON object.
func (f *keyFlags) print(w io.Writer, r rollover.Report, text func(io.Writer, rollover.Report, string)) error {
	out := &errWriter{w: w}
	if f.json {
		if err := json.NewEncoder(out).Encode(keyDocument(r, f.dir)); err != nil {
			return err
		}
		return out.err
	}
	text(out, r, f.dir)
	return out.err
}

// errWriter remembers the first error of a writer.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}

func entry(r rollover.Report, record tlsa.Record) string {
	return tlsa.Entry{Owner: r.State.Owner.String(), TTL: uint32(r.TTL / time.Second), Record: record}.String()
}

func printCreated(w io.Writer, r rollover.Report, dir string) {
	fmt.Fprintf(w, "made the key of %s:\n  %s\n  %s\n", r.State.Owner, rollover.Certificate(dir), rollover.KeyFile(dir))
	fmt.Fprintf(w, "publish this record; with it, whoever has the key is %s:\n  %s\n", r.State.Owner, entry(r, r.State.Current.Record()))
}

// printRolled says what was done, what the administrator has to do, and what
// is waited for.
func printRolled(w io.Writer, r rollover.Report, dir string, byHand bool) {
	s := r.State
	if did(r, rollover.Prepare) {
		fmt.Fprintf(w, "made the next key: %s\n", s.Next.Record().Short())
	}
	if did(r, rollover.Switch) {
		fmt.Fprintf(w, "the next key is in use: let programs read these files again, now:\n  %s\n  %s\n", rollover.Certificate(dir), rollover.KeyFile(dir))
	}
	if did(r, rollover.Finish) {
		fmt.Fprintln(w, "done: the old record is gone, and the old key is removed")
	} else if s.Phase == rollover.Steady {
		fmt.Fprintln(w, "nothing to do: no exchange of keys is under way")
	}
	switch {
	case s.Phase == rollover.Published && !shownAnywhere(r, *s.Next):
		fmt.Fprintf(w, "%s\n  %s\n", either(byHand, "publish this record beside the current one:", "asked the primary for this record beside the current one:"), entry(r, s.Next.Record()))
	case s.Phase == rollover.Withdrawing:
		fmt.Fprintf(w, "%s\n  %s\n", either(byHand, "remove this record, and leave the other:", "asked the primary to remove this record:"), entry(r, s.Old.Record()))
	}
	printWaiting(w, r)
	printWarnings(w, r)
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// shownAnywhere reports whether the record of a key has been published, if
// only one server shows it yet.
func shownAnywhere(r rollover.Report, k rollover.Key) bool {
	return r.Look != nil && len(r.Look.Lacking(k.Record())) < len(r.Look.Servers)
}

func printWaiting(w io.Writer, r rollover.Report) {
	if r.Pending.Why == "" {
		return
	}
	fmt.Fprintf(w, "waiting %s", r.Pending.Why)
	if !r.Pending.Until.IsZero() {
		fmt.Fprintf(w, ": not before %s", r.Pending.Until.Local().Format(time.RFC3339))
	}
	fmt.Fprintln(w)
}

func printWarnings(w io.Writer, r rollover.Report) {
	for _, text := range r.Warnings {
		fmt.Fprintf(w, "warning: %s\n", text)
	}
}

// whenAgain are the hints for somebody who has to wait.
func whenAgain(r rollover.Report) []string {
	if !r.Pending.Until.IsZero() {
		return []string{"run it again after " + r.Pending.Until.Local().Format(time.RFC3339)}
	}
	return []string{`"dancemta key status" shows which server lacks what`}
}

func printStatus(w io.Writer, r rollover.Report, dir string) {
	s := r.State
	fmt.Fprintf(w, "owner    %s\nphase    %s: %s\nin use   %s\n", s.Owner, s.Phase, phaseTexts[s.Phase], rollover.Certificate(dir))
	for _, k := range keysOf(s) {
		fmt.Fprintf(w, "%-8s %s (made %s)\n", k.role, k.record, k.made.Format(time.DateOnly))
		if r.Look == nil {
			continue
		}
		for _, server := range r.Look.Servers {
			fmt.Fprintf(w, "         %s\n", onServer(server, k.record))
		}
	}
	printWaiting(w, r)
	printWarnings(w, r)
}

func onServer(s rollover.ServerSight, record tlsa.Record) string {
	one := rollover.Look{Servers: []rollover.ServerSight{s}}
	if lacking := one.Lacking(record); len(lacking) > 0 {
		return lacking[0]
	}
	return fmt.Sprintf("%s: there, TTL %s", s.Server, s.TTL)
}

// namedKey is a key with its part in the exchange.
type namedKey struct {
	role   string
	record tlsa.Record
	made   time.Time
}

func keysOf(s rollover.State) []namedKey {
	keys := []namedKey{{"current", s.Current.Record(), s.Current.Made}}
	if s.Next != nil {
		keys = append(keys, namedKey{"next", s.Next.Record(), s.Next.Made})
	}
	if s.Old != nil {
		keys = append(keys, namedKey{"old", s.Old.Record(), s.Old.Made})
	}
	return keys
}

// keyJSON is what --json prints.
type keyJSON struct {
	Owner       string          `json:"owner"`
	Phase       rollover.Phase  `json:"phase"`
	Certificate string          `json:"certificate"`
	Key         string          `json:"key"`
	Did         []string        `json:"did,omitempty"`
	WaitingFor  string          `json:"waiting_for,omitempty"`
	NotBefore   time.Time       `json:"not_before,omitzero"`
	Records     []keyJSONRecord `json:"records"`
	Warnings    []string        `json:"warnings,omitempty"`
}

type keyJSONRecord struct {
	Role    string          `json:"role"` // current, next or old
	Record  string          `json:"record"`
	Line    string          `json:"line"` // as a zone file has it
	Made    time.Time       `json:"made"`
	Servers []keyJSONServer `json:"servers,omitempty"`
}

type keyJSONServer struct {
	Server string `json:"server"`
	Shown  bool   `json:"shown"`
	TTL    int64  `json:"ttl,omitempty"` // seconds
	Fault  string `json:"fault,omitempty"`
}

func keyDocument(r rollover.Report, dir string) keyJSON {
	doc := keyJSON{
		Owner: r.State.Owner.String(), Phase: r.State.Phase, Certificate: rollover.Certificate(dir), Key: rollover.KeyFile(dir),
		WaitingFor: r.Pending.Why, NotBefore: r.Pending.Until, Warnings: r.Warnings,
	}
	for _, d := range r.Did {
		doc.Did = append(doc.Did, doWords[d])
	}
	for _, k := range keysOf(r.State) {
		record := keyJSONRecord{Role: k.role, Record: k.record.String(), Line: entry(r, k.record), Made: k.made}
		if r.Look != nil {
			for _, s := range r.Look.Servers {
				one := rollover.Look{Servers: []rollover.ServerSight{s}}
				record.Servers = append(record.Servers, keyJSONServer{s.Server, one.Shown(k.record), int64(s.TTL / time.Second), s.Fault})
			}
		}
		doc.Records = append(doc.Records, record)
	}
	return doc
}
