package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// DirectoryClient is a client of any directory, made of a library that shares no
// code with the servers here.
type DirectoryClient struct{ conn *ldap.Conn }

// DialDirectory connects and secures the connection: TLS at once, or by StartTLS.
func DialDirectory(ctx context.Context, addr string, c *tls.Config, implicit bool) (*DirectoryClient, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		raw.SetDeadline(end)
	}
	if implicit {
		raw = tls.Client(raw, c)
	}
	conn := ldap.NewConn(raw, implicit)
	conn.Start()
	if !implicit {
		if err := conn.StartTLS(c); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return &DirectoryClient{conn}, nil
}

// Bind is SASL EXTERNAL: the certificate says who the client is. The answer is a
// result code of RFC 4511; an error, that there was none.
func (c *DirectoryClient) Bind() (code int, err error) { return resultOf(c.conn.ExternalBind()) }

// BindPassword is what this client should not be able to do.
func (c *DirectoryClient) BindPassword(dn, password string) (code int, err error) {
	return resultOf(c.conn.Bind(dn, password))
}

// WhoAmI is RFC 4532.
func (c *DirectoryClient) WhoAmI() (authzid string, err error) {
	r, err := c.conn.WhoAmI(nil)
	if err != nil {
		return "", err
	}
	return r.AuthzID, nil
}

// Search finds what lies at and below a DN.
func (c *DirectoryClient) Search(base, filter string) (found []Entry, code int, err error) {
	q := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, nil, nil)
	r, err := c.conn.Search(q)
	if code, err = resultOf(err); err != nil || r == nil {
		return nil, code, err
	}
	for _, e := range r.Entries {
		entry := Entry{DN: e.DN}
		for _, a := range e.Attributes {
			entry.Attributes = append(entry.Attributes, Attribute{a.Name, a.Values})
		}
		found = append(found, entry)
	}
	return found, code, nil
}

// Replace sets the values of one attribute.
func (c *DirectoryClient) Replace(dn, attribute string, values ...string) (code int, err error) {
	m := ldap.NewModifyRequest(dn, nil)
	m.Replace(attribute, values)
	return resultOf(c.conn.Modify(m))
}

// Close unbinds.
func (c *DirectoryClient) Close() error { return c.conn.Close() }

// ResultText is a result code as people say it: "0 success".
func ResultText(code int) string {
	return strings.ToLower(strconv.Itoa(code) + " " + ldap.LDAPResultCodeMap[uint16(code)])
}

// resultOf tells what the server said from what the network did.
func resultOf(err error) (int, error) {
	var e *ldap.Error
	switch {
	case err == nil:
		return resultSuccess, nil
	case errors.As(err, &e) && e.ResultCode < ldap.ErrorNetwork:
		return int(e.ResultCode), nil
	}
	return 0, err
}
