# A user logs in with msmtp, certificate only, and sends as himself; as somebody else he may not.
. ../lib.sh

# Without user, msmtp 1.8 sends AUTH without the identity and never ends the exchange.
cat > "$WORK/msmtprc" <<EOF
account default
host 127.0.0.1
port $SUBMISSION
tls on
tls_starttls on
tls_trust_file $PKI/server-ca.pem
tls_host_override mx.example.test
tls_cert_file $PKI/rick.pem
tls_key_file $PKI/rick.key
auth external
user rick@partner.test
EOF
chmod 600 "$WORK/msmtprc"

printf 'From: rick@partner.test\nTo: ann@remote.test\nSubject: story msmtp\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=rick@partner.test ann@remote.test
file=$(delivered 'Subject: story msmtp')
expect 'with ESMTPSA' "$file"
wait_for '"msg":"login"' "$LOG"
expect '"identity":"rick@partner.test"' "$LOG"

if printf 'Subject: forged\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=boss@partner.test ann@remote.test 2> "$WORK/forged"; then
	fail "rick@partner.test could send as boss@partner.test"
fi
expect '553 5.7.1' "$WORK/forged"
