# What a user sends leaves with two signatures that dkimpy finds right, by the records that nsd
# serves; what is changed on the way it finds wrong.
. ../lib.sh

cat > "$WORK/msmtprc" <<EOT
account default
host 127.0.0.1
port $SUBMISSION
tls on
tls_starttls on
tls_trust_file $PKI/server-ca.pem
tls_host_override mx.example.test
tls_cert_file $WORK/users/rick.pem
tls_key_file $WORK/users/rick.key
auth external
user rick@signed.test
EOT
chmod 600 "$WORK/msmtprc"

# send: the message on standard input, from rick to ann.
send() { msmtp --file="$WORK/msmtprc" --from=rick@signed.test ann@remote.test; }

# judge FILE: one line for each signature, "selector algorithm verdict".
judge() { /usr/bin/python3 verify.py "$1" "${RESOLVER%:*}" "${RESOLVER##*:}"; }

head='From: "Rick, C137" <rick@signed.test>\nTo: ann@remote.test\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n'
printf "$head"'Subject: story\n  dkim\n\nGr\303\274\303\237e \t from\n.\n\n\nhere \n\n\n' | send
file=$(delivered 'd=signed.test')
judge "$file" | sort > "$WORK/verdicts"
printf 'ed ed25519-sha256 ok\nrsa rsa-sha256 ok\n' | cmp - "$WORK/verdicts" || { cat "$WORK/verdicts" "$file"; fail "the signatures are not right"; }
wait_for '"signed":"signed.test"' "$LOG"

# changed NAME SED: what sed makes of the message is found wrong.
changed() {
	sed "$2" "$file" > "$WORK/changed"
	cmp -s "$file" "$WORK/changed" && fail "$1: nothing was changed"
	judge "$WORK/changed" > "$WORK/verdicts"
	if grep -q ' ok' "$WORK/verdicts"; then cat "$WORK/verdicts"; fail "$1 was not noticed"; fi
}
changed 'a body that goes on' '$a more\r'
changed 'another recipient' 's/^To: ann/To: bob/'
changed 'a second From' '1i From: eve@evil.test\r'
changed 'a second Subject' '1i Subject: pay me\r'
changed 'a Reply-To' '1i Reply-To: eve@evil.test\r'

# A body that is too large for memory, and one that is none.
{ printf "$head"'Subject: story large\n\n'; for _ in $(seq 5000); do echo 'All work and no play makes Jack a dull boy  '; done; } | send
printf "$head"'Subject: story empty\n\n' | send
for what in large empty; do
	file=$(delivered "Subject: story $what")
	[ "$(judge "$file" | grep -c ' ok$')" = 2 ] || { judge "$file"; fail "the $what message"; }
done

# As somebody else he sends nothing, signed or not.
if printf 'From: boss@signed.test\nSubject: story forged\n\nHello\n' | send > "$WORK/forged" 2>&1; then fail "rick is his boss"; fi
expect '550 5.7.1 This address in the From field is not for rick@signed.test' "$WORK/forged"

# DNS has the same as the configuration; with the records gone it would say so.
"$DANCEMTA" dkim show --config "$PKI/../config.toml" > "$WORK/show" || { cat "$WORK/show"; fail "dkim show: $?"; }
[ "$(grep -c '; DNS: match$' "$WORK/show")" = 2 ] || { cat "$WORK/show"; fail "not both match"; }
