// Package smtpd receives mail. Each listener is a smtpd/wire server, which owns
// sockets, TLS and line ends; above it go-smtp calls one session per connection
// and TLS phase, which decides by package policy and hands messages to a queue.
//
// Who a peer is comes from its TLS certificate alone. A client (an MTA, a
// device) is judged in a goroutine that begins at its first EHLO; its verdict is
// awaited when something depends on it: at the first recipient outside the relay
// domains, or at MAIL where a login is required. So ordinary inbound mail never
// waits for DNS, and no fault of a certificate can break it. A user logs in by
// AUTH EXTERNAL, or implicitly where the listener says so. An identity has an
// end and is judged again at the first MAIL after it, or after a reload.
//
// Start with Server (server.go), then session.go and its three parts: mail.go
// (a transaction), login.go (identities), trace.go (our Received field). Every
// reply is made in reply.go; judge.go turns errors into its answers.
package smtpd
