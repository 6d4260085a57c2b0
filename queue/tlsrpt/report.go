package tlsrpt

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dancemta/internal/dnsname"
)

// report is the JSON of RFC 8460 4.4.
type report struct {
	Organization string         `json:"organization-name"`
	DateRange    dateRange      `json:"date-range"`
	Contact      string         `json:"contact-info"`
	ID           string         `json:"report-id"`
	Policies     []policyReport `json:"policies"`
}

type dateRange struct {
	Start string `json:"start-datetime"`
	End   string `json:"end-datetime"`
}

type policyReport struct {
	Policy   policyText       `json:"policy"`
	Summary  summary          `json:"summary"`
	Failures []failureDetails `json:"failure-details,omitempty"`
}

type policyText struct {
	Type    PolicyType   `json:"policy-type"`
	Strings []string     `json:"policy-string,omitempty"`
	Domain  dnsname.Name `json:"policy-domain"`
	MXHosts []string     `json:"mx-host,omitempty"`
}

type summary struct {
	Successes int64 `json:"total-successful-session-count"`
	Failures  int64 `json:"total-failure-session-count"`
}

type failureDetails struct {
	Result      ResultType   `json:"result-type"`
	SendingIP   netip.Addr   `json:"sending-mta-ip,omitzero"`
	MX          dnsname.Name `json:"receiving-mx-hostname,omitzero"`
	Helo        string       `json:"receiving-mx-helo,omitempty"`
	ReceivingIP netip.Addr   `json:"receiving-ip,omitzero"`
	Count       int64        `json:"failed-session-count"`
	Info        string       `json:"additional-information,omitempty"`
	Reason      string       `json:"failure-reason-code,omitempty"`
}

// about is what a report is of.
type about struct {
	date   string
	domain dnsname.Name
}

// span is the day from its first to its last second.
func (a about) span() (start, end time.Time) {
	start, err := time.Parse(time.DateOnly, a.date)
	if err != nil {
		return start, start // dates are made by dateOf or checked when they are read
	}
	return start, start.Add(24*time.Hour - time.Second)
}

// id is the same whenever the report is made, so that a receiver who gets it twice
// sees that it is one.
func (a about) id(hostname dnsname.Name) string {
	return a.date + "." + a.domain.String() + "@" + hostname.String()
}

// fileName is that of the JSON. RFC 8460 5.1
func (a about) fileName(hostname dnsname.Name) string {
	start, end := a.span()
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", hostname, a.domain, start.Unix(), end.Unix())
}

// build makes the report, compressed. RFC 8460 5.2
func (r *Reporter) build(a about, all *tallies) ([]byte, error) {
	start, end := a.span()
	doc := report{
		Organization: r.o.Organization,
		DateRange:    dateRange{start.Format(time.RFC3339), end.Format(time.RFC3339)},
		Contact:      r.o.Contact.String(),
		ID:           a.id(r.o.Hostname),
		Policies:     []policyReport{},
	}
	for _, t := range all.Policies {
		doc.Policies = append(doc.Policies, t.report())
	}
	slices.SortStableFunc(doc.Policies, func(x, y policyReport) int {
		return cmp.Or(strings.Compare(string(x.Policy.Type), string(y.Policy.Type)), strings.Compare(x.Policy.Domain.String(), y.Policy.Domain.String()))
	})
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (t *tally) report() policyReport {
	p := policyReport{
		Policy:  policyText{t.Type, t.Strings, t.Domain, t.MXHosts},
		Summary: summary{t.Successes, t.failures()},
	}
	for _, f := range t.Failures {
		p.Failures = append(p.Failures, failureDetails{f.Result, f.SendingIP, f.MX, f.Helo, f.ReceivingIP, f.Count, f.Info, f.Reason})
	}
	return p
}
