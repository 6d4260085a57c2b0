# Mail to a stock Postfix in signed zones: as DANE and MTA-STS demand, or not at all. nginx has
# the policies. A second Postfix hides STARTTLS, as somebody in the middle would.
. ../lib.sh
. ../postfix.sh

postfix_new mx.out.test
postfix_mailboxes
for domain in key ca wrong hidden clear sts other; do
	echo "ann@$domain.out.test $domain.out.test"
done > "$conf/boxes"
cat >> "$conf/main.cf" <<EOT
inet_interfaces = loopback-only
virtual_mailbox_domains = static:OK
virtual_mailbox_maps = texthash:$conf/boxes
smtpd_tls_chain_files = $WORK/mx.key, $WORK/mx.pem
smtpd_tls_loglevel = 1
EOT
cat >> "$conf/master.cf" <<EOT
127.0.0.2:$MXPORT inet n - n - - smtpd -o smtpd_tls_security_level=may
127.0.0.4:$MXPORT inet n - n - - smtpd -o smtpd_tls_security_level=none
tlsmgr    unix  - - n 1000? 1 tlsmgr
EOT

mkdir -p "$WORK/www/.well-known"
printf 'version: STSv1\r\nmode: enforce\r\nmx: sts-mx.out.test\r\nmax_age: 86400\r\n' > "$WORK/www/.well-known/mta-sts.txt"
cat > "$WORK/nginx.conf" <<EOT
daemon off;
master_process off;
pid $WORK/nginx.pid;
events {}
http {
	access_log $WORK/nginx.access;
	default_type text/plain;
	client_body_temp_path $WORK/n1; proxy_temp_path $WORK/n2; fastcgi_temp_path $WORK/n3; uwsgi_temp_path $WORK/n4; scgi_temp_path $WORK/n5;
	server {
		listen 127.0.0.3:443 ssl;
		ssl_certificate $WORK/web.pem;
		ssl_certificate_key $WORK/web.key;
		root $WORK/www;
	}
}
EOT
nginx -c "$WORK/nginx.conf" -e "$WORK/nginx.log" > "$WORK/nginx.out" 2>&1 &
web=$!
trap 'kill $web 2> /dev/null || true; postfix_abort' EXIT
postfix_start
wait_for 'daemon started' "$POSTFIX_LOG"

cat > "$WORK/msmtprc" <<EOT
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
EOT
chmod 600 "$WORK/msmtprc"

# line WHAT DOMAIN TLS [STATUS]: the log says this of the mail to DOMAIN.
line() {
	local deadline=$((SECONDS + 30))
	until grep -F "\"msg\":\"$1\"" "$LOG" | grep -F "\"rcpt\":\"ann@$2\"" | grep -F "\"tls\":\"$3\"" | grep -qF "\"status\":\"${4:-2.0.0}\""; do
		[ $SECONDS -lt $deadline ] || { grep -F "ann@$2" "$LOG" >&2; fail "$2: no line that it is $1 with $3"; }
		sleep 0.1
	done
}
for domain in key ca wrong hidden clear sts other; do
	printf 'From: rick@partner.test\nTo: ann@%s.out.test\nSubject: story %s\n\nHello\n' $domain $domain |
		msmtp --file="$WORK/msmtprc" --from=rick@partner.test ann@$domain.out.test
done
line delivered key.out.test 'dane: TLS1.3 verified 3 1 1'
line delivered ca.out.test 'dane: TLS1.3 verified 2 0 1'
line delivered sts.out.test 'mta-sts: TLS1.3 verified'
line delivered clear.out.test 'may: none'
line deferred wrong.out.test 'dane: TLS1.3 not verified' 4.7.5
line deferred hidden.out.test 'dane: none' 4.7.10
line deferred other.out.test 'mta-sts: none' 4.7.5
for domain in key ca sts clear; do
	wait_for "Subject: story $domain" "$WORK/mail/$domain.out.test"
done
for domain in wrong hidden other; do
	[ ! -e "$WORK/mail/$domain.out.test" ] || fail "the mail to $domain.out.test has gone"
done

# The policy holds though its host is gone.
kill $web
printf 'From: rick@partner.test\nTo: ann@sts.out.test\nSubject: story again\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=rick@partner.test ann@sts.out.test
wait_for 'Subject: story again' "$WORK/mail/sts.out.test"
deadline=$((SECONDS + 30))
until [ "$(grep -c 'mta-sts: TLS1.3 verified' "$LOG")" = 2 ]; do
	[ $SECONDS -lt $deadline ] || fail "the second message went otherwise"
	sleep 0.1
done
