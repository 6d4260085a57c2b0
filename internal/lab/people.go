package lab

import (
	"crypto/x509"
	"net/netip"
)

// Names of the directory of example.test, those of docs/examples/slapd.
const (
	DirectoryName   = "ldap.example.test" // in its certificate
	DirectorySuffix = "dc=example,dc=test"
	DirectoryPeople = "ou=people,dc=example,dc=test"
	DirectoryShared = "ou=shared,dc=example,dc=test"

	// OpenLDAP's library has EXTERNAL only for a certificate with some subject; who it is
	// for stands elsewhere.
	userSubject = "somebody"
	gatewayName = "dancemta bridge" // the subject of the gateway's certificate, by which slapd knows it
)

// addPeople makes users beside Rick: a namesake of his in other.test, Ann of
// remote.test, and two with a perfect record, one in a zone without signatures and
// one in a zone that nothing should ask.
func (n *Internet) addPeople() {
	n.World.AddZone("other.test.", ZoneOptions{})
	for _, p := range []struct {
		into              *Client
		file, uid, domain string
	}{
		{&n.Namesake, "namesake", "rick", "other.test"},
		{&n.Ann, "ann", "ann", "remote.test"},
		{&n.Careless, "careless", "rick", "unsigned.test"},
		{&n.Unknown, "unknown", "rick", "stranger.test"},
	} {
		ca := n.newCA(p.domain + " user CA")
		*p.into = n.client(p.file, "_user."+p.domain, ca.Issue, n.leaf(LeafOptions{
			Names: []string{p.domain}, UIDs: []string{p.uid}, CommonName: userSubject,
		}))
		p.into.User = p.uid + "@" + p.domain
		n.World.Zone(p.domain + ".").Add("_user " + TLSA(2, 0, 1, ca.Certificate))
	}
	n.GatewayCA = n.newCA("lab gateway CA")
	n.Gateway = n.GatewayCA.Issue(n.leaf(LeafOptions{
		Names: []string{ServerName}, CommonName: gatewayName, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}))
}

// DirectoryCertificate makes one for the server of DirectoryName.
func (n *Internet) DirectoryCertificate() Credential {
	return n.ServerCA.Issue(n.leaf(LeafOptions{
		SAN: SAN(DNSName(DirectoryName), IPAddress(netip.MustParseAddr("127.0.0.1"))), // where it is dialled
		EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
}

// StartDirectory serves the directory of example.test, over TLS at once, to the
// gateway: what lies below ou=shared is for the users of the domain that it is called
// by, and everybody sees his own entry.
func (n *Internet) StartDirectory() (*Directory, error) {
	roots := x509.NewCertPool()
	roots.AddCert(n.GatewayCA.Certificate)
	o := DirectoryOptions{
		Certificate: n.DirectoryCertificate().TLSCertificate(), Gateways: roots, TLS: true, People: DirectoryPeople,
		Entries: []Entry{entry(DirectorySuffix, "domain"), entry(DirectoryPeople, "organizationalUnit"), entry(DirectoryShared, "organizationalUnit")},
	}
	for _, domain := range []string{"partner.test", "other.test"} {
		unit := "ou=" + domain + ","
		o.Entries = append(o.Entries,
			entry(unit+DirectoryPeople, "organizationalUnit"),
			entry("uid=rick,"+unit+DirectoryPeople, "inetOrgPerson", Attribute{"uid", []string{"rick"}}, Attribute{"mail", []string{"rick@" + domain}}),
			entry(unit+DirectoryShared, "organizationalUnit", Attribute{"description", []string{"for users of " + domain}}),
			entry("cn=price list,"+unit+DirectoryShared, "device", Attribute{"cn", []string{"price list"}}, Attribute{"description", []string{"prices for " + domain}}),
		)
		o.Access = append(o.Access, Access{Below: unit + DirectoryShared, Domain: domain, Right: MayRead})
	}
	return StartDirectory("127.0.0.1:0", o)
}

func entry(dn, class string, more ...Attribute) Entry {
	return Entry{DN: dn, Attributes: append([]Attribute{{"objectClass", []string{class}}}, more...)}
}
