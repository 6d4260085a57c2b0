package smtpd

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/msgauth"
)

// fickleKey signs until it is broken.
type fickleKey struct {
	ed25519.PrivateKey
	broken atomic.Bool
}

func (k *fickleKey) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if k.broken.Load() {
		return nil, errors.New("the key cannot be read any more: /etc/secret")
	}
	return k.PrivateKey.Sign(r, digest, o)
}

// signing is a world that has keys for three domains.
func signing(t *testing.T) (*world, *fickleKey) {
	k := &fickleKey{PrivateKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	var o msgauth.Options
	for _, domain := range []string{"partner.test", "example.test", "evil.test"} {
		o.Keys = append(o.Keys, msgauth.Key{Domain: dnsname.MustParse(domain), Selector: dnsname.MustParse("s"), Key: k})
	}
	s, err := msgauth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.Signer = func() *msgauth.Signer { return s } })
	verified(w.verifier, start.Add(time.Hour))
	w.anyAuthor()
	return w, k
}

// TestSigned: who gets a signature, and whose.
func TestSigned(t *testing.T) {
	for _, c := range []struct {
		name, listener string
		peer           fakePeer
		login          bool
		sender, to     string
		from, want     string // of the header; the domain that signs
	}{
		{"user", "sub", userPeer("rick"), true, "rick@partner.test", "a@remote.test", "rick@partner.test", "partner.test"},
		{"user, to a relay domain", "sub", userPeer("rick"), true, "rick@partner.test", "info@example.test", "RICK@partner.test", "partner.test"},
		{"user by his certificate alone", "subs", userPeer("rick"), false, "rick@partner.test", "a@remote.test", "rick@partner.test", "partner.test"},
		{"user as another", "sub", userPeer("rick"), true, "rick@partner.test", "a@remote.test", "robin@partner.test", ""},
		{"user as another, beside himself", "sub", userPeer("rick"), true, "rick@partner.test", "a@remote.test", "rick@partner.test, robin@partner.test", ""},
		{"user as somebody of a domain that we host", "sub", userPeer("rick"), true, "rick@partner.test", "a@remote.test", "info@example.test", ""},
		{"stranger", "mx", plainPeer(), false, "x@evil.test", "info@example.test", "x@evil.test", ""},
		{"stranger as one of ours", "mx", plainPeer(), false, "info@example.test", "info@example.test", "info@example.test", ""},
		{"client", "mx", clientPeer("sensor7._device.partner.test"), false, "rick@partner.test", "a@remote.test", "rick@partner.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := signing(t)
			k := w.talk(c.listener, c.peer)
			if c.login {
				k.expect("AUTH", k.auth(""), "235")
			}
			k.expect("MAIL", k.mail(c.sender), "250")
			k.expect("RCPT", k.rcpt(c.to), "250")
			message := "From: " + c.from + "\r\nSubject: x\r\n\r\nbody\r\n"
			k.expect("DATA", k.data(message), "250 2.6.0 queued as ")
			body := w.queue.messages()[0].body
			if top, _, _ := strings.Cut(body, "\r\nReceived: from peer.test "); c.login && c.to == "info@example.test" {
				if top != "Authentication-Results: mx.example.test;\r\n\tauth=pass smtp.auth=rick@partner.test" {
					t.Errorf("on top is %s", top)
				}
			} else if !strings.HasPrefix(body, "Received: ") {
				t.Errorf("queued was\n%s", body)
			}
			if !strings.HasSuffix(body, message) {
				t.Errorf("queued was\n%s", body)
			}
			if strings.Contains(body, " d="+c.want+";") != (c.want != "") || strings.Contains(body, "DKIM-Signature") != (c.want != "") {
				t.Errorf("want the signature of %q:\n%s", c.want, body)
			}
			if strings.Contains(w.log.String(), " signed="+c.want) != (c.want != "") {
				t.Errorf("the log is %s", w.log)
			}
		})
	}
}

// TestSigningFails: a message that cannot get its signature is refused for now, not
// sent without, and the peer does not hear why.
func TestSigningFails(t *testing.T) {
	w, key := signing(t)
	k := w.talk("subs", userPeer("rick"))
	send := func(message io.Reader) string {
		k.expect("MAIL", k.mail("rick@partner.test"), "250")
		k.expect("RCPT", k.rcpt("a@remote.test"), "250")
		defer k.Reset()
		return cut(text(k.Data(message)))
	}
	key.broken.Store(true)
	const message = "From: rick@partner.test\r\n\r\nbody\r\n"
	if got := send(strings.NewReader(message)); got != "451 4.3.0 Trouble on our side, try again later" {
		t.Error(got)
	}
	if !strings.Contains(w.log.String(), "the key cannot be read any more") {
		t.Errorf("the log is %s", w.log)
	}
	key.broken.Store(false)
	long := "From: rick@partner.test\r\nX: " + strings.Repeat("x", 300<<10) + "\r\n\r\nbody\r\n"
	if got := send(strings.NewReader(long)); got != "552 5.3.4 Header is too long" {
		t.Error(got)
	}
	if got := send(io.MultiReader(strings.NewReader(message), iotest.ErrReader(io.ErrUnexpectedEOF))); got != "451 4.3.0 Trouble on our side, try again later" {
		t.Error(got)
	}
	loop := strings.Repeat("Received: x\r\n", 101) + message
	if got := send(strings.NewReader(loop)); got != "554 5.4.6 Too many Received fields, this is a mail loop" {
		t.Error(got)
	}
	if n := len(w.queue.messages()); n != 0 {
		t.Errorf("%d messages were queued", n)
	}
	if got := send(strings.NewReader(message)); !strings.HasPrefix(got, "250 2.6.0") {
		t.Error(got)
	}
}
