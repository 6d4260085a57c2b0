# Smuggling (CVE-2023-51764): every variant of line ends comes to our door, by DATA and by BDAT, and
# behind us stands a stock Postfix that takes bare newlines for ends of lines. What arrives there is
# exactly one message or none, its octets are those that were sent, and what we say to it holds no
# lone CR or LF. matrix.py is the sender, the wire to Postfix that it taps, and the judge.
. ../lib.sh
. ../postfix.sh

postfix_new mx.post.test
postfix_mailboxes
cat >> "$conf/main.cf" <<EOT
smtpd_tls_security_level = none
smtpd_forbid_bare_newline = no
smtpd_forbid_unauth_pipelining = no
virtual_mailbox_domains = bdat.test, data.test
virtual_mailbox_maps = static:box/
virtual_mailbox_limit = 0
EOT
# Its two doors are sockets in spool/public, so that no port is to be found for them.
cat >> "$conf/master.cf" <<'EOT'
bdat      unix  n - n - - smtpd
data      unix  n - n - - smtpd
	-o smtpd_discard_ehlo_keywords=chunking
EOT
pids=
trap 'kill $pids 2> /dev/null || true; postfix_abort' EXIT
postfix_start

# matrix.py listens for us, tells where, and waits for the word where we listen.
mkfifo "$WORK/where"
/usr/bin/python3 matrix.py "$WORK" < "$WORK/where" > "$WORK/matrix" 2>&1 &
matrix=$!
pids=$matrix
exec 3> "$WORK/where"
wait_for 'listening' "$WORK/matrix"
cat > "$WORK/config.toml" <<EOT
hostname   = "mx.example.test"
postmaster = "postmaster@example.test"
state_dir  = "state"
log        = { format = "json", level = "debug" }
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }

[[listener]]
name    = "relay"
kind    = "relay"
address = "127.0.0.1:0"

[[relay_domain]]
domain     = "bdat.test"
recipients = "any"
next_hop   = ["127.0.0.1:$(sed -n 's/^listening for bdat at //p' "$WORK/matrix")"]

[[relay_domain]]
domain     = "data.test"
recipients = "any"
next_hop   = ["127.0.0.1:$(sed -n 's/^listening for data at //p' "$WORK/matrix")"]
EOT
"$DANCEMTA" serve --config "$WORK/config.toml" 2> "$WORK/log" &
pids="$pids $!"
wait_for '"msg":"ready"' "$WORK/log"
sed -n 's/.*"msg":"listening".*"address":"127.0.0.1:\([0-9]*\)".*/\1/p' "$WORK/log" >&3
exec 3>&-
wait $matrix || { cat "$WORK/matrix"; tail -n 20 "$WORK/log" "$POSTFIX_LOG"; fail "the matrix"; }
expect 'all is well' "$WORK/matrix"
