package tlsrpt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

const maxAnswer = 4 << 10 // octets that are read, and of no use

// post sends a report by HTTPS. RFC 8460 5.4
func (r *Reporter) post(ctx context.Context, u *url.URL, packed []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(packed))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/tlsrpt+gzip") // RFC 8460 5.4, 6.5
	request.Header.Set("User-Agent", "dancemta")
	return r.web.Do(request, func(response *http.Response) error {
		io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // the status has said it
		if response.StatusCode < 200 || response.StatusCode > 299 {
			return fmt.Errorf("the host answers %d", response.StatusCode)
		}
		return nil
	})
}
