// Package ldapbridge is a door for LDAP before a directory server: users of any
// domain bind with their certificates (SASL EXTERNAL), and what they then ask for is
// passed on to the real server, which decides by rights of its own.
//
// Who a peer is comes from its TLS certificate alone, by the same login as in SMTP
// (saslext). Package mapping says as whom he acts at the server and what he may ask
// for, package upstream has the connections to it and puts that identity on each
// operation. Here are sessions: binds, StartTLS, WhoAmI and the root DSE are answered
// by ourselves, everything else is forwarded or refused. Replies of the server are
// octets that are never looked into.
//
// One goroutine reads a client's requests, one at a time; replies of the server are
// written by the goroutine that read them there, so that a slow client holds up only
// himself.
//
// Start with Server (server.go), then conn.go (a connection), bind.go (identities) and
// operation.go (what is forwarded). Every result is made in result.go.
package ldapbridge
