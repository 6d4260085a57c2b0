package daneclient_test

import (
	"context"
	"testing"
	"testing/synctest"

	"dancemta/daneclient"
	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
)

// held is a resolver that gives its answer when it is told to.
type held struct {
	asked  chan struct{}
	answer chan dnssec.Answer
}

func (h *held) Lookup(context.Context, dnsname.Name, dnssec.Type) dnssec.Answer {
	h.asked <- struct{}{}
	return <-h.answer
}

// What was proved under trust anchors that are gone proves nobody any more,
// neither from the cache nor by a lookup that was under way.
func TestForget(t *testing.T) {
	cred := selfSigned(device)
	perfect := secure(publish(t, 3, 1, 1, cred.Chain[0]))
	synctest.Test(t, func(t *testing.T) {
		dns := &held{make(chan struct{}), make(chan dnssec.Answer)}
		v := verifier(t, daneclient.Options{Resolver: dns})
		ask := func() chan error {
			result := make(chan error, 1)
			go func() { _, err := v.Client(t.Context(), cred, anyName); result <- err }()
			return result
		}
		first := ask()
		<-dns.asked
		v.Forget()
		second := ask()
		synctest.Wait()
		select {
		case <-dns.asked:
		default:
			t.Fatal("waits for the lookup of before")
		}
		dns.answer <- perfect
		dns.answer <- perfect
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := <-second; err != nil {
			t.Error(err)
		}
		if err := <-ask(); err != nil { // from the cache
			t.Error(err)
		}
		v.Forget()
		third := ask()
		<-dns.asked
		dns.answer <- dnssec.Answer{State: dnssec.Bogus}
		if err := <-third; reasonOf(t, err) != daneclient.BogusDNS {
			t.Errorf("after Forget: %v", err)
		}
	})
}
