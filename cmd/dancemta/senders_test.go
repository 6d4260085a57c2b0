//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/internal/lab"
)

// eximSender hands each message of $WORK/mail over while it is called, with the
// certificate that the message is named by, and says in $WORK/log/NAME what became of
// it. A key that it cannot read would be none.
const eximSender = `
mkdir -p /etc/exim4 /var/spool/exim /run/pki
chown Debian-exim /var/spool/exim
cp "$WORK"/pki/* /run/pki
touch /run/pki/none.pem /run/pki/none.key
chown -R Debian-exim /run/pki
for mail in "$WORK"/mail/*; do
	name=$(basename "$mail")
	set -- $name
	sed "s/@CERT@/$1/g; s/@PORT@/$2/; s/@PROTOCOL@/$3/" "$WORK/exim.conf" > /etc/exim4/exim4.conf
	rm -rf /var/spool/exim/db # no message waits for another one's trouble
	exim4 -odf -f "$4" "$5" < "$mail" > "$WORK/log/said" 2>&1 || cat "$WORK/log/said"
	mv "$WORK/log/exim.main" "$WORK/log/$name"
done
`

const eximSenderConf = `
primary_hostname = mta.partner.test
spool_directory = /var/spool/exim
log_file_path = $WORK/log/exim.%s
log_selector = +smtp_confirmation +tls_cipher +tls_certificate_verified
keep_environment =
never_users =
begin routers
reports:
  driver = redirect
  senders = :
  data = :blackhole:
  allow_fail
all:
  driver = manualroute
  route_data = 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = @PORT@
  protocol = @PROTOCOL@
  hosts_require_tls = *
  hosts_try_auth = *
  tls_verify_certificates = /run/pki/server-ca.pem
  tls_verify_cert_hostnames =
  tls_certificate = ${if eq{@CERT@}{none}{}{/run/pki/@CERT@.pem}}
  tls_privatekey = ${if eq{@CERT@}{none}{}{/run/pki/@CERT@.key}}
begin authenticators
cert:
  driver = external
  public_name = EXTERNAL
  client_send = ${if eq{@CERT@}{eve}{eve@ee.test}{rick@partner.test}}
begin retry
* * F,1h,1h
`

// eximMail is a message that Exim tries to hand over once.
type eximMail struct {
	cert, listener, sender string
	want                   string // in Exim's log
	named                  string // in the Received field of what arrived; "": nothing arrives
}

// A stock Exim shows its certificate as the MTA or device that it names, and logs in
// with a user's, by STARTTLS and by TLS from the first octet.
func TestStoriesEximSender(t *testing.T) {
	needCounterparts(t)
	n, err := lab.NewInternet(time.Now())
	must(t, err)
	t.Cleanup(func() { n.Close() })
	_, port, err := splitPort(n.Sink.Addr())
	must(t, err)
	path := writeConfig(t, fmt.Sprintf(demoConfig, n.DNS.Addr(), port)+"[[listener]]\nname = \"submissions\"\nkind = \"submissions\"\naddress = \"127.0.0.1:0\"\n")
	must(t, n.WritePKI(filepath.Dir(path)))
	relay := startServer(t, path)
	work := openDir(t, "log", "mail", "pki")
	must(t, n.WritePKI(filepath.Join(work, "pki")))
	writeOpen(t, filepath.Join(work, "exim.conf"), []byte(fill(eximSenderConf, map[string]string{"WORK": work})))

	mails := []eximMail{
		{"device", "relay", "sensor7@partner.test", `C="250 2.6.0 `, "client dane sensor7._device.partner.test"},
		{"mta", "relay", "ann@partner.test", `C="250 2.6.0 `, "client dane _smtp-client.mta.partner.test"},
		{"mta", "relay", "ann@elsewhere.test", "553 5.7.1", ""},
		{"wrong", "relay", "sensor7@partner.test", "550 5.7.1", ""},
		{"none", "relay", "sensor7@partner.test", "550 5.7.1", ""},
		{"unsigned", "relay", "ann@unsigned.test", "550 5.7.1", ""},
		{"bogus", "relay", "ann@bogus.test", "451 4.7.5", ""},
		{"rick", "submission", "rick@partner.test", `C="250 2.6.0 `, "ESMTPSA"},
		{"rick", "submissions", "rick@partner.test", `C="250 2.6.0 `, "ESMTPSA"},
		{"rick", "submissions", "boss@partner.test", "553 5.7.1", ""},
		{"eve", "submissions", "eve@ee.test", "530 5.7.0", ""}, // a usage 3 record is none for users
		{"none", "submission", "rick@partner.test", "530 5.7.0", ""},
	}
	for _, m := range mails {
		writeOpen(t, filepath.Join(work, "mail", m.file(t, relay)), []byte("From: "+m.sender+"\nSubject: "+m.subject()+"\n\nHello\n"))
	}
	runEximSender(t, work)
	wanted := 0
	for _, m := range mails {
		said, err := os.ReadFile(filepath.Join(work, "log", m.file(t, relay)))
		must(t, err)
		if !strings.Contains(string(said), m.want) || !strings.Contains(string(said), "CV=yes") && m.named != "" {
			t.Errorf("%+v: Exim's log lacks %q:\n%s", m, m.want, said)
		}
		if m.named == "" {
			continue
		}
		wanted++
		got, err := n.Sink.Wait(withTimeout(t), func(got lab.Message) bool { return bytes.Contains(got.Data, []byte("Subject: "+m.subject()+"\r\n")) })
		if err != nil || !bytes.Contains(got.Data, []byte(m.named)) {
			t.Errorf("%+v: %v\n%s", m, err, got.Data)
		}
	}
	if got := n.Sink.Messages(); len(got) != wanted {
		t.Errorf("%d messages arrived, want %d", len(got), wanted)
	}
}

// file is its name, which tells eximSender how to send it.
func (m eximMail) file(t *testing.T, relay *child) string {
	t.Helper()
	_, port, err := splitPort(relay.addresses[m.listener])
	must(t, err)
	protocol := "smtp"
	if m.listener == "submissions" {
		protocol = "smtps"
	}
	return fmt.Sprintf("%s %d %s %s ann@remote.test", m.cert, port, protocol, m.sender)
}

func (m eximMail) subject() string { return m.cert + " to " + m.listener + " as " + m.sender }

// runEximSender runs it to its end.
func runEximSender(t *testing.T, work string) {
	t.Helper()
	folder, err := filepath.Abs(counterparts)
	must(t, err)
	cmd := exec.CommandContext(withTimeout(t), "bash", filepath.Join(storyFolder, "counterparts", "inside.sh"), folder, work, "bash", "-euc", eximSender)
	cmd.Env = append(os.Environ(), "WORK="+work)
	cmd.WaitDelay = storyGrace
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}
