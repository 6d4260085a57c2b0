# A stock Postfix with smtp_tls_cert_file relays through us as the MTA that its certificate names.
. ../lib.sh

conf=$WORK/conf
mkdir -p "$conf" "$WORK/spool" "$WORK/data" "$WORK/log"
chown postfix "$WORK/data"
chmod 755 "$WORK"

cat > "$conf/main.cf" <<EOF
compatibility_level = 3.6
queue_directory = $WORK/spool
data_directory = $WORK/data
maillog_file = $WORK/log/mail
maillog_file_prefixes = $WORK
mail_owner = postfix
setgid_group = postdrop
myhostname = mta.partner.test
mydomain = partner.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
relayhost = [127.0.0.1]:$RELAY
smtp_tls_security_level = encrypt
smtp_tls_CAfile = $PKI/server-ca.pem
smtp_tls_cert_file = $PKI/mta.pem
smtp_tls_key_file = $PKI/mta.key
smtp_tls_loglevel = 1
EOF
cat > "$conf/master.cf" <<'EOF'
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
tlsmgr    unix  - - n 1000? 1 tlsmgr
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
proxymap  unix  - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
EOF

postfix -c "$conf" start || { cat "$WORK/log/mail"; fail "postfix did not start"; }
trap 'postfix -c "$conf" abort > /dev/null 2>&1' EXIT

printf 'From: newsletter@partner.test\nTo: ann@remote.test\nSubject: story postfix\n\nHello\n' |
	sendmail -C "$conf" -f newsletter@partner.test ann@remote.test
wait_for 'status=' "$WORK/log/mail"
grep -q 'status=sent' "$WORK/log/mail" || { cat "$WORK/log/mail" "$LOG"; fail "postfix could not relay"; }
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
