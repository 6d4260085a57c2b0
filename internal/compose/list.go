package compose

import (
	"fmt"
	"io"
	"mime"
	"net/mail"

	"dancemta/internal/mailaddr"
)

// parseList reads a list of mailboxes and groups (RFC 5322 3.4); an empty one has
// nobody in it.
func parseList(value string) (all []mailaddr.Address, err error) {
	if value == "" {
		return nil, nil
	}
	// Names are passed over, whatever their charset.
	p := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	list, err := p.ParseList(value)
	if err != nil {
		return nil, fmt.Errorf("%.80q: %w", value, err)
	}
	for _, one := range list {
		a, err := mailaddr.FromUnquoted(one.Address)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
