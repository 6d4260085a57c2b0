// Package tlsa decides whether a certificate chain is what a TLSA RRset
// publishes. It is pure: no DNS, no clock, no knowledge of who is a client.
//
// Usage 3 (DANE-EE) pins the peer's own certificate or key: nothing else about
// the certificate matters, neither dates nor names. Usage 2 (DANE-TA) pins a CA
// that the peer sends in its chain: then dates, names, CA bits and path lengths
// all count. Usages 0 (PKIX-TA) and 1 (PKIX-EE) pin a CA or the leaf, too, and
// demand a path to roots that the caller trusts; without such roots they are
// unusable.
//
// Start with Usable, which drops the records that say nothing, then Match.
// Match says nothing about possession of the private key: the caller's TLS
// handshake must have proved that.
package tlsa
