package daneclient

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"dancemta/internal/certname"
	"dancemta/internal/dnsname"
)

// ErrOwner says that a name can have no TLSA records that prove anybody.
var ErrOwner = errors.New("not a name for such records")

// hashDigits is how many hex digits of a SHA-256 make an opaque label: 128 bits,
// of which no two are ever the same, in half of what a label holds.
const hashDigits = 32

// anyLabel is the label of a wildcard (RFC 4592 2.1.1).
const anyLabel = "*."

// ownerKind is who stands behind the records of a name.
type ownerKind uint8

const (
	machine     ownerKind = iota // a client: a mail server or a device
	anyDevice                    // all devices of a domain
	domainUsers                  // all users of a domain
	server                       // a server, for its clients
)

// Owner is a name at which TLSA records may be published, in one of the forms
// that client-auth 2 and RFC 6698 3 have, and who they speak for.
type Owner struct {
	name string
	kind ownerKind
	of   dnsname.Name // the domain of the users, the host of the server; a client whole
}

// String returns the owner name in A-labels, without the final dot.
func (o Owner) String() string { return o.name }

// ClientOwner is _smtp-client.host: a mail server as a client, whose
// certificate holds the dNSName host.
func ClientOwner(host dnsname.Name) (Owner, error) {
	if err := wantHost(host); err != nil {
		return Owner{}, err
	}
	return ownerBelow(serviceLabel, host, machine)
}

// DeviceOwner is name._device.domain.
func DeviceOwner(name, domain dnsname.Name) (Owner, error) {
	if err := wantHost(domain); err != nil {
		return Owner{}, err
	}
	if name.IsZero() || name.HasUnderscore() {
		return Owner{}, fmt.Errorf("%q: %w: a device's own name is letters, digits and hyphens", name, ErrOwner)
	}
	return ownerBelow(name.String()+"."+deviceLabel, domain, machine)
}

// Opaque returns a device's owner with one label in place of the device's own
// name, for zones whose names anybody can list: the first 32 hex digits of the
// SHA-256 of the whole plain owner name, such as sensor7._device.example.org.
// Who guesses the plain name can check the guess.
func (o Owner) Opaque() (Owner, error) {
	labels := o.of.Labels()
	i := slices.Index(labels, deviceLabel)
	if o.kind != machine || i <= 0 {
		return Owner{}, fmt.Errorf("%s: %w: only a device's name can be made opaque", o.name, ErrOwner)
	}
	domain := o.of
	for range i + 1 {
		_, domain = domain.Cut()
	}
	sum := sha256.Sum256([]byte(o.name))
	return ownerBelow(hex.EncodeToString(sum[:])[:hashDigits]+"."+deviceLabel, domain, machine)
}

// AnyDeviceOwner is *._device.domain: a CA there vouches for all devices of the
// domain (client-auth 3.2).
func AnyDeviceOwner(domain dnsname.Name) (Owner, error) {
	if err := wantHost(domain); err != nil {
		return Owner{}, err
	}
	o, err := ownerBelow(deviceLabel, domain, anyDevice)
	o.name = anyLabel + o.name
	return o, err
}

// UserOwner is _user.domain: a CA there vouches for the domain's users.
func UserOwner(domain dnsname.Name) (Owner, error) {
	if err := wantHost(domain); err != nil {
		return Owner{}, err
	}
	return ownerBelow(userLabel, domain, domainUsers)
}

// ServerOwner is _port._tcp.host (RFC 6698 3).
func ServerOwner(host dnsname.Name, port uint16) (Owner, error) {
	if err := wantHost(host); err != nil {
		return Owner{}, err
	}
	if port == 0 {
		return Owner{}, fmt.Errorf("port 0: %w", ErrOwner)
	}
	return ownerBelow(fmt.Sprintf("_%d._tcp", port), host, server)
}

// FreeOwner is any other name of a client, verbatim. Names of users and of
// servers have forms of their own.
func FreeOwner(name dnsname.Name) (Owner, error) {
	switch {
	case !isHost(name.String()):
		return Owner{}, fmt.Errorf("%q: %w: two labels are the least, and the last is no number", name, ErrOwner)
	case isForbidden(name):
		return Owner{}, fmt.Errorf("%q: %w: a name with such a label is that of users or of a server, never a client's", name, ErrOwner)
	}
	return Owner{name.String(), machine, name}, nil
}

// wantHost demands what the forms are made of: two labels, no underscores.
func wantHost(n dnsname.Name) error {
	if n.HasUnderscore() || !isHost(n.String()) {
		return fmt.Errorf("%q: %w: it wants a domain of two labels or more, without underscores", n, ErrOwner)
	}
	return nil
}

func ownerBelow(labels string, of dnsname.Name, kind ownerKind) (Owner, error) {
	name, err := dnsname.ParseOwner(labels + "." + of.String())
	if err != nil {
		return Owner{}, err
	}
	if kind == machine {
		of = name
	}
	return Owner{name.String(), kind, of}, nil
}

// doubt says why a verifier that reads the certificate's names would not find
// the records; "" when it would.
func (o Owner) doubt(leaf *x509.Certificate) string {
	switch o.kind {
	case machine:
		names, err := CandidateNames(leaf)
		if err != nil {
			return fmt.Sprintf("this certificate claims no name (%v)", err)
		}
		if !slices.ContainsFunc(names, func(n dnsname.Name) bool { return n.String() == o.name }) {
			return fmt.Sprintf("this certificate claims %s, not %s", names[0], o.name)
		}
	case domainUsers:
		if !certname.HasUID(leaf) || !soleName(leaf, o.of) {
			return fmt.Sprintf("this is no certificate of a user of %s", o.of)
		}
	case server:
		if err := leaf.VerifyHostname(o.of.String()); err != nil {
			return err.Error()
		}
	}
	return ""
}
