package lab

import (
	"crypto/x509"
)

// Names of the directory of example.test.
const (
	DirectoryName   = "ldap.example.test" // in its certificate
	DirectorySuffix = "dc=example,dc=test"
	DirectoryPeople = "ou=people,dc=example,dc=test"
	GatewayDN       = "cn=dancemta" // the subject of the gateway's certificate
)

// addPeople makes users beside Rick: a namesake of his in example.test, Ann of
// remote.test, and two with a perfect record, one in a zone without signatures and
// one in a zone that nothing should ask.
func (n *Internet) addPeople() {
	for _, p := range []struct {
		into              *Client
		file, uid, domain string
	}{
		{&n.Namesake, "namesake", "rick", "example.test"},
		{&n.Ann, "ann", "ann", "remote.test"},
		{&n.Careless, "careless", "rick", "unsigned.test"},
		{&n.Unknown, "unknown", "rick", "stranger.test"},
	} {
		ca := n.newCA(p.domain + " user CA")
		*p.into = n.client(p.file, "_user."+p.domain, ca.Issue, n.leaf(LeafOptions{Names: []string{p.domain}, UIDs: []string{p.uid}}))
		p.into.User = p.uid + "@" + p.domain
		n.World.Zone(p.domain + ".").Add("_user " + TLSA(2, 0, 1, ca.Certificate))
	}
	n.GatewayCA = n.newCA("lab gateway CA")
	n.Gateway = n.GatewayCA.Issue(n.leaf(LeafOptions{
		Names: []string{ServerName}, CommonName: "dancemta", EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}))
}

// DirectoryCertificate makes one for the server of DirectoryName.
func (n *Internet) DirectoryCertificate() Credential {
	return n.ServerCA.Issue(n.leaf(LeafOptions{
		Names: []string{DirectoryName}, CommonName: DirectoryName, EKU: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}))
}

// StartDirectory serves the directory of example.test, over TLS at once, to the
// gateway. Who is of partner.test may read what lies in ou=projects, and his own
// entry; who is of example.test reads all, and writes in ou=projects.
func (n *Internet) StartDirectory() (*Directory, error) {
	roots := x509.NewCertPool()
	roots.AddCert(n.GatewayCA.Certificate)
	entry := func(dn, class string, more ...Attribute) Entry {
		return Entry{DN: dn, Attributes: append([]Attribute{{"objectClass", []string{class}}}, more...)}
	}
	person := func(uid, domain, name string) Entry {
		return entry("uid="+uid+",ou="+domain+","+DirectoryPeople, "inetOrgPerson",
			Attribute{"uid", []string{uid}}, Attribute{"cn", []string{name}}, Attribute{"mail", []string{uid + "@" + domain}})
	}
	projects := "ou=projects," + DirectorySuffix
	return StartDirectory("127.0.0.1:0", DirectoryOptions{
		Certificate: n.DirectoryCertificate().TLSCertificate(), Gateways: roots, TLS: true, People: DirectoryPeople,
		Entries: []Entry{
			entry(DirectorySuffix, "domain"), entry(DirectoryPeople, "organizationalUnit"), entry(projects, "organizationalUnit"),
			entry("ou=partner.test,"+DirectoryPeople, "organizationalUnit"), entry("ou=example.test,"+DirectoryPeople, "organizationalUnit"),
			person("rick", "partner.test", "Rick of the partner"), person("rick", "example.test", "Rick of the house"), person("eve", "example.test", "Eve of the house"),
			entry("cn=bridge,"+projects, "groupOfNames", Attribute{"cn", []string{"bridge"}}, Attribute{"description", []string{"what we build together"}}),
			entry("cn=salaries,"+DirectorySuffix, "groupOfNames", Attribute{"cn", []string{"salaries"}}),
		},
		Access: []Access{
			{Below: projects, Domain: "partner.test", Right: MayRead},
			{Below: projects, Domain: "example.test", Right: MayWrite},
			{Below: DirectorySuffix, Domain: "example.test", Right: MayRead},
		},
	})
}
