package door

import "testing"

// Nothing that a stranger chose is advised to be typed into a shell.
func TestHarmless(t *testing.T) {
	for text, want := range map[string]bool{
		"user rick@partner.test":             true,
		"client _smtp-client.mx.example.org": true,
		"user $(reboot)@partner.test":        false,
		"user rick;x@partner.test":           false,
		"user 'rick@partner.test":            false,
		"user --config@partner.test":         false,
		"user j\u00fcrgen@partner.test":      false,
		"user rick@partner.test ":            false,
		"user a\nb@partner.test":             false,
		"":                                   false,
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
