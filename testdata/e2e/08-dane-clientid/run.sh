# The table of client-auth 8.2, row by row: a client on OpenSSL tells, mistells or does not tell
# its name in the TLS handshake. In TLS 1.3 it has finished before the server judges, so that an
# alert comes with its first read.
. ../lib.sh

DEVICE=sensor7._device.partner.test
MTA=_smtp-client.mta.told.test
USER=_user.partner.test

hex() { printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'; }
# answer TYPE NAME: the whole extension in hex, for --raw.
answer() { printf '%s%04x%02x%s' "$1" $((${#2} + 1)) ${#2} "$(hex "$2")"; }
# named NAME: extension_data in hex, for octets that --name would not carry.
named() { printf '%02x%s' ${#1} "$(hex "$1")"; }

# row WHAT PORT WANT LOG CREDENTIAL [OPTION...]: the client's last word from the server begins
# with WANT, an alert or a reply; the server's log says LOG meanwhile. "-" is no credential.
row() {
	local what=$1 port=$2 want=$3 log=$4 credential=$5 mark deadline=$((SECONDS + 10))
	shift 5
	[ "$credential" = - ] || set -- --cert "$credential.pem" --key "$credential.key" "$@"
	mark=$(($(wc -l < "$LOG") + 1))
	case $port in
	"$SUBMISSION") printf 'EHLO peer.test\nAUTH EXTERNAL =\n' ;;
	"$SUBMISSIONS") printf '<\nEHLO peer.test\nAUTH EXTERNAL =\n' ;;
	*) printf 'EHLO peer.test\nMAIL FROM:<a@partner.test>\nRCPT TO:<ann@remote.test>\n' ;;
	esac > "$WORK/dialog"
	[ "$port" = "$SUBMISSIONS" ] || set -- --starttls "$@"
	"$PEER" client "127.0.0.1:$port" "$@" < "$WORK/dialog" > "$WORK/out" 2>&1 || { cat "$WORK/out" >&2; fail "$what"; }
	case $(grep '^[<a]' "$WORK/out" | tail -n 1) in
	"$want"*) ;;
	*) cat "$WORK/out" >&2; fail "$what: not $want" ;;
	esac
	until tail -n "+$mark" "$LOG" | grep -qF -- "$log"; do
		[ $SECONDS -lt $deadline ] || { tail -n "+$mark" "$LOG" >&2; fail "$what: $log is not in the log"; }
		sleep 0.1
	done
}
relays='<250 ' refused='<550 5.7.1 ' login='<235 ' late='<451 4.7.5 '
handshake_failure='alert 40 ' illegal='alert 47 ' decode='alert 50 ' version='alert 70 ' unsupported='alert 110 ' required='alert 116 '

# What goes over the wire, literally: the request is a name of no octets, not no octets at all.
row 'a device' "$RELAY" "$relays" "\"identity\":\"$DEVICE\",\"source\":\"extension\"" "$PKI/device" --name "$DEVICE"
expect ffdc000100 <(grep '^message 13 ' "$WORK/out")
expect 'extension 0 00' "$WORK/out"
expect 'handshake TLSv1.3' "$WORK/out"
row 'a server that takes names from certificates alone' "$UNASKED" "$relays" '"source":"certificate"' "$PKI/device"
if grep -q '^extension\|ffdc' "$WORK/out"; then fail 'it asks for a name all the same'; fi

# Proved.
row 'nothing else counts'   "$ONLY"   "$relays" "$DEVICE" "$PKI/device" --name "$DEVICE"
row 'a name is required'    "$STRICT" "$relays" "$DEVICE" "$PKI/device" --name "$DEVICE"
row 'in upper case'         "$ABORT"  "$relays" "\"$DEVICE\"" "$PKI/device" --name "${DEVICE^^}"
row 'usage 2 and its name'  "$ABORT"  "$relays" "\"$MTA\",\"source\":\"extension\",\"tlsa\":\"2 0 1" "$WORK/mta" --name "$MTA"
row 'a user'                "$SUBMISSION"  "$login" rick@partner.test "$PKI/rick" --name "$USER"
row 'a user, TLS at once'   "$SUBMISSIONS" "$login" rick@partner.test "$PKI/rick" --name "$USER"

# No name.
row 'the certificate speaks'          "$RELAY"  "$relays"  '"source":"certificate"' "$PKI/mta"
row 'it speaks where failures abort'  "$ABORT"  "$relays"  '"source":"certificate"' "$PKI/mta"
row 'it does not count'               "$ONLY"   "$refused" no-name "$PKI/mta"
row 'a name is mandatory'             "$STRICT" "$handshake_failure" 'no dane_clientid' "$PKI/mta"
row 'an identity is mandatory'        "$PROVED" "$relays"  '"source":"certificate"' "$PKI/mta"
row 'it proves nobody, shared port'   "$ABORT"  "$refused" no-match "$PKI/wrong"
row 'it proves nobody, and must'      "$PROVED" "$handshake_failure" no-match "$PKI/wrong"
row 'no certificate, hence no place'  "$RELAY"  "$refused" rejected - --name "$DEVICE"
row 'a certificate is mandatory'      "$STRICT" "$required" 'handshake failed' - --name "$DEVICE"
row 'TLS 1.2 is nobody'               "$RELAY"  "$refused" rejected "$PKI/device" --name "$DEVICE" --tls12
row 'TLS 1.2, an identity is mandatory' "$PROVED" "$version" 'handshake failed' "$PKI/device" --name "$DEVICE" --tls12
if grep -q '^handshake' "$WORK/out"; then fail 'TLS 1.2 was negotiated'; fi
row 'TLS 1.2, a name is mandatory'    "$STRICT" "$version" 'handshake failed' "$PKI/device" --name "$DEVICE" --tls12

# In another entry than the first the name is not read; the same one in the first was taken above.
row 'in the CA'"'"'s entry'           "$ONLY"   "$refused" no-name "$WORK/mta" --name "$MTA" --entry 1
row 'in the CA'"'"'s entry, required' "$STRICT" "$handshake_failure" 'no dane_clientid' "$WORK/mta" --name "$MTA" --entry 1

# Rows that end the handshake whatever the policy is.
for port in "$RELAY" "$ABORT" "$ONLY" "$SUBMISSIONS"; do
	row 'zero length'             "$port" "$handshake_failure" 'empty ClientName' "$PKI/device" --data 00
	expect 'handshake TLSv1.3' "$WORK/out" # the refusal is late, and arrives
	row 'no octets, an old form'  "$port" "$handshake_failure" 'empty ClientName' "$PKI/device" --data ''
	row 'length too large'        "$port" "$decode" 'malformed dane_clientid' "$PKI/device" --data 4073686f7274
	row 'length too small'        "$port" "$decode" 'malformed dane_clientid' "$PKI/device" --data "$(named "$DEVICE")00"
	row 'octets behind no name'   "$port" "$decode" 'malformed dane_clientid' "$PKI/device" --data 0061
	row 'half an extension'       "$port" "$decode" 'handshake failed' "$PKI/device" --name "$DEVICE" --raw ffdc00
	row 'twice'                   "$port" "$illegal" 'duplicate extension' "$PKI/device" --name "$DEVICE" --raw "$(answer ffdc "$DEVICE")"
	row 'twice, other names'      "$port" "$illegal" 'duplicate extension' "$PKI/device" --name "$DEVICE" --raw "$(answer ffdc other.test)"
	row 'twice in a later entry'  "$port" "$illegal" 'duplicate extension' "$WORK/mta" --name "$MTA" --entry 1 --raw "$(answer ffdc "$MTA")"
	row 'an extension not asked for' "$port" "$unsupported" 'not requested' "$PKI/device" --name "$DEVICE" --raw ffdd000100
	row 'the same in a later entry'  "$port" "$unsupported" 'not requested' "$WORK/mta" --entry 1 --raw ffdd000100
done
row 'told without being asked'  "$UNASKED" "$unsupported" 'not requested' "$PKI/device" --raw "$(answer ffdc "$DEVICE")"
row 'usage 2 and another name'  "$RELAY" "$handshake_failure" name-mismatch "$PKI/mta" --name _smtp-client.mta.partner.test
row 'a user of another domain'  "$SUBMISSION" "$handshake_failure" name-mismatch "$PKI/rick" --name _user.ee.test

# Rows that end it where dane_failure says so; elsewhere the client goes on as nobody.
# either WHAT REPLY LOG CREDENTIAL OPTION...
either() {
	local what=$1 reply=$2 log=$3
	shift 3
	row "$what" "$RELAY" "$reply" "$log" "$@"
	row "$what, aborting" "$ABORT" "$handshake_failure" "$log" "$@"
}
long=$(printf 'a%.0s' {1..63})
for name in a..b a. .a . 'a b.test' '\065.test' 'a\.b.test' 'rick@partner.test' '*.partner.test' "a$long.test" bücher.test; do
	name=$(LC_ALL=C; named "$name")
	either "the name $name" "$refused" bad-client-name "$PKI/device" --data "$name"
done
either '255 octets'     "$refused" bad-client-name "$PKI/device" --name "$long.$long.$long.$long"
either 'a NUL'          "$refused" bad-client-name "$PKI/device" --data 0361002e
either 'no rule'        "$refused" not-allowed   "$PKI/device" --name sensor7._device.elsewhere.test
either 'never a client' "$refused" forbidden-name "$PKI/device" --name _25._tcp.partner.test
either 'no record'      "$refused" no-record     "$PKI/device" --name sensor8._device.partner.test
either 'another key'    "$refused" no-match      "$PKI/wrong" --name "$DEVICE"
either 'unsigned zone'  "$refused" insecure      "$PKI/unsigned" --name _smtp-client.mta.unsigned.test
either 'bogus zone'     "$late"    bogus-dns     "$PKI/bogus" --name _smtp-client.mta.bogus.test
row 'a user by usage 3' "$SUBMISSION" '<535 5.7.8 ' 'login refused' "$PKI/eve" --name _user.ee.test
row 'a user under the name of a client' "$SUBMISSION" '<535 5.7.8 ' 'login refused' "$PKI/rick" --name "$DEVICE"
# The certificate alone would have been taken: a name told and refused is final.
row 'refused, though the certificate names a client' "$RELAY" "$refused" no-record "$PKI/device" --name sensor8._device.partner.test

# A whole message, by a name that only the handshake told.
printf '%s\n' 'EHLO mta' 'MAIL FROM:<a@told.test>' 'RCPT TO:<ann@remote.test>' DATA '+Subject: story told' + '+Hello' . QUIT |
	"$PEER" client "127.0.0.1:$ONLY" --starttls --cert "$WORK/mta.pem" --key "$WORK/mta.key" --name "$MTA" > "$WORK/message"
file=$(delivered 'Subject: story told')
expect "client dane $MTA" "$file"
