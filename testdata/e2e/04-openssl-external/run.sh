# openssl s_client walks both SASL forms of EXTERNAL by hand, on STARTTLS and on implicit TLS,
# and learns that nobody logs in below TLS 1.3.
. ../lib.sh

# dialog OUT ARGS...: feeds standard input to s_client, a line at each prompt of the server.
dialog() {
	local out=$1 cert=$2
	shift 2
	# -ign_eof keeps the connection until the server closes it after QUIT.
	openssl s_client -quiet -ign_eof -crlf -CAfile "$PKI/server-ca.pem" -verify_return_error \
		-servername mx.example.test -cert "$PKI/$cert.pem" -key "$PKI/$cert.key" "$@" > "$out" 2> "$out.err" ||
		{ cat "$out" "$out.err"; fail "s_client $*"; }
}

message='MAIL FROM:<rick@partner.test>
RCPT TO:<ann@remote.test>
DATA
Subject: story openssl %s

Hello
.
QUIT
'
# Commands that end a pipelining group must wait for their reply; s_client cannot, so a
# pause stands in for it.
slowly() {
	while IFS= read -r line; do
		printf '%s\n' "$line"
		sleep 0.2
	done
}

{ printf 'EHLO laptop\nAUTH EXTERNAL =\n'; printf "$message" initial; } | slowly |
	dialog "$WORK/initial" rick -starttls smtp -connect "127.0.0.1:$SUBMISSION"
expect '235 2.7.0' "$WORK/initial"
delivered 'Subject: story openssl initial' > /dev/null

{ printf 'EHLO laptop\nAUTH EXTERNAL\n\n'; printf "$message" challenge; } | slowly |
	dialog "$WORK/challenge" rick -connect "127.0.0.1:$SUBMISSIONS"
expect '235 2.7.0' "$WORK/challenge"
delivered 'Subject: story openssl challenge' > /dev/null

{ printf 'EHLO laptop\nAUTH EXTERNAL %s\nQUIT\n' "$(printf 'rick@partner.test' | base64)"; } | slowly |
	dialog "$WORK/authzid" rick -connect "127.0.0.1:$SUBMISSIONS"
expect '235 2.7.0' "$WORK/authzid"

{ printf 'EHLO laptop\nAUTH EXTERNAL\n*\nAUTH EXTERNAL =\nQUIT\n'; } | slowly |
	dialog "$WORK/cancel" rick -connect "127.0.0.1:$SUBMISSIONS"
expect '501 5.7.0' "$WORK/cancel"
expect '235 2.7.0' "$WORK/cancel"

printf 'EHLO laptop\nAUTH EXTERNAL =\nMAIL FROM:<rick@partner.test>\nQUIT\n' | slowly |
	dialog "$WORK/tls12" rick -tls1_2 -connect "127.0.0.1:$SUBMISSIONS"
expect '504 5.5.4' "$WORK/tls12"
expect '530 5.7.0' "$WORK/tls12"
if grep -q '^250.AUTH' "$WORK/tls12"; then fail "AUTH was announced below TLS 1.3"; fi
