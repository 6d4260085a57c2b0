package lab

import ber "github.com/go-asn1-ber/asn1-ber"

const modifyReplace = 2 // RFC 4511 4.6

// compare is RFC 4511 4.10.
func (c *directoryConn) compare(r *request) answer {
	r.done.Name = "compare"
	if len(r.op.Children) != 2 || len(r.op.Children[1].Children) != 2 {
		return refuse(resultProtocolError, "no comparison")
	}
	r.done.DN = text(r.op.Children[0])
	name, value := text(r.op.Children[1].Children[0]), text(r.op.Children[1].Children[1])
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	t := &c.d.tree
	i := t.at(r.done.DN)
	switch {
	case i < 0 || t.right(r.who, r.done.DN) < MayRead:
		return refuse(resultNoSuchObject, "")
	case t.entries[i].values(name) == nil:
		return refuse(resultNoSuchAttribute, "")
	case t.entries[i].has(name, value):
		return answer{code: resultCompareTrue}
	}
	return answer{code: resultCompareFalse}
}

// modify replaces values; all changes or none. RFC 4511 4.6
func (c *directoryConn) modify(r *request) answer {
	r.done.Name = "modify"
	if len(r.op.Children) != 2 {
		return refuse(resultProtocolError, "no change")
	}
	r.done.DN = text(r.op.Children[0])
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	t := &c.d.tree
	i := t.at(r.done.DN)
	if i < 0 || t.right(r.who, r.done.DN) < MayRead {
		return refuse(resultNoSuchObject, "")
	}
	if t.right(r.who, r.done.DN) < MayWrite {
		return refuse(resultInsufficientAccess, "")
	}
	changed := t.entries[i].clone()
	for _, change := range r.op.Children[1].Children {
		if refusal := apply(&changed, change); refusal.code != resultSuccess {
			return refusal
		}
	}
	t.entries[i] = changed
	return answer{}
}

func apply(e *Entry, change *ber.Packet) answer {
	if len(change.Children) != 2 || len(change.Children[1].Children) != 2 {
		return refuse(resultProtocolError, "no change")
	}
	if change.Children[0].Value != int64(modifyReplace) {
		return refuse(resultUnwillingToPerform, "replace alone")
	}
	var values []string
	for _, v := range change.Children[1].Children[1].Children {
		values = append(values, text(v))
	}
	e.replace(text(change.Children[1].Children[0]), values)
	return answer{}
}
