package directory

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// wordedError is what a server has answered, in the words of OpenLDAP's tools.
type wordedError struct{ err *ldap.Error }

func (e wordedError) Unwrap() error { return e.err }

func (e wordedError) Error() string {
	text := fmt.Sprintf("%s (%d)", ldap.LDAPResultCodeMap[e.err.ResultCode], e.err.ResultCode)
	if e.err.Err != nil && e.err.Err.Error() != "" {
		text += ": " + e.err.Err.Error()
	}
	return text
}

// worded makes an error of the library one that people can read. One of the library's
// own says by itself what has happened.
func worded(err error) error {
	e, ok := errors.AsType[*ldap.Error](err)
	switch {
	case !ok:
		return err
	case e.ResultCode >= ldap.ErrorNetwork && e.Err != nil:
		return e.Err
	}
	return wordedError{e}
}

// baseAdvice is for a base that is not there for us.
const baseAdvice = "compare directory.base with the server's entries, and see that we may search it and its objectClass"

// adviceFor says what to compare when a server does not take us.
func adviceFor(err error) string {
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials), ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidDNSyntax):
		return "compare directory.bind_dn and password_file, or certificate, with what the server knows of us"
	case ldap.IsErrorWithCode(err, ldap.LDAPResultAuthMethodNotSupported), ldap.IsErrorWithCode(err, ldap.LDAPResultInappropriateAuthentication):
		return "see that the server asks for certificates, trusts the issuer of ours and offers EXTERNAL, or write bind_dn and password_file"
	case strings.Contains(err.Error(), "x509: "):
		return "compare directory.roots and the host name with the server's certificate"
	}
	return ""
}
