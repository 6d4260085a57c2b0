package upstream

import (
	"fmt"
	"strings"

	"dancemta/ldapbridge/message"
)

// withProxied adds the control that says under whose rights an operation runs. It is
// always critical, and anonymous is a value that is there and empty (RFC 4370 3).
func withProxied(list []message.Control, as Authzid) ([]byte, error) {
	if as != "" && !strings.HasPrefix(string(as), "dn:") && !strings.HasPrefix(string(as), "u:") {
		return nil, ErrAuthzid
	}
	return message.AppendControls(nil, append(list, message.Control{
		OID: message.OIDProxiedAuth, Critical: true, Value: []byte(as), HasValue: true,
	})...), nil
}

// forwarded reports whether clients' operations of the kind go upstream. A bind would
// make the connection somebody else's, and an unbind end it.
func forwarded(op message.Op) bool {
	switch op {
	case message.SearchRequest, message.ModifyRequest, message.AddRequest, message.DeleteRequest,
		message.ModifyDNRequest, message.CompareRequest, message.ExtendedRequest:
		return true
	}
	return false
}

// request is what is looked at of a client's operation.
type request struct {
	controls []message.Control
	paged    bool
	cookie   string // where a paged search goes on; empty: it begins
}

// inspect refuses what must not go upstream whatever the caller's rules say: it
// would make the connection another one, or the rights other ones; or it has another
// form than RFC 4511 gives it, so that the server may not find our control behind it.
func inspect(m message.Message) (r request, err error) {
	if !forwarded(m.Tag()) {
		return r, ErrOperation
	}
	if err := message.CheckRequest(m.Op); err != nil {
		return r, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if m.Tag() == message.ExtendedRequest {
		x, err := message.ParseExtended(m.Op)
		// Cancel names a message ID: see Lease.Cancel.
		if err != nil || x.OID == message.OIDStartTLS || x.OID == message.OIDCancel {
			return r, ErrOperation
		}
	}
	if r.controls, err = message.ParseControls(m.Controls); err != nil {
		return r, ErrControl
	}
	for _, c := range r.controls {
		switch c.OID {
		case message.OIDProxiedAuth, message.OIDProxiedAuthOld:
			return r, ErrControl
		case message.OIDPagedResults:
			cookie, err := message.PagedCookie(c.Value)
			if err != nil {
				return r, ErrControl
			}
			r.paged, r.cookie = true, string(cookie)
		}
	}
	return r, nil
}
