package lab

import (
	"crypto/tls"
	"crypto/x509"
	"runtime"
	"testing"

	"github.com/miekg/dns"
)

func TestPeopleHaveTheirRecords(t *testing.T) {
	n := internet(t)
	for _, row := range []struct {
		client Client
		user   string
		signed bool
	}{
		{n.Namesake, "rick@other.test", true},
		{n.Ann, "ann@remote.test", true},
		{n.Careless, "rick@unsigned.test", false},
		{n.Unknown, "rick@stranger.test", true},
	} {
		reply := exchange(t, n, "tcp", row.client.Owner+".", dns.TypeTLSA)
		signed, published := false, false
		for _, rr := range reply.Answer {
			if rr, ok := rr.(*dns.TLSA); ok {
				published = rr.Usage == 2 && rr.Verify(row.client.Chain[1]) == nil
			}
			_, ok := rr.(*dns.RRSIG)
			signed = signed || ok
		}
		if row.client.User != row.user || !published || signed != row.signed {
			t.Errorf("%s: published %v, signed %v", row.client.User, published, signed)
		}
	}
}

func TestMutedServerTakesQueries(t *testing.T) {
	n := internet(t)
	n.DNS.Mute(true)
	q := new(dns.Msg)
	q.SetQuestion("_user.remote.test.", dns.TypeTLSA)
	conn, err := dns.Dial("udp", n.DNS.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(conn.WriteMsg(q))
	for !n.DNS.Asked("_user.remote.test") {
		runtime.Gosched()
	}
	n.DNS.Mute(false)
	q.Id++
	must(conn.WriteMsg(q))
	reply, err := conn.ReadMsg()
	must(err)
	if reply.Id != q.Id {
		t.Error("it answered while it was mute")
	}
}

// TestDirectoryOfTheWorld: the gateway binds; who only looks sees the rootDSE.
func TestDirectoryOfTheWorld(t *testing.T) {
	n := internet(t)
	d, err := n.StartDirectory()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	roots := x509.NewCertPool()
	roots.AddCert(n.ServerCA.Certificate)
	config := &tls.Config{RootCAs: roots, ServerName: DirectoryName, Certificates: []tls.Certificate{n.Gateway.TLSCertificate()}}
	c, err := DialDirectory(t.Context(), d.Addr(), config, true)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if code, err := c.BindPassword("cn=dancemta bridge", "secret"); code != resultAuthMethodUnknown || err != nil {
		t.Errorf("a password: %d %v", code, err)
	}
	if code, err := c.Bind(); code != resultSuccess || err != nil {
		t.Errorf("the gateway: %d %v", code, err)
	}
	// Bound, and yet nothing without saying for whom.
	if found, code, err := c.Search(DirectorySuffix, "(objectClass=*)"); code != resultUnwillingToPerform || err != nil || found != nil {
		t.Errorf("%v %d %v", found, code, err)
	}
	if code, err := c.Replace("cn=price list,ou=partner.test,"+DirectoryShared, "cn", "x"); code != resultUnwillingToPerform || err != nil {
		t.Errorf("%d %v", code, err)
	}
	if _, err := c.WhoAmI(); err == nil {
		t.Error("nobody is somebody")
	}
	d.Stop()
	if _, err := c.Bind(); err == nil {
		t.Error("a dead server answers")
	}
}

func TestResultText(t *testing.T) {
	for code, want := range map[int]string{0: "0 success", 49: "49 invalid credentials", 123: "123 authorization denied"} {
		if got := ResultText(code); got != want {
			t.Errorf("%d: %q", code, got)
		}
	}
}
