# swaks plays a device and an MTA whose CA is published with usage 2, and a stranger
# without a certificate. It sends the certificate alone; the chain is completed by
# OpenSSL from the trusted CAs.
. ../lib.sh

swaks --server 127.0.0.1 --port "$RELAY" --ehlo sensor7 --tls \
	--tls-cert "$PKI/device.pem" --tls-key "$PKI/device.key" \
	--from sensor7@partner.test --to ann@remote.test --header 'Subject: story device' > "$WORK/device" 2>&1 ||
	{ cat "$WORK/device"; fail "the device could not relay"; }
file=$(delivered 'Subject: story device')
expect 'client dane sensor7._device.partner.test' "$file"

swaks --server 127.0.0.1 --port "$RELAY" --ehlo mta.partner.test --tls \
	--tls-cert "$PKI/mta.pem" --tls-key "$PKI/mta.key" --tls-ca-path "$PKI/mta-ca.pem" \
	--from newsletter@partner.test --to ann@remote.test --header 'Subject: story swaks' > "$WORK/mta" 2>&1 ||
	{ cat "$WORK/mta"; fail "the MTA could not relay"; }
file=$(delivered 'Subject: story swaks')
expect 'client dane _smtp-client.mta.partner.test' "$file"

swaks --server 127.0.0.1 --port "$RELAY" --ehlo stranger.test --tls \
	--from a@stranger.test --to ann@remote.test > "$WORK/stranger" 2>&1 && fail "a stranger could relay"
expect '550 5.7.1' "$WORK/stranger"

# The perfect record in an unsigned zone is worth nothing.
swaks --server 127.0.0.1 --port "$RELAY" --tls \
	--tls-cert "$PKI/unsigned.pem" --tls-key "$PKI/unsigned.key" \
	--from a@unsigned.test --to ann@remote.test > "$WORK/unsigned" 2>&1 && fail "an insecure TLSA record authenticated"
expect '550 5.7.1' "$WORK/unsigned"

# A bogus zone is trouble of the moment, not a refusal for good.
swaks --server 127.0.0.1 --port "$RELAY" --tls \
	--tls-cert "$PKI/bogus.pem" --tls-key "$PKI/bogus.key" \
	--from a@bogus.test --to ann@remote.test > "$WORK/bogus" 2>&1 && fail "a bogus TLSA record authenticated"
expect '451 4.7.5' "$WORK/bogus"
