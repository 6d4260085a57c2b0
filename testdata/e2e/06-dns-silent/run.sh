# While the resolver is silent a client that nobody has asked for yet is put off, never refused
# for good, and mail by others goes on; when the resolver speaks again, the same client relays.
. ../lib.sh

kill -STOP "$UNBOUND"
trap 'kill -CONT "$UNBOUND"' EXIT

# attempt OUT: sends as the client that only this story knows.
attempt() {
	swaks --server 127.0.0.1 --port "$RELAY" --tls --tls-cert "$PKI/random.pem" --tls-key "$PKI/random.key" \
		--from a@stranger.test --to ann@remote.test --header 'Subject: story silence' > "$1" 2>&1
}

attempt "$WORK/silent" && fail "an unproved client could relay"
expect '451 4.7.5' "$WORK/silent"

swaks --server 127.0.0.1 --port "$RELAY" --tls --tls-cert "$PKI/device.pem" --tls-key "$PKI/device.key" \
	--from sensor7@partner.test --to ann@remote.test --header 'Subject: story meanwhile' > "$WORK/meanwhile" 2>&1 ||
	{ cat "$WORK/meanwhile"; fail "a client that is known already could not relay"; }
delivered 'Subject: story meanwhile' > /dev/null

kill -CONT "$UNBOUND"
deadline=$((SECONDS + 30))
until attempt "$WORK/again"; do # the failure is remembered for a moment
	expect '451 4.7.5' "$WORK/again"
	[ $SECONDS -lt $deadline ] || { cat "$WORK/again"; fail "still no"; }
	sleep 0.5
done
file=$(delivered 'Subject: story silence')
expect 'client dane _smtp-client.x' "$file"
