package msgauth

import (
	"errors"
	"strings"

	"dancemta/internal/mailaddr"
)

// ErrAuthors is what Authors says of From fields that nobody reads alike: two of them,
// one without an address, or one that is no list of addresses.
var ErrAuthors = errors.New("the From field cannot be read")

// Authors returns the addresses in the From field of a header; none when it has no
// such field. The errors are ErrAuthors and those of a header that is none.
func Authors(header []byte) ([]mailaddr.Address, error) {
	fields, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	var from []field
	for _, f := range fields {
		if strings.EqualFold(f.name, "From") {
			from = append(from, f)
		}
	}
	if len(from) == 0 {
		return nil, nil
	}
	all, ok := mailboxes(from)
	if !ok {
		return nil, ErrAuthors
	}
	return all, nil
}
