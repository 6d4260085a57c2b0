package ldapbridge

import (
	"errors"
	"fmt"

	"dancemta/ldapbridge/mapping"
)

// place stands for the session's id in results that no session has sent.
const place = "id"

// BindReply foretells the result of a bind by SASL EXTERNAL of a user whom err refuses.
func BindReply(err error) string {
	o := loginOutcome(err)
	if _, ok := errors.AsType[*mapping.Error](err); ok {
		o = mappedOutcome(err)
	}
	r := o.result(place)
	return fmt.Sprintf("%d %s: %s", r.Code, r.Code, r.Diagnostic)
}
