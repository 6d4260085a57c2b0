# recipients = "probe": a stock Postfix behind us knows its mailboxes, and we ask it at RCPT. What it
# does not know is refused here, so that nobody gets a bounce; it is asked once, however many ask us;
# and when it is away, mail waits at its sender's, or is taken, as the domain says.
. ../lib.sh
. ../postfix.sh

# An address of this process's own, so that its ports are free.
ip=127.$((64 + ($$ >> 16 & 63))).$(($$ >> 8 & 255)).$(($$ & 255)) box=2501

postfix_new mx.box.test
postfix_mailboxes
cat >> "$conf/main.cf" <<EOT
smtpd_tls_security_level = none
smtpd_recipient_restrictions =
	check_recipient_access inline:{ {later@strict.test = 450 4.2.1 later} {later@lenient.test = 450 4.2.1 later} {slow@strict.test = sleep 2} }
	reject_unauth_destination
virtual_mailbox_domains = strict.test, lenient.test
virtual_mailbox_maps = inline:{ ann@strict.test=ann slow@strict.test=slow ann@lenient.test=lenient bob@lenient.test=bob later@lenient.test=later }
EOT
cat >> "$conf/master.cf" <<EOT
$ip:$box inet n - n - - smtpd
EOT
server=
trap 'kill $server 2> /dev/null || true; postfix_abort' EXIT
backend() { postfix -c "$conf" "$1" > "$WORK/$1" 2>&1 || { cat "$WORK/$1" "$POSTFIX_LOG"; fail "postfix $1"; }; }
backend start

cat > "$WORK/config.toml" <<EOT
hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }
delivery   = { mx_port = $MXPORT, allow_private_targets = true }
queue      = { retry = ["1s"] }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[relay_domain]]
domain     = "strict.test"
recipients = "probe"
next_hop   = ["$ip:$box"]

[[relay_domain]]
domain        = "lenient.test"
recipients    = "probe"
probe_failure = "accept"
next_hop      = ["$ip:$box"]
EOT
"$DANCEMTA" serve --config "$WORK/config.toml" 2> "$WORK/log" &
server=$!
wait_for '"msg":"ready"' "$WORK/log"
port=$(sed -n 's/.*"msg":"listening".*"address":"127.0.0.1:\([0-9]*\)".*/\1/p' "$WORK/log")

# said MAILBOX [SENDER]: the reply to RCPT.
said() {
	local line
	exec 4<> "/dev/tcp/127.0.0.1/$port"
	printf 'EHLO asker.test\r\n' >&4
	until IFS= read -r -t 30 line <&4 && [[ $line = '250 '* ]]; do [ -n "$line" ] || fail 'no EHLO'; done
	printf 'MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nQUIT\r\n' "${2-rick@partner.test}" "$1" >&4
	IFS= read -r -t 30 line <&4
	IFS= read -r -t 30 line <&4
	exec 4<&-
	printf '%s\n' "${line%$'\r'}"
}

# sessions N: Postfix has had so many more. Its log is behind, so all are counted since the beginning: one
# too many shows at the next look.
total=0
sessions() {
	local seen deadline=$((SECONDS + 30))
	total=$((total + $1))
	until seen=$(grep -c 'smtpd.*: connect from' "$POSTFIX_LOG" || true); [ "$seen" -ge $total ]; do
		[ $SECONDS -lt $deadline ] || { cat "$POSTFIX_LOG" >&2; fail "Postfix has $seen sessions, not $total"; }
		sleep 0.1
	done
	[ "$seen" = $total ] || { cat "$POSTFIX_LOG" >&2; fail "Postfix has $seen sessions, not $total"; }
}

# answers WANT QUESTIONS MAILBOX [SENDER]: RCPT gets this reply, and Postfix is asked so often for it.
answers() {
	local got
	got=$(said "${@:3}")
	[[ $got = "$1"* ]] || fail "$3: $got, not $1"
	sessions "$2"
}

answers '250 2.1.5' 1 ann@strict.test
answers '250 2.1.5' 0 ann@strict.test
answers '250 2.1.5' 0 '"ann"@STRICT.test'
answers '550 5.1.1' 1 nobody@strict.test
answers '550 5.1.1' 0 nobody@strict.test ''
answers '550 5.1.1' 1 nobody@lenient.test
answers '450 4.4.1' 1 later@strict.test
answers '450 4.4.1' 0 later@strict.test # for a moment it is left alone
answers '250 2.1.5' 1 later@lenient.test
expect '"reply":"550 5.1.1"' "$WORK/log"
# We ask with the null sender, as a bounce would come, and bring no message.
grep -q 'reject: RCPT from .*<nobody@strict.test>.* from=<> to=<nobody@strict.test>' "$POSTFIX_LOG" || fail 'the question was another one'
if grep -qE ' (data|bdat)=' "$POSTFIX_LOG"; then fail 'a question brought a message'; fi

# Fifteen ask at once for a mailbox that takes Postfix two seconds: it is asked once.
waiting=
for i in $(seq 15); do said slow@strict.test > "$WORK/slow.$i" & waiting="$waiting $!"; done
wait $waiting
[ "$(cat "$WORK"/slow.* | grep -c '^250 2.1.5')" = 15 ] || { cat "$WORK"/slow.*; fail 'not all have the answer'; }
sessions 1

# mail TO SUBJECT: hands a message over; the sender's mail goes to the sink.
mail() {
	printf 'From: rick@partner.test\nSubject: %s\n\nHello\n' "$2" |
		msmtp --host=127.0.0.1 --port="$port" --tls=off --auth=off --from=rick@partner.test "$1" > "$WORK/msmtp" 2>&1
}
mail ann@strict.test 'story probed' || { cat "$WORK/msmtp"; fail 'not taken'; }
wait_for 'Subject: story probed' "$WORK/mail/ann"
sessions 1
mail nobody@strict.test 'story nobody' && fail 'mail for nobody was taken'
expect '550 5.1.1' "$WORK/msmtp"

# Away: what it has said holds for a while; what is asked now waits, or is taken.
backend stop
answers '250 2.1.5' 0 ann@strict.test
answers '550 5.1.1' 0 nobody@strict.test
answers '450 4.4.1' 0 who@strict.test
mail bob@lenient.test 'story taken' || { cat "$WORK/msmtp"; fail 'not taken while the backend is away'; }
mail who@strict.test 'story waits' && fail 'mail was taken that nobody knows anything about'
expect '450 4.4.1' "$WORK/msmtp"
wait_for '"msg":"deferred"' "$WORK/log"
backend start
"$DANCEMTA" queue retry all --yes --config "$WORK/config.toml" > "$WORK/retry" # it would wait a minute
wait_for 'Subject: story taken' "$WORK/mail/bob"
sessions 1
answers '550 5.1.1' 1 else@strict.test

# No bounce was sent to anybody: not by us, not by Postfix.
if grep -F '"msg":"bounced"' "$WORK/log"; then fail 'we sent a bounce'; fi
if grep -lF 'nobody@strict.test' "$SINK"/*.eml; then fail 'a sender has a bounce'; fi
if grep -F 'status=bounced' "$POSTFIX_LOG"; then fail 'Postfix sent a bounce'; fi
