package directory

import (
	"context"
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

// Probe connects and binds, and looks at what is fixed of the base. Its errors say what
// to mend.
func (d *Directory) Probe(ctx context.Context) error {
	dn, err := ldap.ParseDN(d.user.baseFor(values{"x", "x", "x", "x"}))
	if err != nil {
		return err
	}
	base := (&ldap.DN{RDNs: dn.RDNs[len(dn.RDNs)-d.user.fixed:]}).String()
	r := ldap.NewSearchRequest(base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{noAttributes}, nil)
	err = d.searches.do(ctx, func(c *conn) error {
		result, err := c.Search(r)
		switch {
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
			return fmt.Errorf("search %q: %w: %s", base, worded(err), baseAdvice)
		case err != nil:
			return fmt.Errorf("search %q: %w", base, said(err))
		case len(result.Entries) == 0:
			return fmt.Errorf("search %q: nothing that we may see: %s", base, baseAdvice)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	if advice := adviceFor(err); advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}
