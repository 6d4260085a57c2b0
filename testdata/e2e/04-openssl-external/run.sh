# openssl s_client walks both SASL forms of EXTERNAL by hand, on STARTTLS and on implicit TLS,
# and learns that nobody logs in below TLS 1.3.
. ../lib.sh

# dialog NAME CERT ARGS...: sends standard input as CERT through s_client, each line when the
# reply to the one before is there ("<" only waits for a reply), and writes all replies to $WORK/NAME.
dialog() {
	local out=$WORK/$1 cert=$2 line last='' pid
	shift 2
	coproc CLIENT { exec openssl s_client -quiet -crlf -CAfile "$PKI/server-ca.pem" -verify_return_error \
		-servername mx.example.test -cert "$PKI/$cert.pem" -cert_chain "$PKI/$cert-ca.pem" \
		-key "$PKI/$cert.key" "$@" 2> "$out.err"; }
	pid=$CLIENT_PID
	: > "$out"
	while IFS= read -r line; do
		[ "$line" = '<' ] || printf '%s\n' "$line" >&"${CLIENT[1]}"
		# The lines of a message have no replies.
		case $last$line in 354*.) ;; 354*) continue ;; esac
		reply "$out" <&"${CLIENT[0]}"
	done
	wait "$pid" || { cat "$out" "$out.err" >&2; fail "s_client $*"; }
}

# reply OUT: appends one reply to OUT, and keeps its last line in $last.
reply() {
	while IFS= read -r -t 30 last; do
		last=${last%$'\r'}
		printf '%s\n' "$last" >> "$1"
		case $last in [0-9][0-9][0-9]' '*) return ;; esac
	done
	cat "$1" "$1.err" >&2
	fail 'no reply'
}

# message SUBJECT: the commands that send one.
message() {
	printf '%s\n' 'MAIL FROM:<rick@partner.test>' 'RCPT TO:<ann@remote.test>' DATA "Subject: $1" '' Hello . QUIT
}

# s_client has read the greeting of -starttls itself.
{ printf 'EHLO laptop\nAUTH EXTERNAL =\n'; message 'story openssl initial'; } |
	dialog initial rick -starttls smtp -connect "127.0.0.1:$SUBMISSION"
expect '250 AUTH EXTERNAL' "$WORK/initial"
expect '235 2.7.0' "$WORK/initial"
file=$(delivered 'Subject: story openssl initial')
expect 'with ESMTPSA' "$file"

{ printf '<\nEHLO laptop\nAUTH EXTERNAL\n\n'; message 'story openssl challenge'; } |
	dialog challenge rick -connect "127.0.0.1:$SUBMISSIONS"
expect '334 ' "$WORK/challenge"
expect '235 2.7.0' "$WORK/challenge"
delivered 'Subject: story openssl challenge' > /dev/null

authzid=$(printf 'rick@partner.test' | base64)
printf '%s\n' '<' 'EHLO laptop' "AUTH EXTERNAL $authzid" QUIT | dialog authzid rick -connect "127.0.0.1:$SUBMISSIONS"
expect '235 2.7.0' "$WORK/authzid"

printf '%s\n' '<' 'EHLO laptop' 'AUTH EXTERNAL' '*' 'AUTH EXTERNAL =' QUIT |
	dialog cancel rick -connect "127.0.0.1:$SUBMISSIONS"
expect '501 5.7.0' "$WORK/cancel"
expect '235 2.7.0' "$WORK/cancel"

printf '%s\n' '<' 'EHLO laptop' 'AUTH EXTERNAL =' 'MAIL FROM:<rick@partner.test>' QUIT |
	dialog tls12 rick -tls1_2 -connect "127.0.0.1:$SUBMISSIONS"
expect '504 5.5.4' "$WORK/tls12"
expect '530 5.7.0' "$WORK/tls12"
if grep -q '^250.AUTH.*EXTERNAL' "$WORK/tls12"; then fail "EXTERNAL was announced below TLS 1.3"; fi
