# Mail to a store that speaks LMTP (Postfix's smtp-sink), over a Unix socket and TCP, and to the
# second of two next hops when nobody is at the first; and several messages at once to a stock
# Postfix, the large ones by BDAT.
. ../lib.sh
. ../postfix.sh

chmod 755 "$WORK"
mkdir -p "$WORK/socket"
chmod 777 "$WORK" "$WORK/socket"
pids=
trap 'kill $pids 2> /dev/null || true' EXIT

# sink NAME WHERE FLAG...: smtp-sink writes what it takes to $WORK/NAME., a dot behind the name.
sink() {
	local name=$1 where=$2
	shift 2
	smtp-sink -u nobody "$@" -D "$WORK/$name." "$where" 10 > "$WORK/$name.out" 2>&1 &
	pids="$pids $!"
}
# Ports outside of those that systems choose by themselves.
tcp=$((20000 + $$ % 5000)) hop=$((25000 + $$ % 5000))
sink unix "unix:$WORK/socket/lmtp" -L
sink tcp "127.0.0.1:$tcp" -L
sink hop "127.0.0.1:$hop" -h smtp.hop.test

bdat=$((30000 + $$ % 2000))
postfix_new mx.post.test
postfix_mailboxes
cat >> "$conf/main.cf" <<EOT
inet_interfaces = loopback-only
smtpd_tls_security_level = none
smtpd_recipient_limit = 3
virtual_mailbox_domains = post.test
virtual_mailbox_maps = static:box
EOT
cat >> "$conf/master.cf" <<EOT
127.0.0.1:$bdat inet n - n - - smtpd
EOT
trap 'kill $pids 2> /dev/null || true; postfix_abort' EXIT
postfix_start
wait_for 'daemon started' "$POSTFIX_LOG"

cat > "$WORK/routes.toml" <<EOT
hostname   = "out.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[relay_domain]]
domain     = "unix.test"
recipients = "any"

[[relay_domain]]
domain     = "tcp.test"
recipients = "any"

[[relay_domain]]
domain     = "hop.test"
recipients = "any"

[[route]]
domain   = "unix.test"
next_hop = ["unix:$WORK/socket/lmtp"]
protocol = "lmtp"

[[route]]
domain   = "tcp.test"
next_hop = ["127.0.0.1:$tcp"]
protocol = "lmtp"

[[relay_domain]]
domain     = "post.test"
recipients = "any"

[[route]]
domain   = "post.test"
next_hop = ["127.0.0.1:$bdat"]

[[route]]
domain   = "any"
next_hop = ["127.0.0.1:1", "127.0.0.1:$hop"]
helo     = "hello.example.test"
EOT
"$DANCEMTA" serve --config "$WORK/routes.toml" 2> "$WORK/log" &
pids="$pids $!"
wait_for '"msg":"ready"' "$WORK/log"
port=$(sed -n 's/.*"msg":"listening".*"address":"127.0.0.1:\([0-9]*\)".*/\1/p' "$WORK/log")

"$DANCEMTA" check --config "$WORK/routes.toml" > "$WORK/check" || { cat "$WORK/check"; fail "check: $?"; }
expect "ok       route unix.test: unix:$WORK/socket/lmtp takes mail (unix: none)" "$WORK/check"
expect 'ok       route tcp.test: [127.0.0.1] takes mail' "$WORK/check"
expect 'warning  route any: [127.0.0.1]: dial tcp 127.0.0.1:1' "$WORK/check"
expect 'ok       route any: [127.0.0.1] takes mail' "$WORK/check"

# delivered_to DOMAIN REMOTE: the log says that ann and bob of the domain have mail by this host.
delivered_to() {
	local deadline=$((SECONDS + 30))
	for who in ann bob; do
		until grep -F '"msg":"delivered"' "$WORK/log" | grep -F "\"rcpt\":\"$who@$1\"" | grep -qF "\"remote\":\"$2\""; do
			[ $SECONDS -lt $deadline ] || { cat "$WORK/log" >&2; fail "$who@$1 has no mail from $2"; }
			sleep 0.1
		done
	done
}
for domain in unix tcp hop; do
	printf 'From: rick@far.test\nSubject: story %s\n\n.\n..x\nHello\n' $domain |
		msmtp --host=127.0.0.1 --port="$port" --tls=off --auth=off --from=rick@far.test ann@$domain.test bob@$domain.test
done
delivered_to unix.test "unix:$WORK/socket/lmtp"
delivered_to tcp.test '[127.0.0.1]'
delivered_to hop.test '[127.0.0.1]'
for domain in unix tcp hop; do
	file="$WORK/$domain."
	wait_for "Subject: story $domain" "$file"
	expect 'X-Mail-Args: <rick@far.test>' "$file"
	expect "X-Rcpt-Args: <bob@$domain.test>" "$file"
	printf '\n.\n..x\nHello\n\n' | cmp - <(tail -n 5 "$file") || { cat "$file"; fail "the message to $domain is another one"; }
done
expect 'X-Client-Proto: LMTP' "$WORK/unix."
expect 'X-Client-Proto: LMTP' "$WORK/tcp."
expect 'X-Helo-Args: hello.example.test' "$WORK/hop."

# Seven recipients where three are too many: three transactions, and nobody waits. Then a message
# of many chunks, whose lines begin with dots.
printf 'From: rick@far.test\nSubject: story seven\n\nHello\n' |
	msmtp --host=127.0.0.1 --port="$port" --tls=off --auth=off --from=rick@far.test a@post.test b@post.test c@post.test d@post.test e@post.test f@post.test g@post.test
wait_for 'status=sent' "$POSTFIX_LOG"
deadline=$((SECONDS + 30))
until [ "$(grep -c 'to=<[a-g]@post.test>.*status=sent' "$POSTFIX_LOG")" = 7 ]; do
	[ $SECONDS -lt $deadline ] || { cat "$POSTFIX_LOG" "$WORK/log" >&2; fail "not all of seven have their mail"; }
	sleep 0.1
done
if grep -F '"msg":"deferred"' "$WORK/log" | grep -F '@post.test'; then fail "somebody had to wait"; fi
{ printf 'From: rick@far.test\nSubject: story large\n\n'; for i in $(seq 20000); do echo ".$i all work and no play"; done; } > "$WORK/large"
msmtp --host=127.0.0.1 --port="$port" --tls=off --auth=off --from=rick@far.test ann@post.test < "$WORK/large"
wait_for '.20000 all work' "$WORK/mail/box"
sed -n '/^\.1 all work/,/^\.20000 all work/p' "$WORK/mail/box" | cmp - <(sed 1,3d "$WORK/large") || fail "the large message is another one"
# Its log tells the commands of each session: BDAT for the large one, DATA for the small ones.
wait_for ' bdat=' "$POSTFIX_LOG"
