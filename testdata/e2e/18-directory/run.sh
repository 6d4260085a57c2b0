# Users of staff.test have passwords, which slapd knows; so it does their groups, their
# addresses, and the mailboxes of listed.test. swaks and msmtp log in by PLAIN.
. ../lib.sh

DIR=$WORK
SOCKET=$DIR/ldapi
mkdir -p "$DIR/db"
sed "s|DIR|$DIR|g; s|USER|$(id -u)|g" slapd.conf > "$DIR/slapd.conf"
slapadd -q -f "$DIR/slapd.conf" -l people.ldif > "$DIR/slapadd.log" 2>&1 || { cat "$DIR/slapadd.log"; fail slapadd; }

slapd_start() {
	slapd -d stats -f "$DIR/slapd.conf" -h "ldapi://${SOCKET//\//%2F}" >> "$DIR/slapd.log" 2>&1 &
	SLAPD=$!
	local deadline=$((SECONDS + 30))
	until ldapwhoami -x -H "ldapi://${SOCKET//\//%2F}" > /dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || { cat "$DIR/slapd.log" >&2; fail 'slapd does not start'; }
		sleep 0.05
	done
}
slapd_stop() {
	kill "$SLAPD"
	wait "$SLAPD" || true
}
slapd_start
trap 'kill $SLAPD 2> /dev/null || true' EXIT

# send USER PASSWORD FROM SUBJECT [ARGS...]: by swaks, over TLS; what was said is in $WORK/said.
send() {
	local user=$1 password=$2 from=$3 subject=$4
	shift 4
	swaks --server 127.0.0.1 --port "$SUBMISSION" --tls --helo staff.test --auth PLAIN --auth-user "$user" --auth-password "$password" \
		--from "$from" --h-From "$from" --to ann@remote.test --h-Subject "$subject" "$@" > "$WORK/said" 2>&1
}
refused() {
	local text=$1
	shift
	if send "$@"; then fail "$1 could send as $3"; fi
	expect "$text" "$WORK/said"
}

# Who has a password sends as himself, and as whom his entry says.
send ann@staff.test 'two words, ann' ann@staff.test 'story password, own'
expect 'with ESMTPSA' "$(delivered 'Subject: story password, own')"
send Ann@staff.test 'two words, ann' press@staff.test 'story password, listed'
delivered 'Subject: story password, listed' > /dev/null
refused '553 5.7.1 This sender address is not for ann@staff.test' ann@staff.test 'two words, ann' bob@staff.test forged
expect '"how":"plain"' "$LOG"
# He is none of the group that may write.
refused '550 5.7.1' bob@staff.test 'two words, bob' bob@staff.test group

cat > "$WORK/msmtprc" <<EOT
account default
host 127.0.0.1
port $SUBMISSIONS
tls on
tls_starttls off
tls_trust_file $PKI/server-ca.pem
tls_host_override mx.example.test
auth plain
user ann@staff.test
password two words, ann
EOT
chmod 600 "$WORK/msmtprc"
printf 'From: ann@staff.test\nTo: ann@remote.test\nSubject: story password by msmtp\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=ann@staff.test ann@remote.test
delivered 'Subject: story password by msmtp' > /dev/null

# One text for all who are not let in. An empty password, which slapd would take for
# nobody's and call a success, never reaches it.
binds() { grep -c 'BIND dn="uid=.*method=128' "$DIR/slapd.log" || true; }
before=$(binds)
for who in 'ann@staff.test|two words, bob' 'nobody@staff.test|two words, ann' 'ann@staff.test|'; do
	printf 'EHLO staff.test\r\nAUTH PLAIN %s\r\nQUIT\r\n' "$(printf '\0%s\0%s' "${who%|*}" "${who#*|}" | base64 -w 0)" |
		openssl s_client -quiet -ign_eof -connect "127.0.0.1:$SUBMISSIONS" > "$WORK/peer" 2> /dev/null || true
	sed -n 's/.*535 5/535 5/p' "$WORK/peer" | sed 's/ \[.*//' >> "$WORK/texts"
done
[ "$(sort "$WORK/texts" | uniq -c | sed 's/^ *//')" = '3 535 5.7.8 Authentication failed' ] || { cat "$WORK/texts" "$WORK/peer"; fail 'not one text'; }
[ "$(binds)" = $((before + 1)) ] || fail "$(binds) binds, and $before before: one of three was to be tried"

# Where PLAIN is not offered: in clear, to relays, beside a certificate. LOGIN is nowhere.
offered() { swaks --server 127.0.0.1 --helo staff.test --quit-after FIRST-EHLO "$@" 2>&1 | grep -o 'AUTH .*' || true; }
secured() { swaks --server 127.0.0.1 --helo staff.test --quit-after EHLO --tls "$@" 2>&1 | grep -o 'AUTH .*' || true; }
[ "$(offered --port "$SUBMISSION")" = '' ] || fail 'offered in clear'
[ "$(secured --port "$RELAY")" = '' ] || fail 'offered to relays'
[ "$(secured --port "$SUBMISSION")" = 'AUTH PLAIN' ] || fail 'not offered'
[ "$(secured --port "$SUBMISSION" --tls-cert "$PKI/rick.pem" --tls-key "$PKI/rick.key")" = 'AUTH EXTERNAL' ] || fail 'offered beside a certificate'

# Mailboxes that are there, and that are not.
rcpt() { swaks --server 127.0.0.1 --port "$RELAY" --helo staff.test --from x@remote.test --quit-after RCPT --to "$1" > "$WORK/said" 2>&1; }
rcpt info@listed.test
if rcpt nobody@listed.test; then fail 'nobody@listed.test has a mailbox'; fi
expect '550 5.1.1' "$WORK/said"

"$DANCEMTA" check --config "$PKI/../config.toml" > "$WORK/check" || true
expect 'answers, and lets us search' "$WORK/check"
"$DANCEMTA" explain sender ann@staff.test press@staff.test ann@remote.test --proved password --config "$PKI/../config.toml" > "$WORK/explained"
expect press@staff.test "$WORK/explained"
expect writers "$WORK/explained"

# While it is away nobody is refused for good; then all is well again.
slapd_stop
refused '454 4.7.0' ann@staff.test 'two words, ann' ann@staff.test away
if rcpt other@listed.test; then fail 'a mailbox that nobody knows'; fi
expect '450 4.4.1' "$WORK/said"
slapd_start
deadline=$((SECONDS + 30))
until send ann@staff.test 'two words, ann' ann@staff.test 'story password, again'; do
	[ $SECONDS -lt $deadline ] || { cat "$WORK/said"; fail 'slapd is back, and nobody notices'; }
	sleep 0.1
done
delivered 'Subject: story password, again' > /dev/null

if grep -qF 'two words' "$LOG" || grep -qF "$(printf '\0ann@staff.test\0two words, ann' | base64 -w 0)" "$LOG"; then fail 'a password is in the log'; fi
