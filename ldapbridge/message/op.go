package message

// Op is the tag octet of a protocolOp (RFC 4511 4.2 to 4.14), constructed or not as
// it must be: another form of the same number is another Op.
type Op uint8

// The operations and their replies.
const (
	BindRequest          Op = 0x60
	BindResponse         Op = 0x61
	UnbindRequest        Op = 0x42
	SearchRequest        Op = 0x63
	SearchEntry          Op = 0x64
	SearchDone           Op = 0x65
	SearchReference      Op = 0x73
	ModifyRequest        Op = 0x66
	ModifyResponse       Op = 0x67
	AddRequest           Op = 0x68
	AddResponse          Op = 0x69
	DeleteRequest        Op = 0x4a
	DeleteResponse       Op = 0x6b
	ModifyDNRequest      Op = 0x6c
	ModifyDNResponse     Op = 0x6d
	CompareRequest       Op = 0x6e
	CompareResponse      Op = 0x6f
	AbandonRequest       Op = 0x50
	ExtendedRequest      Op = 0x77
	ExtendedResponse     Op = 0x78
	IntermediateResponse Op = 0x79
)

// ops are the words of requests for logs and rules, and their final replies.
var ops = map[Op]struct {
	word  string
	reply Op
}{
	BindRequest:     {"bind", BindResponse},
	UnbindRequest:   {"unbind", 0},
	SearchRequest:   {"search", SearchDone},
	ModifyRequest:   {"modify", ModifyResponse},
	AddRequest:      {"add", AddResponse},
	DeleteRequest:   {"delete", DeleteResponse},
	ModifyDNRequest: {"modify_dn", ModifyDNResponse},
	CompareRequest:  {"compare", CompareResponse},
	AbandonRequest:  {"abandon", 0},
	ExtendedRequest: {"extended", ExtendedResponse},
}

// String is the word of a request; "unknown" for all else.
func (o Op) String() string {
	if op, ok := ops[o]; ok {
		return op.word
	}
	return "unknown"
}

// IsRequest reports whether o is an operation that clients begin.
func (o Op) IsRequest() bool { return ops[o].word != "" }

// Reply is what ends an operation; 0 for what has no reply.
func (o Op) Reply() Op { return ops[o].reply }

// IsFinal reports whether a reply is the last one of its operation.
func (o Op) IsFinal() bool {
	switch o {
	case SearchEntry, SearchReference, IntermediateResponse:
		return false
	}
	return true
}

// OIDs of extended operations and of unsolicited notices.
const (
	OIDStartTLS       = "1.3.6.1.4.1.1466.20037"  // RFC 4511 4.14
	OIDPasswordModify = "1.3.6.1.4.1.4203.1.11.1" // RFC 3062
	OIDWhoAmI         = "1.3.6.1.4.1.4203.1.11.3" // RFC 4532
	OIDCancel         = "1.3.6.1.1.8"             // RFC 3909
	OIDDisconnection  = "1.3.6.1.4.1.1466.20036"  // RFC 4511 4.4.1
	OIDProxiedAuth    = "2.16.840.1.113730.3.4.18"
	OIDProxiedAuthOld = "2.16.840.1.113730.3.4.12"
	OIDPagedResults   = "1.2.840.113556.1.4.319"  // RFC 2696
	OIDServerSort     = "1.2.840.113556.1.4.473"  // RFC 2891
	OIDAssertion      = "1.3.6.1.1.12"            // RFC 4528
	OIDPreRead        = "1.3.6.1.1.13.1"          // RFC 4527
	OIDPostRead       = "1.3.6.1.1.13.2"          // RFC 4527
	OIDMatchedValues  = "1.2.826.0.1.3344810.2.3" // RFC 3876
	OIDManageDsaIT    = "2.16.840.1.113730.3.4.2" // RFC 3296
)
