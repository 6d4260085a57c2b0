// Package lab is a small Internet on loopback, for tests and for the demo: a
// signed DNS tree from the root down, a server that answers for it as a
// recursive resolver would, certificate authorities, and an SMTP sink that
// keeps what it was sent byte for byte.
//
// It signs and denies by code of its own, which shares nothing with the
// validator it is used to test, so that the two can disagree; ZoneFile writes
// the same zones for a real name server, and StartRealDNS runs nsd and unbound
// with them, so that strangers can judge both.
//
// Start with NewInternet for the ready-made world of the demo, or with
// NewWorld, AddZone, Zone.Add and World.Start for one of your own; then NewCA,
// SelfSigned and TLSA for certificates, StartSink for mail.
//
// The package is a tool for tests: a record that does not parse or a zone
// without a parent is a mistake in the caller's text, and panics.
package lab
