package dnssec_test

import (
	"context"
	"fmt"
	"time"

	"dancemta/daneclient/dnssec"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
)

// An answer is worth what its State says; look at that first.
func Example() {
	world := lab.NewWorld(time.Now())
	world.AddZone("test.", lab.ZoneOptions{})
	world.AddZone("partner.test.", lab.ZoneOptions{}).Add("sensor7._device TLSA 3 1 1 " +
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")
	server, err := world.Start("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer server.Close()
	anchors, err := dnssec.ParseAnchors(world.Anchor()) // outside the lab: leave Anchors nil
	if err != nil {
		panic(err)
	}

	resolver, err := dnssec.New(dnssec.Options{Upstreams: []string{server.Addr()}, Anchors: anchors})
	if err != nil {
		panic(err)
	}
	defer resolver.Close()
	answer := resolver.Lookup(context.Background(), dnsname.MustParse("sensor7._device.partner.test"), dnssec.TypeTLSA)
	switch answer.State {
	case dnssec.Secure:
		for _, r := range answer.TLSA {
			fmt.Println(r.Usage, r.Selector, r.Matching, len(r.Data), "octets")
		}
	case dnssec.Insecure:
		fmt.Println("not signed:", answer.Reason)
	default: // Bogus and Failed: try again later
		fmt.Println(answer.State, answer.Reason)
	}
	// Output: 3 1 1 32 octets
}
