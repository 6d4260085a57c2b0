package daneclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dancemta/daneclient"
	"dancemta/internal/dnsname"
)

// enumName is the name of a telephone number in the DNS (RFC 6116 2.4): its
// digits backwards, each a label, below e164.arpa.
func enumName(number string) (dnsname.Name, error) {
	var labels []string
	for _, c := range number {
		if c >= '0' && c <= '9' {
			labels = append(labels, string(c))
		}
	}
	slices.Reverse(labels)
	return dnsname.ParseOwner(strings.Join(append(labels, "e164.arpa"), "."))
}

// A telephone is a client whose name stands below e164.arpa. It is an owner name
// like all others: the same parser takes it, and the same rules hold.
func Example_telephoneNumber() {
	internet := newExampleInternet() // zones and keys on loopback
	defer internet.close()

	ours := dnsname.MustParse("6.0.3.4.4.e164.arpa") // the numbers +44 306…
	for _, number := range []string{"+44 3069 990038", "+44 3069 990039", "+1 555 0100"} {
		name, err := enumName(number)
		if err != nil {
			panic(err)
		}
		allowed := func(n dnsname.Name) bool { return n.Within(ours) }
		client, err := internet.verifier.Match(context.Background(), name, internet.chain("telephone"), allowed)
		if e, ok := errors.AsType[*daneclient.Error](err); ok {
			fmt.Println(number, "is", name, "and", e.Reason)
			continue
		}
		fmt.Println(number, "is", client.Name)
	}
	// Output:
	// +44 3069 990038 is 8.3.0.0.9.9.9.6.0.3.4.4.e164.arpa
	// +44 3069 990039 is 9.3.0.0.9.9.9.6.0.3.4.4.e164.arpa and no-record
	// +1 555 0100 is 0.0.1.0.5.5.5.1.e164.arpa and not-allowed
}
