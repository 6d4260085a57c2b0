# rspamd before the queue, a stock one with rules of this story: rules.lua does to a message what its
# subject asks.
. ../lib.sh

chmod 755 "$WORK"
mkdir -p "$WORK/rspamd"
cp rules.lua "$WORK/rspamd"
echo test > "$WORK/rspamd/tld" # to know all domains and languages takes it half a minute
chown -R _rspamd "$WORK/rspamd"
cat > "$WORK/rspamd/rspamd.conf" <<EOT
options {
	filters = "";
	pidfile = "$WORK/rspamd/pid";
	tempdir = "$WORK/rspamd";
	hs_cache_dir = "$WORK/rspamd";
	cache_file = "$WORK/rspamd/symbols";
	control_socket = "$WORK/rspamd/control mode=0600";
	url_tld = "$WORK/rspamd/tld";
	disable_hyperscan = true;
	dns { nameserver = ["$RESOLVER"]; }
}
lang_detection { languages = "$WORK/rspamd/none"; }
logging {
	type = "console";
	level = "info";
}
actions { quarantine = 50; reject = 100; discard = 200; }
worker "rspamd_proxy" {
	bind_socket = "$WORK/rspamd/milter mode=0666";
	milter = true;
	timeout = 20s;
	count = 1;
	upstream "local" { default = true; self_scan = true; }
}
lua = "$WORK/rspamd/rules.lua";
EOT
pids=
trap 'kill $pids 2> /dev/null || true' EXIT
rspamd -f -u _rspamd -g _rspamd -c "$WORK/rspamd/rspamd.conf" > "$WORK/rspamd.log" 2>&1 &
rspamd=$!
pids=$rspamd
wait_for 'listening for control' "$WORK/rspamd.log"


cat > "$WORK/config.toml" <<EOT
hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }
delivery   = { mx_port = $MXPORT, allow_private_targets = true }
queue      = { retry = ["1s"] }

[[listener]]
name    = "careful"
kind    = "relay"
address = "127.0.0.1:0"

[[listener]]
name    = "trusting"
kind    = "relay"
address = "127.0.0.1:0"

[[milter]]
address   = "unix:$WORK/rspamd/milter"
timeout   = "6s"
listeners = ["careful"]

[[milter]]
address    = "unix:$WORK/rspamd/milter"
timeout    = "6s"
listeners  = ["trusting"]
on_failure = "accept"

[[relay_domain]]
domain     = "inbound.test"
recipients = "any"
next_hop   = ["127.0.0.1:$MXPORT"]
EOT
"$DANCEMTA" serve --config "$WORK/config.toml" 2> "$WORK/log" &
pids="$pids $!"
wait_for '"msg":"ready"' "$WORK/log"
listens() { sed -n "s/.*\"msg\":\"listening\",\"listener\":\"$1\",\"address\":\"127.0.0.1:\([0-9]*\)\".*/\1/p" "$WORK/log"; }
careful=$(listens careful) trusting=$(listens trusting)

# hand PORT WORD: brings a message to ann, whose subject has this word. What was said is in $WORK/said.WORD.
hand() {
	printf 'From: rick@partner.test\r\nTo: ann@inbound.test\r\nX-Secret: one\r\nSubject: story %s\r\nX-Secret: two\r\n\r\nthe body\r\n.\r\n..\r\n' "$2" > "$WORK/message.$2"
	curl --verbose --no-progress-meter --max-time 60 --noproxy '*' --mail-from rick@partner.test --mail-rcpt ann@inbound.test \
		--upload-file "$WORK/message.$2" "smtp://127.0.0.1:$1/far.test" > "$WORK/said.$2" 2>&1
}
taken() { hand "$1" "$2" || { cat "$WORK/said.$2" "$WORK/rspamd.log"; fail "$2: not taken"; }; }
refused() {
	if hand "$1" "$2"; then cat "$WORK/said.$2" "$WORK/rspamd.log"; fail "$2: was taken"; fi
	expect "$3" "$WORK/said.$2"
}
# same FILE FROM-THE-SINK: it is this message, behind the trace.
same() { sed -n '/^From: /,$p' "$2" | cmp - "$1" || { cat "$2" "$WORK/rspamd.log"; fail "$1 and $2 differ"; }; }
# queue_id WORD: as our reply says it.
queue_id() { sed -n 's/.*250 2.6.0 queued as \([A-Z0-9]*\).*/\1/p' "$WORK/said.$1"; }

taken "$careful" plain
same "$WORK/message.plain" "$(delivered 'Subject: story plain')"

taken "$careful" header
printf 'From: rick@partner.test\r\nX-Filter: seen\r\nTo: ann@inbound.test\r\nSubject: story header\r\nX-Also: seen, too\r\n\r\nthe body\r\n.\r\n..\r\n' > "$WORK/header"
same "$WORK/header" "$(delivered 'Subject: story header')"

taken "$careful" subject
sed 's/^Subject: .*\r$/Subject: a subject of rspamd\r/' "$WORK/message.subject" > "$WORK/subject"
same "$WORK/subject" "$(delivered 'Subject: a subject of rspamd')"

taken "$careful" body # rspamd lets the header be
{ sed '/^\r$/q' "$WORK/message.body"; printf 'another body\r\n.\r\nof rspamd\r\n'; } > "$WORK/body"
same "$WORK/body" "$(delivered 'Subject: story body')"

taken "$careful" recipients
wait_for "\"msg\":\"delivered\",\"queue_id\":\"$(queue_id recipients)\"" "$WORK/log"
grep -F "\"msg\":\"delivered\",\"queue_id\":\"$(queue_id recipients)\"" "$WORK/log" > "$WORK/recipients"
expect '"rcpt":"bob@inbound.test"' "$WORK/recipients"
expect '"rcpts_added":1,"rcpts_removed":1' "$WORK/log"

taken "$careful" hold
"$DANCEMTA" queue show "$(queue_id hold)" --config "$WORK/config.toml" > "$WORK/show"
expect 'held by a milter' "$WORK/show"
"$DANCEMTA" queue release all --yes --config "$WORK/config.toml" > "$WORK/release"
same "$WORK/message.hold" "$(delivered 'Subject: story hold')"

refused "$careful" reject '554 5.7.1 not this one'
refused "$careful" later '451 4.7.1 not now'
taken "$careful" discard
expect '"msg":"discarded"' "$WORK/log"

taken "$careful" slow
same "$WORK/message.slow" "$(delivered 'Subject: story slow')"

# It dies with the message in its hands, which waits at its sender's, or passes as it came.
refused "$careful" die '451 4.7.1 Refused for now by a filter'
taken "$trusting" die
same "$WORK/message.die" "$(delivered 'Subject: story die')"
expect '"msg":"milter failed"' "$WORK/log"

# It hangs: the same, in the time that it is given.
workers() { sed -n 's/.*starting rspamd_proxy process \([0-9]*\).*/\1/p' "$WORK/rspamd.log"; }
deadline=$((SECONDS + 30))
until [ "$(workers | wc -l)" = 3 ]; do # two have died
	[ $SECONDS -lt $deadline ] || { cat "$WORK/rspamd.log"; fail 'rspamd has no worker'; }
	sleep 0.1
done
worker=$(workers | tail -n 1)
kill -STOP "$worker"
taken "$trusting" hangs &
trusted=$!
refused "$careful" hung '451 4.7.1 Refused for now by a filter'
wait $trusted || fail 'a hanging milter held the mail of those who can do without'
kill -CONT "$worker"
same "$WORK/message.hangs" "$(delivered 'Subject: story hangs')"
taken "$careful" again
same "$WORK/message.again" "$(delivered 'Subject: story again')"

for word in reject later discard hung; do
	if grep -lF "Subject: story $word" "$SINK"/*.eml; then fail "$word was delivered"; fi
done
if grep -F '"rcpt":"ann@inbound.test"' "$WORK/log" | grep -F "\"queue_id\":\"$(queue_id recipients)\""; then fail 'ann has what was not for her'; fi
