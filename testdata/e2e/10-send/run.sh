# Machines without a mail server send by dancemta send: a device by the name that it tells, a user
# by the name sendmail, through a relay that unbound's and nsd's records prove; and no server that
# they do not prove learns of a message.
. ../lib.sh

# send ARGUMENT...: with what every call needs; what it says is in $WORK/out.
send() {
	"$DANCEMTA" send --dns "$RESOLVER" --trust-anchors "$PKI/root.ds" "$@" > "$WORK/out" 2>&1
}

# refuses CODE TEXT ARGUMENT...: the exit code, and words of the error.
refuses() {
	local want=$1 text=$2 code=0
	shift 2
	send "$@" < "$WORK/mail" || code=$?
	[ "$code" = "$want" ] || { cat "$WORK/out" >&2; fail "exit code $code, not $want: $*"; }
	expect "$text" "$WORK/out"
}

device=(--cert "$PKI/device.pem" --key "$PKI/device.key")
told=(--client-name sensor7._device.partner.test)
printf 'From: sensor7@partner.test\nSubject: story send\n\n.\n..\nB\xe4r\n.\nlast line' > "$WORK/mail"

send --relay "mx.send.test:$RELAY" "${device[@]}" "${told[@]}" -v ann@remote.test < "$WORK/mail" ||
	{ cat "$WORK/out"; fail "the device could not send"; }
expect 'is told the name sensor7._device.partner.test' "$WORK/out"
file=$(delivered 'Subject: story send')
expect 'client dane sensor7._device.partner.test' "$file"
expect 'Message-ID: <' "$file"
printf '.\r\n..\r\nB\xe4r\r\n.\r\nlast line\r\n' > "$WORK/body"
sed '1,/^\r$/d' "$file" | cmp - "$WORK/body" || fail "the message was changed"
wait_for '"source":"extension"' "$LOG"

# By the MX of a domain, and by the certificate alone.
sed 's/story send/story domain/' "$WORK/mail" > "$WORK/mail2"
send --domain "send.test:$RELAY" "${device[@]}" ann@remote.test < "$WORK/mail2" ||
	{ cat "$WORK/out"; fail "no way by the MX"; }
file=$(delivered 'Subject: story domain')
expect 'client dane sensor7._device.partner.test' "$file"

# A user, as programs that know sendmail would do it.
ln -sf "$DANCEMTA" "$WORK/sendmail"
user() {
	"$WORK/sendmail" --dns "$RESOLVER" --trust-anchors "$PKI/root.ds" --cert "$PKI/rick.pem" --key "$PKI/rick.key" "$@"
}
printf 'From: Rick <rick@partner.test>\nTo: ann@remote.test\nBcc: bob@remote.test\nSubject: story sendmail\n\nHello\n' |
	user --relay "mx.send.test:$SUBMISSION" -t -i || fail "the user could not send"
file=$(delivered 'Subject: story sendmail')
expect 'with ESMTPSA' "$file"
if grep -q bob@ "$file"; then fail "a blind copy is seen"; fi
printf 'From: rick@partner.test\nTo: ann@remote.test\nSubject: story implicit\n\nHello\n' |
	user --relay "mx.send.test:$SUBMISSIONS" --tls implicit --auth external -oi -f rick@partner.test ann@remote.test ||
	fail "the user could not send over implicit TLS"
expect 'with ESMTPSA' "$(delivered 'Subject: story implicit')"

# Who is not what DNS says, and who is in no DNS that could be believed.
refuses 8 '550 5.7.1' --relay "mx.send.test:$RELAY" ann@remote.test
refuses 9 'no-match' --relay "false.send.test:$RELAY" "${device[@]}" ann@remote.test
refuses 9 'no-record' --relay "none.send.test:$RELAY" "${device[@]}" ann@remote.test
refuses 9 'not signed by DNSSEC' --domain "unsigned.test:$RELAY" "${device[@]}" ann@remote.test
refuses 9 'bogus' --domain "bogus.test:$RELAY" "${device[@]}" ann@remote.test
refuses 2 '-f' -q30m --relay "mx.send.test:$RELAY" ann@remote.test

# A CA decides on a relay without records, and on no other.
send --relay "mx.example.test:$RELAY" --tls-ca "$PKI/server-ca.pem" "${device[@]}" ann@remote.test < "$WORK/mail" ||
	{ cat "$WORK/out"; fail "no way by a CA"; }
refuses 9 'PKIX says' --relay "none.send.test:$RELAY" --tls-ca "$PKI/server-ca.pem" "${device[@]}" ann@remote.test
refuses 9 'no-match' --relay "false.send.test:$RELAY" --tls-ca "$PKI/server-ca.pem" "${device[@]}" ann@remote.test

# A relay on OpenSSL, which has the key that DNS says, and is told the name where it asks for it.
# peer OPTION...: one message goes there; what the relay sees is in $WORK/peer.
peer() {
	local server port
	: > "$WORK/peer"
	"$PEER" server --smtp --cert "$PKI/mx.pem" --key "$PKI/mx.key" "$@" > "$WORK/peer" 2>&1 &
	server=$!
	wait_for 'port ' "$WORK/peer"
	port=$(sed -n 's/^port //p' "$WORK/peer")
	send --relay "mx.send.test:$port" --tls implicit "${device[@]}" "${told[@]}" -f sensor7@partner.test ann@remote.test <<< 'Subject: story peer' ||
		{ cat "$WORK/out" "$WORK/peer" >&2; fail "not sent to the peer: $*"; }
	wait "$server" || { cat "$WORK/peer" >&2; fail "the peer: $*"; }
	expect '<RCPT TO:<ann@remote.test>' "$WORK/peer"
	expect '<Subject: story peer' "$WORK/peer"
}
name=1c$(printf sensor7._device.partner.test | od -An -v -tx1 | tr -d ' \n')
for form in 00 ''; do
	peer --data "$form"
	expect "extension 0 $name" "$WORK/peer"
done
for form in 0161 0000 05; do # no request for a name
	peer --data "$form"
	if grep '^extension 0 1c' "$WORK/peer" >&2; then fail "a name for a request of $form"; fi
done
# What that relay asks for is shown by a probe.
for form in 00 0161; do
	: > "$WORK/peer"
	"$PEER" server --smtp --cert "$PKI/mx.pem" --key "$PKI/mx.key" --data "$form" > "$WORK/peer" 2>&1 &
	server=$!
	wait_for 'port ' "$WORK/peer"
	"$DANCEMTA" probe "mx.send.test:$(sed -n 's/^port //p' "$WORK/peer")" --implicit --resolver "$RESOLVER" --trust-anchors "$PKI/root.ds" > "$WORK/probe" ||
		{ cat "$WORK/probe" "$WORK/peer" >&2; fail 'the probe'; }
	wait "$server"
	expect 'DANE: match by 3 1 1' "$WORK/probe"
	case $form in
	00) expect 'asks for a certificate, and for a name by dane_clientid' "$WORK/probe" ;;
	*) if grep dane_clientid "$WORK/probe" >&2; then fail "a request of $form is none"; fi ;;
	esac
	if grep '^extension 0 1c' "$WORK/peer" >&2; then fail 'a probe told a name'; fi
done
peer
if grep '^extension' "$WORK/peer" >&2; then fail 'a name that nobody asked for'; fi

# A server on OpenSSL that has another key than DNS says does not learn who is there.
openssl s_server -accept 127.0.0.1:0 -naccept 1 -cert "$PKI/mx.pem" -key "$PKI/mx.key" -verify 1 > "$WORK/s_server" 2>&1 < <(sleep 60) &
server=$!
trap 'kill $server 2> /dev/null || true' EXIT
wait_for 'ACCEPT ' "$WORK/s_server"
port=$(sed -n 's/^ACCEPT .*://p' "$WORK/s_server")
refuses 9 'no-match' --relay "false.send.test:$port" --tls implicit "${device[@]}" "${told[@]}" ann@remote.test
wait_for 'alert' "$WORK/s_server"
if grep -E 'EHLO|sensor7' "$WORK/s_server"; then fail "a false relay was told something"; fi
