package message

import (
	"fmt"
	"maps"
	"slices"
)

// Code is a resultCode (RFC 4511 4.1.9, RFC 3909 2.3, RFC 4370 2).
type Code int32

// The codes that a bridge says itself.
const (
	Success                      Code = 0
	OperationsError              Code = 1
	ProtocolError                Code = 2
	TimeLimitExceeded            Code = 3
	SizeLimitExceeded            Code = 4
	AuthMethodNotSupported       Code = 7
	StrongerAuthRequired         Code = 8
	AdminLimitExceeded           Code = 11
	UnavailableCriticalExtension Code = 12
	ConfidentialityRequired      Code = 13
	NoSuchObject                 Code = 32
	InappropriateAuthentication  Code = 48
	InvalidCredentials           Code = 49
	InsufficientAccessRights     Code = 50
	Busy                         Code = 51
	Unavailable                  Code = 52
	UnwillingToPerform           Code = 53
	Other                        Code = 80
	Canceled                     Code = 118
	NoSuchOperation              Code = 119
	TooLate                      Code = 120
	CannotCancel                 Code = 121
	AuthorizationDenied          Code = 123
)

// Result is an LDAPResult (RFC 4511 4.1.9), and what an ExtendedResponse adds.
type Result struct {
	Code       Code
	MatchedDN  string
	Diagnostic string
	OID        string // of an ExtendedResponse; "": none
	Value      []byte // of an ExtendedResponse; nil: none
}

const (
	tagReferral      = 0xa3
	tagServerCreds   = 0x87
	tagResponseName  = 0x8a
	tagResponseValue = 0x8b
)

// AppendMessage writes an LDAPMessage of parts that are encoded already.
func AppendMessage(dst []byte, id int32, op, controls []byte) []byte {
	size := numberSize(id) + len(op) + len(controls)
	dst = appendHead(dst, tagSequence, size)
	dst = appendNumber(dst, tagInteger, id)
	dst = append(dst, op...)
	return append(dst, controls...)
}

func numberSize(n int32) int {
	switch {
	case n < 1<<7:
		return 3
	case n < 1<<15:
		return 4
	case n < 1<<23:
		return 5
	}
	return 6
}

// AppendResult writes a message whose operation is a result; op is the kind of reply.
func AppendResult(dst []byte, id int32, op Op, r Result) []byte {
	result := node(byte(op), integer(tagEnumerated, int32(r.Code)), text(r.MatchedDN), text(r.Diagnostic))
	if op == ExtendedResponse && r.OID != "" {
		result.AppendChild(leaf(tagResponseName, r.OID))
	}
	if op == ExtendedResponse && r.Value != nil {
		result.AppendChild(leaf(tagResponseValue, r.Value))
	}
	return AppendMessage(dst, id, result.Bytes(), nil)
}

// ParseResult reads the Op of a reply that holds a result: those that IsFinal.
func ParseResult(op []byte) (r Result, err error) {
	if len(op) == 0 {
		return r, ErrMalformed
	}
	kind := Op(op[0])
	f, err := open(op, op[0])
	if err != nil {
		return r, err
	}
	code, err := f.integer(tagEnumerated)
	if err != nil {
		return r, err
	}
	matched, err := f.text()
	if err != nil {
		return r, err
	}
	diagnostic, err := f.text()
	if err != nil {
		return r, err
	}
	r.Code, r.MatchedDN, r.Diagnostic = Code(code), string(matched), string(diagnostic)
	if _, _, err = f.optional(tagReferral); err != nil || kind != ExtendedResponse {
		return r, err
	}
	name, _, err := f.optional(tagResponseName)
	if err != nil {
		return r, err
	}
	value, there, err := f.optional(tagResponseValue)
	if there {
		r.Value = append([]byte{}, value...)
	}
	r.OID = string(name)
	return r, err
}

// NoticeOfDisconnection writes the unsolicited notice after which the connection is
// closed (RFC 4511 4.4.1).
func NoticeOfDisconnection(dst []byte, code Code, diagnostic string) []byte {
	return AppendResult(dst, 0, ExtendedResponse, Result{Code: code, Diagnostic: diagnostic, OID: OIDDisconnection})
}

// Attribute is one attribute of an entry.
type Attribute struct {
	Name   string
	Values []string
}

// AppendEntry writes a SearchResultEntry (RFC 4511 4.5.2). typesOnly leaves the
// values out.
func AppendEntry(dst []byte, id int32, dn string, attributes []Attribute, typesOnly bool) []byte {
	list := node(tagSequence)
	for _, a := range attributes {
		values := node(tagSet)
		for _, v := range a.Values {
			if !typesOnly {
				values.AppendChild(text(v))
			}
		}
		list.AppendChild(node(tagSequence, text(a.Name), values))
	}
	return AppendMessage(dst, id, node(byte(SearchEntry), text(dn), list).Bytes(), nil)
}

// Entry is a SearchResultEntry as ParseEntry reads it.
type Entry struct {
	DN         string
	Attributes []Attribute
}

// ParseEntry reads the Op of a SearchResultEntry.
func ParseEntry(op []byte) (e Entry, err error) {
	f, err := open(op, byte(SearchEntry))
	if err != nil {
		return e, err
	}
	dn, err := f.text()
	if err != nil {
		return e, err
	}
	list, err := f.inner(tagSequence)
	if err != nil {
		return e, err
	}
	e.DN = string(dn)
	for !list.empty() {
		one, err := list.inner(tagSequence)
		if err != nil {
			return e, err
		}
		a, err := parseAttribute(one)
		if err != nil {
			return e, err
		}
		e.Attributes = append(e.Attributes, a)
	}
	return e, nil
}

func parseAttribute(in *parts) (a Attribute, err error) {
	name, err := in.text()
	if err != nil {
		return a, err
	}
	values, err := in.inner(tagSet)
	if err != nil {
		return a, err
	}
	a.Name = string(name)
	for !values.empty() {
		value, err := values.text()
		if err != nil {
			return a, err
		}
		a.Values = append(a.Values, string(value))
	}
	return a, nil
}

// Codes returns the codes that have names.
func Codes() []Code { return slices.Sorted(maps.Keys(codeWords)) }

// String names a code for logs.
func (c Code) String() string {
	if word, ok := codeWords[c]; ok {
		return word
	}
	return fmt.Sprintf("code %d", int32(c))
}

var codeWords = map[Code]string{
	Success: "success", OperationsError: "operationsError", ProtocolError: "protocolError", TimeLimitExceeded: "timeLimitExceeded",
	SizeLimitExceeded: "sizeLimitExceeded", AuthMethodNotSupported: "authMethodNotSupported", StrongerAuthRequired: "strongerAuthRequired",
	AdminLimitExceeded: "adminLimitExceeded", UnavailableCriticalExtension: "unavailableCriticalExtension",
	ConfidentialityRequired: "confidentialityRequired", NoSuchObject: "noSuchObject", InappropriateAuthentication: "inappropriateAuthentication",
	InvalidCredentials: "invalidCredentials", InsufficientAccessRights: "insufficientAccessRights", Busy: "busy", Unavailable: "unavailable",
	UnwillingToPerform: "unwillingToPerform", Other: "other", Canceled: "canceled", NoSuchOperation: "noSuchOperation",
	TooLate: "tooLate", CannotCancel: "cannotCancel", AuthorizationDenied: "authorizationDenied",
}
