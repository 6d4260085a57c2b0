package lab

import (
	"slices"
	"strconv"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Scopes, RFC 4511 4.5.1.2.
const (
	scopeBase = 0
	scopeOne  = 1
	scopeSub  = 2
)

// Filters, RFC 4511 4.5.1.7.
const (
	filterAnd      = 0
	filterOr       = 1
	filterNot      = 2
	filterEquality = 3
	filterPresent  = 7
)

// query is a SearchRequest.
type query struct {
	base       string
	scope      int64
	limit      int64
	typesOnly  bool
	filter     *ber.Packet
	attributes []string
}

func readQuery(op *ber.Packet) (q query, ok bool) {
	if len(op.Children) != 8 {
		return q, false
	}
	p := op.Children
	q.base, q.filter = text(p[0]), p[6]
	var scoped, limited, typed bool
	q.scope, scoped = p[1].Value.(int64)
	q.limit, limited = p[3].Value.(int64)
	q.typesOnly, typed = p[5].Value.(bool)
	for _, a := range p[7].Children {
		q.attributes = append(q.attributes, text(a))
	}
	return q, scoped && limited && typed && q.scope >= scopeBase && q.scope <= scopeSub
}

// covers reports whether an entry is in base and scope.
func (q query) covers(dn string) bool {
	below := len(splitDN(dn)) - len(splitDN(q.base))
	switch {
	case !isBelow(dn, q.base):
		return false
	case q.scope == scopeBase:
		return below == 0
	case q.scope == scopeOne:
		return below == 1
	}
	return true
}

// matches evaluates a filter; ok is false for one that is not known here.
func matches(e *Entry, filter *ber.Packet) (match, ok bool) {
	switch filter.Tag {
	case filterAnd, filterOr:
		match = filter.Tag == filterAnd
		for _, f := range filter.Children {
			one, ok := matches(e, f)
			if !ok {
				return false, false
			}
			if filter.Tag == filterAnd {
				match = match && one
			} else {
				match = match || one
			}
		}
		return match, true
	case filterNot:
		if len(filter.Children) != 1 {
			return false, false
		}
		match, ok = matches(e, filter.Children[0])
		return !match, ok
	case filterEquality:
		if len(filter.Children) != 2 {
			return false, false
		}
		return e.has(text(filter.Children[0]), text(filter.Children[1])), true
	case filterPresent:
		return e.values(text(filter)) != nil, true
	}
	return false, false
}

// search sends what the user may read, page by page when he asks for that.
func (c *directoryConn) search(r *request) answer {
	r.done.Name = "search"
	q, ok := readQuery(r.op)
	if !ok {
		return refuse(resultProtocolError, "no search")
	}
	r.done.DN = q.base
	found, refusal := c.find(r.who, q)
	if refusal.code != resultSuccess {
		return refusal
	}
	paged, err := c.page(r, found)
	if err.code != resultSuccess {
		return err
	}
	limited := q.limit > 0 && int64(len(paged.entries)) > q.limit
	if limited {
		paged.entries = paged.entries[:q.limit]
	}
	for _, e := range paged.entries {
		c.send(r.id, entryPacket(e, q), nil)
	}
	if limited {
		return refuse(resultSizeLimitExceeded, "")
	}
	return answer{controls: paged.controls}
}

// find collects the entries, as they are now, that match and that the user may read.
func (c *directoryConn) find(who Principal, q query) ([]Entry, answer) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	t := &c.d.tree
	// What may not be read does not exist; a base that is a step to what may be read
	// can be named.
	if t.at(q.base) < 0 || !t.leads(who, q.base) || t.right(who, q.base) < MayRead && q.scope == scopeBase {
		return nil, refuse(resultNoSuchObject, "")
	}
	var found []Entry
	for i := range t.entries {
		e := &t.entries[i]
		if !q.covers(e.DN) || t.right(who, e.DN) < MayRead {
			continue
		}
		match, ok := matches(e, q.filter)
		if !ok {
			return nil, refuse(resultUnwillingToPerform, "a filter beyond the laboratory")
		}
		if match {
			found = append(found, e.clone())
		}
	}
	return found, answer{}
}

// page is what one search of several gives. RFC 2696
type page struct {
	entries  []Entry
	controls *ber.Packet
}

func (c *directoryConn) page(r *request, found []Entry) (page, answer) {
	control := r.controls[oidPagedResults]
	if control == nil {
		return page{entries: found}, answer{}
	}
	value, _ := controlValue(control)
	p, err := ber.DecodePacketErr(value)
	if err != nil || len(p.Children) != 2 {
		return page{}, refuse(resultProtocolError, "no page")
	}
	size, ok := p.Children[0].Value.(int64)
	if !ok || size < 0 {
		return page{}, refuse(resultProtocolError, "no size")
	}
	from := 0
	if cookie := text(p.Children[1]); cookie != "" {
		// It belongs to this connection.
		if from, ok = c.cookies[cookie]; !ok || from > len(found) {
			return page{}, refuse(resultUnwillingToPerform, "an unknown cookie")
		}
		delete(c.cookies, cookie)
	}
	to := min(from+int(size), len(found))
	next := ""
	if size > 0 && to < len(found) && len(c.cookies) < maxPagedSearches {
		next = strconv.FormatInt(r.id, 10) // no id is used twice at a time, RFC 4511 4.1.1.1
		c.cookies[next] = to
	}
	return page{found[from:to], pageControl(next)}, answer{}
}

func pageControl(cookie string) *ber.Packet {
	value := ber.NewSequence("")
	value.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, int64(0), ""))
	value.AppendChild(octets(cookie))
	control := ber.NewSequence("")
	control.AppendChild(octets(oidPagedResults))
	control.AppendChild(octets(string(value.Bytes())))
	all := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
	all.AppendChild(control)
	return all
}

// entryPacket makes a SearchResultEntry of what was asked for. RFC 4511 4.5.1.8
func entryPacket(e Entry, q query) *ber.Packet {
	all := len(q.attributes) == 0 || slices.Contains(q.attributes, "*")
	list := ber.NewSequence("")
	for _, a := range e.Attributes {
		if !all && !slices.ContainsFunc(q.attributes, func(name string) bool { return strings.EqualFold(name, a.Name) }) {
			continue
		}
		values := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		if !q.typesOnly {
			for _, v := range a.Values {
				values.AppendChild(octets(v))
			}
		}
		attribute := ber.NewSequence("")
		attribute.AppendChild(octets(a.Name))
		attribute.AppendChild(values)
		list.AppendChild(attribute)
	}
	p := ber.Encode(ber.ClassApplication, ber.TypeConstructed, opEntry, nil, "")
	p.AppendChild(octets(e.DN))
	p.AppendChild(list)
	return p
}

// isRootDSE: RFC 4512 5.1.
func isRootDSE(op *ber.Packet) bool {
	q, ok := readQuery(op)
	return ok && q.base == "" && q.scope == scopeBase
}

// rootDSE is for everybody, before any bind.
func (c *directoryConn) rootDSE(r *request) answer {
	q, _ := readQuery(r.op) // isRootDSE has read it
	e := Entry{Attributes: []Attribute{
		{"objectClass", []string{"top"}},
		{"supportedLDAPVersion", []string{"3"}},
		{"supportedControl", []string{oidPagedResults, oidProxiedAuthorization}},
		{"supportedExtension", []string{oidStartTLS, oidWhoAmI}},
	}}
	if c.certified() {
		e.Attributes = append(e.Attributes, Attribute{"supportedSASLMechanisms", []string{saslMechanism}})
	}
	c.send(r.id, entryPacket(e, q), nil)
	return answer{}
}
