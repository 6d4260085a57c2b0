package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dancemta/daneclient"
	"dancemta/daneclient/tlsa"
	"dancemta/internal/dnsname"
)

// tlsaRecord is a record to print.
type tlsaRecord struct {
	tlsa.Entry
	file     string
	warnings []string
}

// records makes a record of each file; two files with the same key make one.
func (f *tlsaFlags) records(owner daneclient.Owner, files []string) ([]tlsaRecord, error) {
	var made []tlsaRecord
	for _, file := range files {
		material, err := readMaterial(file)
		if err != nil {
			return nil, err
		}
		fields := daneclient.Fields{Usage: f.usage.value, Selector: f.selector.value, Matching: f.matching.value}
		r, doubts, err := owner.Record(material, fields, time.Now())
		if err != nil {
			return nil, &exitError{code: exitBroken, err: fmt.Errorf("%s: %w", file, err)}
		}
		e := tlsa.Entry{Owner: owner.String(), TTL: uint32(f.ttl), Record: r}
		if !slices.ContainsFunc(made, func(m tlsaRecord) bool { return m.String() == e.String() }) {
			made = append(made, tlsaRecord{e, file, append(doubts, ttlWarnings(f.ttl)...)})
		}
	}
	return made, nil
}

func ttlWarnings(seconds int64) []string {
	switch {
	case seconds < minTTL:
		return []string{fmt.Sprintf("a TTL of %d s is under %d s: every login costs a lookup, and no failure of DNS is outlasted", seconds, minTTL)}
	case seconds > maxTTL:
		return []string{fmt.Sprintf("a TTL of %d s is over %d s: a record that you remove or exchange is believed for so long", seconds, maxTTL)}
	}
	return nil
}

func (f *tlsaFlags) warn(w io.Writer, records []tlsaRecord) {
	var said []string
	for _, r := range records {
		for _, text := range r.warnings {
			if !slices.Contains(said, text) {
				fmt.Fprintf(w, "warning: %s: %s\n", r.file, text)
				said = append(said, text)
			}
		}
	}
}

// print writes the records in the form that the flags choose.
func (f *tlsaFlags) print(w io.Writer, records []tlsaRecord) error {
	if f.zone != "" {
		text, err := f.zoneText(records)
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, text)
		return err
	}
	for _, r := range records {
		var err error
		switch {
		case f.json:
			err = json.NewEncoder(w).Encode(r.document())
		case f.nsupdate:
			_, err = fmt.Fprintln(w, r.Update())
		default:
			_, err = fmt.Fprintln(w, r)
		}
		if err != nil {
			return err
		}
	}
	if f.nsupdate {
		_, err := fmt.Fprintln(w, "send")
		return err
	}
	return nil
}

// document is the form of --json.
func (r tlsaRecord) document() any {
	return struct {
		Owner    string   `json:"owner"`
		TTL      uint32   `json:"ttl"`
		Usage    uint8    `json:"usage"`
		Selector uint8    `json:"selector"`
		Matching uint8    `json:"matching"`
		Data     string   `json:"data"`
		Line     string   `json:"line"`
		File     string   `json:"file"`
		Warnings []string `json:"warnings,omitempty"`
	}{r.Owner, r.TTL, r.Record.Usage, r.Record.Selector, r.Record.Matching,
		fmt.Sprintf("%x", r.Record.Data), r.String(), r.file, r.warnings}
}

// zoneText makes the whole zone. The serial number is the time, so that a zone
// printed later is the newer one.
func (f *tlsaFlags) zoneText(records []tlsaRecord) (string, error) {
	name, err := dnsname.ParseOwner(strings.TrimSuffix(f.zone, "."))
	if err != nil {
		return "", usage(fmt.Errorf("--zone: %w", err))
	}
	z := tlsa.Zone{
		Name: name.String(), TTL: uint32(f.ttl), Serial: uint32(time.Now().Unix()),
		Hostmaster: "hostmaster." + mailDomain(name).String(),
	}
	for _, word := range f.servers {
		s, err := parseNameServer(word)
		if err != nil {
			return "", usage(fmt.Errorf("--ns %s: %w", word, err))
		}
		z.Servers = append(z.Servers, s)
	}
	for _, r := range records {
		z.Entries = append(z.Entries, r.Entry)
	}
	text, err := z.Text()
	if err != nil {
		return "", usage(fmt.Errorf("--zone %s: %w", name, err),
			"--ns ns1.example.net names a server elsewhere, --ns ns."+name.String()+"=192.0.2.1 one inside the zone")
	}
	return text, nil
}

// mailDomain cuts the labels that no mail domain has.
func mailDomain(n dnsname.Name) dnsname.Name {
	for n.HasUnderscore() {
		_, n = n.Cut()
	}
	return n
}

// parseNameServer reads HOST or HOST=ADDRESS,ADDRESS.
func parseNameServer(word string) (tlsa.NameServer, error) {
	host, list, given := strings.Cut(word, "=")
	name, err := dnsname.ParseOwner(strings.TrimSuffix(host, "."))
	if err != nil || !given {
		return tlsa.NameServer{Name: name.String()}, err
	}
	s := tlsa.NameServer{Name: name.String()}
	for a := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return s, fmt.Errorf("%q is no IP address", a)
		}
		s.Addrs = append(s.Addrs, addr.WithZone(""))
	}
	return s, nil
}
