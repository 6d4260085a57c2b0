# A stock Postfix with smtp_tls_cert_file relays through us as the MTA that its certificate names.
. ../lib.sh
. ../postfix.sh

postfix_new mta.partner.test
cat >> "$conf/main.cf" <<EOT
mydomain = partner.test
inet_interfaces = loopback-only
relayhost = [127.0.0.1]:$RELAY
smtp_tls_security_level = encrypt
smtp_tls_CAfile = $PKI/server-ca.pem
smtp_tls_cert_file = $PKI/mta.pem
smtp_tls_key_file = $PKI/mta.key
smtp_tls_loglevel = 1
EOT
cat >> "$conf/master.cf" <<'EOT'
pickup    unix  n - n 60 1 pickup
verify    unix  - - n - 1 verify
tlsmgr    unix  - - n 1000? 1 tlsmgr
smtp      unix  - - n - - smtp
EOT

trap postfix_abort EXIT
postfix_start

printf 'From: newsletter@partner.test\nTo: ann@remote.test\nSubject: story postfix\n\nHello\n' |
	sendmail -C "$conf" -f newsletter@partner.test ann@remote.test
wait_for 'status=' "$POSTFIX_LOG"
grep -q 'status=sent' "$POSTFIX_LOG" || { cat "$POSTFIX_LOG" "$LOG"; fail "postfix could not relay"; }
file=$(delivered 'Subject: story postfix')
expect 'client dane _smtp-client.mta.partner.test' "$file"

# Postfix passes on what a sender asks (RFC 3461), and the sink behind us offers no DSN: so
# it is for us to tell him.
printf 'From: newsletter@partner.test\nTo: ann@remote.test\nSubject: story reports\n\nHello\n' |
	sendmail -C "$conf" -f newsletter@partner.test -N success,failure -V order-4711 ann@remote.test
file=$(delivered 'Original-Envelope-Id: order-4711')
expect 'Original-Recipient: rfc822; ann@remote.test' "$file"
expect 'Action: relayed' "$file"
wait_for '"msg":"reported"' "$LOG"
