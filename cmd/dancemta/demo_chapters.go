package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"dancemta/internal/lab"
	"dancemta/queue"
)

const recipient = "ann@remote.test"

// message is a mail whose bytes nothing else in the demo has.
func message(from, subject string) string {
	return strings.Join([]string{
		"From: <" + from + ">", "To: <" + recipient + ">", "Subject: " + subject, "",
		"Hello, this is " + subject + ".", "..a line that began with a dot", "",
	}, "\r\n")
}

// device: usage 3, the whole way of one message, with a look into the store.
func (d *demo) device(ctx context.Context) error {
	d.out.say("     DNS: %s. IN %.40s…", d.net.Device.Owner, lab.TLSA(3, 1, 1, d.net.Device.Leaf()))
	d.net.Sink.Hold()
	defer d.net.Sink.Release()
	s, err := d.connect(ctx, "relay", &d.net.Device)
	if err != nil {
		return err
	}
	defer s.close()
	const from = "sensor7@partner.test"
	text := message(from, "the device's message")
	reply, err := s.send(from, recipient, text)
	if err != nil {
		return err
	}
	d.out.promise(strings.HasPrefix(reply, "250 2."), "the message was accepted: it is on disk")
	if err := d.net.Sink.WaitHeld(ctx, 1); err != nil {
		return fmt.Errorf("no delivery began: %w", err)
	}
	list, err := queueList(ctx, d.configPath())
	if err != nil {
		return err
	}
	d.out.promise(len(list) == 1 && strings.Contains(reply, string(list[0].ID)) && list[0].Identity == d.net.Device.Owner,
		"while it is being delivered, \"dancemta queue list\" shows it, with the identity that was proved")
	d.net.Sink.Release()
	return d.delivered(ctx, from, text, "(client dane "+d.net.Device.Owner+")", " with ESMTPS ")
}

// mailServer: usage 2.
func (d *demo) mailServer(ctx context.Context) error {
	d.out.say("     DNS: %s. IN %.40s…", d.net.MTA.Owner, lab.TLSA(2, 0, 1, d.net.MTA.Chain[1]))
	const from = "newsletter@partner.test"
	return d.relay(ctx, sending{"relay", &d.net.MTA, "", from, []string{"(client dane " + d.net.MTA.Owner + ")", " with ESMTPS "}})
}

// user: SASL EXTERNAL, and the limits of what it permits.
func (d *demo) user(ctx context.Context) error {
	d.out.say("     DNS: %s. IN %.40s…, the CA of the users of partner.test", d.net.Rick.Owner, lab.TLSA(2, 0, 1, d.net.Rick.Chain[1]))
	d.out.say("     certificate: dNSName partner.test, uid \"Rick\"")
	if err := d.relay(ctx, sending{"submission", &d.net.Rick, "AUTH EXTERNAL =", d.net.Rick.User, []string{" with ESMTPSA "}}); err != nil {
		return err
	}
	s, err := d.connect(ctx, "submission", &d.net.Rick)
	if err != nil {
		return err
	}
	defer s.close()
	reply, err := s.quiet("AUTH EXTERNAL =")
	if err != nil || !strings.HasPrefix(reply, "235 ") {
		return fmt.Errorf("second login: %q, %w", reply, err)
	}
	reply, err = s.say("MAIL FROM:<boss@partner.test>")
	d.out.promise(strings.HasPrefix(reply, "553 5.7.1"), "rick cannot send as somebody else")
	return err
}

// sending is one message that must be taken and delivered.
type sending struct {
	listener string
	client   *lab.Client
	login    string // said first; "" where the certificate is enough
	from     string
	trace    []string // what the Received line must say
}

// relay sends one message and follows it.
func (d *demo) relay(ctx context.Context, m sending) error {
	s, err := d.connect(ctx, m.listener, m.client)
	if err != nil {
		return err
	}
	defer s.close()
	if m.login != "" {
		reply, err := s.say(m.login)
		if err != nil {
			return err
		}
		d.out.promise(strings.HasPrefix(reply, "235 2.7.0"), "%s is logged in, without a password", m.client.User)
	}
	text := message(m.from, "the message of "+m.from)
	reply, err := s.send(m.from, recipient, text)
	if err != nil {
		return err
	}
	d.out.promise(strings.HasPrefix(reply, "250 2."), "the message was accepted")
	return d.delivered(ctx, m.from, text, m.trace...)
}

// delivered waits for a message in the sink and checks envelope, trace and bytes.
func (d *demo) delivered(ctx context.Context, from, text string, trace ...string) error {
	d.sent++
	m, err := d.net.Sink.Wait(ctx, func(m lab.Message) bool { return bytes.HasSuffix(m.Data, []byte(text)) })
	if err != nil {
		return fmt.Errorf("the message did not reach the sink: %w\n%s", err, d.server.text())
	}
	d.out.promise(m.From == from && len(m.To) == 1 && m.To[0] == recipient, "the mail server of remote.test has it, byte for byte, from <%s>", from)
	received, _, _ := strings.Cut(unfold(string(m.Data)), "\r\n")
	held := strings.HasPrefix(received, "Received: from ")
	for _, t := range trace {
		held = held && strings.Contains(received, t)
	}
	d.out.promise(held, "%s", received)
	return nil
}

// unfold joins the continuation lines of a header (RFC 5322 2.2.3).
func unfold(header string) string {
	return strings.NewReplacer("\r\n\t", " ", "\r\n ", " ").Replace(header)
}

// refusal is one client that must not relay, and the reply it must get.
type refusal struct {
	client   *lab.Client
	listener string
	lines    []string // the last one is the one that is refused
	reply    string
	why      string
}

func (d *demo) refusals(ctx context.Context) error {
	relay := func(domain string) []string {
		return []string{"MAIL FROM:<someone@" + domain + ">", "RCPT TO:<" + recipient + ">"}
	}
	for _, r := range []refusal{
		{&d.net.Wrong, "relay", relay("partner.test"), "550 5.7.1", "the right name, but another key than the record's"},
		{&d.net.Unsigned, "relay", relay("unsigned.test"), "550 5.7.1", "a perfect record, but the zone is not signed"},
		{&d.net.Bogus, "relay", relay("bogus.test"), "451 4.7.5", "a perfect record with a wrong signature: temporary, it may be mended"},
		{&d.net.Eve, "submission", []string{"AUTH EXTERNAL ="}, "535 5.7.8", "a key published with usage 3 at _user could sign itself any uid: never a user"},
		{nil, "relay", relay("partner.test"), "550 5.7.1", "no certificate: nobody relays anonymously"},
		{nil, "submission", relay("partner.test")[:1], "530 5.7.0", "submission needs a login"},
	} {
		if err := d.refuse(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) refuse(ctx context.Context, r refusal) error {
	s, err := d.connect(ctx, r.listener, r.client)
	if err != nil {
		return err
	}
	defer s.close()
	var reply string
	for _, line := range r.lines {
		if reply, err = s.say(line); err != nil {
			return err
		}
	}
	d.out.promise(strings.HasPrefix(reply, r.reply), "%s: %s", r.reply, r.why)
	return nil
}

// allowList: the name is fresh and random, so that no cache can hide a query.
func (d *demo) allowList(ctx context.Context) error {
	c := d.net.Random
	r := refusal{&c, "relay", []string{"MAIL FROM:<someone@stranger.test>", "RCPT TO:<" + recipient + ">"}, "550 5.7.1", "its record is perfect, but no rule names it"}
	if err := d.refuse(ctx, r); err != nil {
		return err
	}
	d.out.promise(d.net.DNS.Asked(d.net.Device.Owner), "the name servers' log has the queries for %s", d.net.Device.Owner)
	d.out.promise(!d.net.DNS.Asked(c.Owner) && !d.net.DNS.Asked("stranger.test"), "and none for %s", c.Owner)
	return nil
}

// kill: between acceptance and delivery, while the next hop is down.
func (d *demo) kill(ctx context.Context) error {
	// What is still being settled would be delivered again, as it must be.
	if err := d.queueEmpty(ctx); err != nil {
		return err
	}
	d.net.Sink.Stop()
	s, err := d.connect(ctx, "relay", &d.net.Device)
	if err != nil {
		return err
	}
	defer s.conn.Close()
	const from = "sensor7@partner.test"
	text := message(from, "the message that survives")
	reply, err := s.send(from, recipient, text)
	if err != nil {
		return err
	}
	d.out.promise(strings.HasPrefix(reply, "250 2."), "accepted, while the mail server of remote.test is down")
	d.server.kill()
	d.out.say("     kill -9")
	list, err := queueList(ctx, d.configPath())
	if err != nil {
		return err
	}
	d.out.promise(len(list) == 1 && strings.Contains(reply, string(list[0].ID)) && waiting(list[0]), "the server is dead; the message is in its store")
	if err := d.net.Sink.Restart(); err != nil {
		return err
	}
	next, err := startChild(context.WithoutCancel(ctx), d.configPath())
	if err != nil {
		return err
	}
	d.server = next
	d.out.say("     the server and remote.test are started again")
	return d.delivered(ctx, from, text, "(client dane "+d.net.Device.Owner+")")
}

func waiting(s queue.Summary) bool {
	return len(s.Recipients) == 1 && (s.Recipients[0].State == "queued" || s.Recipients[0].State == "deferred")
}

// nothingElse: whatever was refused is nowhere.
func (d *demo) nothingElse(ctx context.Context) error {
	err := d.queueEmpty(ctx)
	d.out.promise(err == nil, "the queue is empty")
	d.out.promise(len(d.net.Sink.Messages()) == d.sent, "the mail server of remote.test has the %d messages of above and no other", d.sent)
	return nil
}

// queueEmpty waits until the last outcome is written down: the sink has a
// message a moment before.
func (d *demo) queueEmpty(ctx context.Context) error {
	for {
		list, err := queueList(ctx, d.configPath())
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
	}
}
