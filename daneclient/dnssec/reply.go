package dnssec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// question is what is asked of an upstream.
type question struct {
	name string // canonical
	typ  uint16
}

func (q question) String() string { return q.name + " " + typeText(q.typ) }

func typeText(t uint16) string { return dns.Type(t).String() }

// rrset is the records of one owner and type, with the signatures that came
// along. Owners are canonical.
type rrset struct {
	owner string
	typ   uint16
	rrs   []dns.RR
	sigs  []*dns.RRSIG
}

func (s *rrset) String() string { return question{s.owner, s.typ}.String() }

// reply is what an upstream said. Nothing in it is proved.
type reply struct {
	rcode     int
	answer    map[question]*rrset
	authority []*rrset
	ad        bool   // the upstream says that it has proved all of it
	from      string // the upstream
	extended  string // what the upstream says about a failure, cleaned. RFC 8914
}

// Errors of parseReply that mean: this is not the reply, wait for another one.
var (
	errNotOurs   = errors.New("not the reply to our question")
	errTruncated = errors.New("truncated")
)

const headerSize = 12 // RFC 1035 4.1.1

// parseReply reads what came from the network in answer to a question with an
// id. The errors: errNotOurs, errTruncated (ask again by TCP), or a limit.
func parseReply(id uint16, q question, b []byte) (*reply, error) {
	if len(b) < headerSize || binary.BigEndian.Uint16(b) != id {
		return nil, errNotOurs
	}
	count := 0
	for _, at := range []int{6, 8, 10} {
		count += int(binary.BigEndian.Uint16(b[at:]))
	}
	truncated := b[2]&0x02 != 0 // RFC 1035 4.1.1: TC
	if count > maxRecords && !truncated {
		return nil, tooMany("%s: reply with more than %d records", q, maxRecords)
	}
	var msg dns.Msg
	if truncated {
		// What there is may end anywhere; the question must be ours even so.
		clear(b[6:headerSize])
	}
	if err := msg.Unpack(b); err != nil || !asks(&msg, q) {
		return nil, errNotOurs
	}
	if truncated {
		return nil, errTruncated
	}
	r := &reply{rcode: msg.Rcode, ad: msg.AuthenticatedData, answer: map[question]*rrset{}}
	for _, set := range group(msg.Answer) {
		r.answer[question{set.owner, set.typ}] = set
	}
	r.authority = group(msg.Ns)
	r.extended = extendedErrors(&msg)
	return r, nil
}

// asks compares the question section, but for the case of letters.
func asks(msg *dns.Msg, q question) bool {
	if !msg.Response || msg.Opcode != dns.OpcodeQuery || len(msg.Question) != 1 {
		return false
	}
	got := msg.Question[0]
	return got.Qtype == q.typ && got.Qclass == dns.ClassINET && canonical(got.Name) == q.name
}

// group sorts a section into RRsets, in the order of their first records;
// signatures go with what they cover.
func group(section []dns.RR) []*rrset {
	var sets []*rrset
	index := map[question]*rrset{}
	for _, rr := range section {
		if rr == nil || rr.Header().Class != dns.ClassINET {
			continue
		}
		h := rr.Header()
		h.Name = canonical(h.Name) // the library compares owners with case
		if h.Ttl > 1<<31-1 {
			h.Ttl = 0 // RFC 2181 8
		}
		k := question{h.Name, h.Rrtype}
		sig, isSig := rr.(*dns.RRSIG)
		if isSig {
			k.typ = sig.TypeCovered
		}
		set := index[k]
		if set == nil {
			set = &rrset{owner: k.name, typ: k.typ}
			index[k] = set
			sets = append(sets, set)
		}
		if isSig {
			set.sigs = append(set.sigs, sig)
		} else {
			set.rrs = append(set.rrs, rr)
		}
	}
	return withRecords(sets)
}

// withRecords drops the sets that are signatures of nothing.
func withRecords(sets []*rrset) []*rrset {
	kept := sets[:0]
	for _, set := range sets {
		if len(set.rrs) > 0 {
			kept = append(kept, set)
		}
	}
	return kept
}

const maxExtended = 100 // octets of extended errors that a log line takes

// extendedErrors returns the codes and texts of RFC 8914. They come from
// outside: hints for people, bounded and cleaned.
func extendedErrors(msg *dns.Msg) string {
	opt := msg.IsEdns0()
	if opt == nil {
		return ""
	}
	var parts []string
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			part := fmt.Sprintf("extended error %d", e.InfoCode)
			if text, known := dns.ExtendedErrorCodeToString[e.InfoCode]; known {
				part += " " + text
			}
			if e.ExtraText != "" {
				part += " " + strconv.QuoteToASCII(e.ExtraText)
			}
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, ", ")
	return text[:min(len(text), maxExtended)]
}
