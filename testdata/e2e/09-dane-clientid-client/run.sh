# A server on OpenSSL judges the octets of our client: it tells its name when asked for it, in
# either form of the request, in the first entry alone, and never otherwise.
. ../lib.sh

MTA=_smtp-client.mta.partner.test
# The extension of this name as it must be: its type, 30 octets of data, 29 of name.
told=001e1d5f736d74702d636c69656e742e6d74612e706172746e65722e74657374

# judge TYPE [OPTION...]: our client, whose extension has this number, meets a server with these
# options; what each of them says is in $WORK/client and $WORK/server.
judge() {
	local type=$1 server port
	shift
	: > "$WORK/server" # no port of an earlier one
	"$PEER" server --cert "$PKI/mx.pem" --key "$PKI/mx.key" "$@" > "$WORK/server" 2>&1 &
	server=$!
	wait_for 'port ' "$WORK/server"
	port=$(sed -n 's/^port //p' "$WORK/server")
	"$DANCEMTA" tell-name "127.0.0.1:$port" "$PKI/mta" "$type" "$MTA" > "$WORK/client" 2>&1 || true
	wait "$server" || { cat "$WORK/server" "$WORK/client" >&2; fail "the server: $*"; }
}

# silent TYPE: no extension of this number came, and the client is served.
silent() {
	expect '<hello' "$WORK/server"
	if grep "^message 11 .*$1\|^extension" "$WORK/server" >&2; then fail 'a name that nobody asked for'; fi
}

for form in 00 ''; do # client-auth 7, and the drafts before it
	judge 0xffdc --data "$form"
	expect 'asked true' "$WORK/client"
	expect "extension 0 ${told#????}" "$WORK/server"
	expect "ffdc$told" <(grep '^message 11 ' "$WORK/server")
	expect 'handshake TLSv1.3' "$WORK/server"
	expect '<hello' "$WORK/server"
	[ "$(grep -c '^extension' "$WORK/server")" = 1 ] || fail 'not in the first entry alone'
done

judge 0xffee --type 0xffee --data 00
expect "ffee$told" <(grep '^message 11 ' "$WORK/server")

judge 0xffdc
expect 'asked false' "$WORK/client"
silent ffdc
judge 0xffdc --type 0xffdd --data 00
expect 'asked false' "$WORK/client"
silent ffdc
judge 0xffdc --data 00 --tls12
expect 'handshake TLSv1.2' "$WORK/server"
silent ffdc

judge 0xffdc --data 00 --raw ffdc000100
expect 'alert 47 ' "$WORK/server"
judge 0xffdc --data 00 --raw ffdc00
expect 'alert 50 ' "$WORK/server"
