package smtpd

import (
	"crypto/tls"
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
	"dancemta/queue"
)

func TestTraceField(t *testing.T) {
	date := time.Date(2026, 11, 24, 9, 5, 7, 0, time.FixedZone("", 3600))
	base := func() trace {
		return trace{helo: "mta.partner.test", peer: netip.MustParseAddr("192.0.2.7"), hostname: dnsname.MustParse("mx.example.test"),
			extended: true, id: "Q1", rcpts: queue.To(mailaddr.MustParse("a@remote.test")), date: date}
	}
	for _, c := range []struct {
		name   string
		change func(*trace)
		want   string
	}{
		{"plain", func(*trace) {},
			"Received: from mta.partner.test ([192.0.2.7])\r\n\tby mx.example.test with ESMTP id Q1\r\n\tfor <a@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"helo", func(t *trace) { t.extended = false },
			"Received: from mta.partner.test ([192.0.2.7])\r\n\tby mx.example.test with SMTP id Q1\r\n\tfor <a@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"client", func(t *trace) {
			t.secure, t.cipher, t.client = true, tls.TLS_AES_128_GCM_SHA256, dnsname.MustParse("_smtp-client.mta.partner.test")
		},
			"Received: from mta.partner.test ([192.0.2.7])\r\n\t(client dane _smtp-client.mta.partner.test)\r\n\tby mx.example.test with ESMTPS id Q1\r\n\tfor <a@remote.test>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"user, IPv6, two recipients", func(t *trace) {
			t.secure, t.cipher, t.auth = true, tls.TLS_AES_256_GCM_SHA384, true
			t.peer, t.helo = netip.MustParseAddr("2001:db8::1"), "[IPv6:2001:db8::1]"
			t.rcpts = append(t.rcpts, queue.To(mailaddr.MustParse("b@remote.test"))...)
		},
			"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby mx.example.test with ESMTPSA id Q1\r\n\ttls TLS_AES_256_GCM_SHA384;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"mapped IPv4, hostile helo, quoted recipient", func(t *trace) {
			t.peer = netip.MustParseAddr("::ffff:192.0.2.7")
			t.helo = "a) by evil with ESMTPSA id 0; x\r\nX: (client dane b)\x00\u00fc\""
			t.rcpts = queue.To(mailaddr.MustParse(`"a b"@remote.test`))
		},
			"Received: from abyevilwithESMTPSAid0xX:clientdaneb ([192.0.2.7])\r\n\tby mx.example.test with ESMTP id Q1\r\n\tfor <\"a b\"@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"SMTPUTF8", func(t *trace) {
			t.utf8, t.secure, t.cipher, t.auth = true, true, tls.TLS_AES_128_GCM_SHA256, true
			t.rcpts = queue.To(mailaddr.MustParse("jürgen@bücher.example"))
		},
			"Received: from mta.partner.test ([192.0.2.7])\r\n\tby mx.example.test with UTF8SMTPSA id Q1\r\n\tfor <jürgen@xn--bcher-kva.example>\r\n\ttls TLS_AES_128_GCM_SHA256;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"AUTH, and TLS has ended at a proxy", func(t *trace) { t.auth = true },
			"Received: from mta.partner.test ([192.0.2.7])\r\n\tby mx.example.test with ESMTPA id Q1\r\n\tfor <a@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"SMTPUTF8 in clear", func(t *trace) { t.utf8 = true },
			"Received: from mta.partner.test ([192.0.2.7])\r\n\tby mx.example.test with UTF8SMTP id Q1\r\n\tfor <a@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
		{"nothing known", func(t *trace) { t.peer, t.helo = netip.Addr{}, "\u00fc()" },
			"Received: from unknown (unknown)\r\n\tby mx.example.test with ESMTP id Q1\r\n\tfor <a@remote.test>;\r\n\tTue, 24 Nov 2026 09:05:07 +0100\r\n"},
	} {
		tr := base()
		c.change(&tr)
		got := tr.field()
		if got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
		m, err := mail.ReadMessage(strings.NewReader(got + "\r\n"))
		if err != nil || len(m.Header) != 1 {
			t.Errorf("%s: %v, header %v", c.name, err, m)
		}
	}
}

func TestHeloIsBounded(t *testing.T) {
	if got := cleanHelo(strings.Repeat("a", 5000)); len(got) != 255 {
		t.Errorf("%d octets", len(got))
	}
}
