# haproxy before a listener, with headers of both versions; a proxy at which TLS ends
# and which tells users before a second one; and opendkim as a milter behind a third.
. ../lib.sh

one=$(free_port) two=$(free_port)
cat > "$WORK/haproxy.cfg" <<EOT
defaults
	mode tcp
	timeout connect 5s
	timeout client 30s
	timeout server 30s
listen one
	bind 127.0.0.1:$one
	server mx 127.0.0.1:$PROXIED send-proxy
listen two
	bind 127.0.0.1:$two
	server mx 127.0.0.1:$PROXIED send-proxy-v2 proxy-v2-options ssl,crc32c,unique-id
EOT
haproxy -db -f "$WORK/haproxy.cfg" > "$WORK/haproxy.log" 2>&1 &
balancer=$!
trap 'kill $balancer $signer $terminator 2> /dev/null || true' EXIT
signer= terminator=
wait_port "$one"
wait_port "$two"

# The address of the far side is 127.0.0.2, which only the header knows.
for port in "$one" "$two"; do
	swaks --server 127.0.0.1 --port "$port" --local-interface 127.0.0.2 --ehlo sensor7 --tls \
		--tls-cert "$PKI/device.pem" --tls-key "$PKI/device.key" \
		--from sensor7@partner.test --to ann@remote.test --header "Subject: story proxy $port" > "$WORK/swaks" 2>&1 ||
		{ cat "$WORK/swaks" "$WORK/haproxy.log"; fail "no mail through the proxy"; }
	file=$(delivered "Subject: story proxy $port")
	expect '([127.0.0.2])' "$file"
	expect 'client dane sensor7._device.partner.test' "$file"
done

# Without a header nothing is said, not even a greeting.
swaks --server 127.0.0.1 --port "$PROXIED" --timeout 5 --quit-after connect > "$WORK/direct" 2>&1 && fail "a greeting without a header"
expect 'not introduced' "$LOG"

# Where TLS ends at the proxy rick is told, and logs in by AUTH EXTERNAL all the same.
three=$(free_port)
/usr/bin/python3 terminator.py "$three" "$TOLD" "$PKI/mx.pem" "$PKI/mx.key" "$PKI/rick-ca.pem" rick@partner.test > "$WORK/terminator" 2>&1 &
terminator=$!
wait_port "$three"
cat > "$WORK/msmtprc" <<EOT
account default
host 127.0.0.1
port $three
tls on
tls_starttls off
tls_trust_file $PKI/server-ca.pem
tls_host_override mx.example.test
tls_cert_file $PKI/rick.pem
tls_key_file $PKI/rick.key
auth external
user rick@partner.test
EOT
chmod 600 "$WORK/msmtprc"
printf 'From: rick@partner.test\nTo: ann@remote.test\nSubject: story vouched\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=rick@partner.test ann@remote.test 2> "$WORK/msmtp" ||
	{ cat "$WORK/msmtp" "$WORK/terminator"; fail "rick, whom the proxy told, could not send"; }
expect 'with ESMTPA ' "$(delivered 'Subject: story vouched')"
expect '"how":"proxy"' "$LOG"
sed -i 's/^user .*/user morty@partner.test/' "$WORK/msmtprc"
printf 'Subject: forged\n\nHello\n' | msmtp --file="$WORK/msmtprc" --from=morty@partner.test ann@remote.test 2> "$WORK/forged" &&
	fail "rick@partner.test could log in as morty@partner.test"
expect '535 5.7.8' "$WORK/forged"
# Nobody is told of whom the proxy knows nothing, and AUTH is not offered to him.
swaks --server 127.0.0.1 --port "$three" --tlsc --from rick@partner.test --to ann@remote.test > "$WORK/nobody" 2>&1 && fail "nobody could send"
expect '530 5.7.0' "$WORK/nobody"
grep -q 'AUTH' "$WORK/nobody" && fail "AUTH is offered to nobody"

# A milter that signs what it sees, and says so in a field of its own.
opendkim-genkey --directory="$WORK" --bits=2048 --selector=milter --domain=stranger.test
cat > "$WORK/opendkim.conf" <<EOT
Syslog no
UserID $(id -un)
Socket local:$WORK/milter.sock
Domain stranger.test
Selector milter
KeyFile $WORK/milter.private
InternalHosts 127.0.0.0/8
Mode s
RequireSafeKeys no
LogWhy yes
EOT
swaks --server 127.0.0.1 --port "$FILTERED" --from a@stranger.test --to ann@inbound.test > "$WORK/away" 2>&1 && fail "mail passed a milter that is away"
expect '451 4.7.1 Refused for now by a filter' "$WORK/away"
opendkim -f -x "$WORK/opendkim.conf" > "$WORK/opendkim.log" 2>&1 &
signer=$!
for _ in $(seq 100); do [ -S "$WORK/milter.sock" ] && break; sleep 0.1; done
swaks --server 127.0.0.1 --port "$FILTERED" --from a@stranger.test --to ann@inbound.test \
	--header 'Subject: story milter' > "$WORK/filtered" 2>&1 || { cat "$WORK/filtered" "$WORK/opendkim.log"; fail "no mail through the milter"; }
file=$(delivered 'Subject: story milter')
expect 'DKIM-Signature: v=1' "$file"
# What it saw is what was delivered: its signature is good.
/usr/bin/python3 - "$file" "$WORK/milter.txt" <<'EOT' || fail "the milter's signature is not good"
import dkim, re, sys
message = re.sub(rb"\r?\n", b"\r\n", open(sys.argv[1], "rb").read())
record = "".join(re.findall(r'"([^"]*)"', open(sys.argv[2]).read())).encode()
sys.exit(not dkim.verify(message, dnsfunc=lambda name, timeout=5: record))
EOT
