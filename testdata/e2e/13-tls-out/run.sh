# Mail to a stock Postfix in signed zones: as DANE and MTA-STS demand, or not at all. nginx has
# the policies. A second Postfix hides STARTTLS, as somebody in the middle would.
. ../lib.sh

conf=$WORK/conf
mkdir -p "$conf" "$WORK/spool" "$WORK/data" "$WORK/log" "$WORK/mail" "$WORK/www/.well-known"
chown postfix "$WORK/data" "$WORK/mail"
chmod 755 "$WORK"

for domain in key ca wrong hidden clear sts other; do
	echo "ann@$domain.out.test $domain.out.test"
done > "$conf/boxes"
cat > "$conf/main.cf" <<EOT
compatibility_level = 3.6
queue_directory = $WORK/spool
data_directory = $WORK/data
maillog_file = $WORK/log/mail
maillog_file_prefixes = $WORK
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.out.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
virtual_mailbox_domains = static:OK
virtual_mailbox_maps = texthash:$conf/boxes
virtual_mailbox_base = $WORK/mail
virtual_uid_maps = static:$(id -u postfix)
virtual_gid_maps = static:$(id -g postfix)
virtual_minimum_uid = 1
smtpd_tls_chain_files = $WORK/mx.key, $WORK/mx.pem
smtpd_tls_loglevel = 1
EOT
cat > "$conf/master.cf" <<EOT
127.0.0.2:$MXPORT inet n - n - - smtpd -o smtpd_tls_security_level=may
127.0.0.4:$MXPORT inet n - n - - smtpd -o smtpd_tls_security_level=none
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
tlsmgr    unix  - - n 1000? 1 tlsmgr
anvil     unix  - - n - 1 anvil
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
proxymap  unix  - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
EOT

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
trap 'kill $web 2> /dev/null || true; postfix -c "$conf" abort > /dev/null 2>&1' EXIT
postfix -c "$conf" start > "$WORK/start" 2>&1 || { cat "$WORK/start" "$WORK/log/mail"; fail "postfix did not start"; }
wait_for 'daemon started' "$WORK/log/mail"

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
