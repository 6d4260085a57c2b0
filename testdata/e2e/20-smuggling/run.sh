# Smuggling (CVE-2023-51764): every variant of line ends comes to our door, by DATA and by BDAT, and
# behind us stands a stock Postfix that takes bare newlines for ends of lines. What arrives there is
# exactly one message or none, its octets are those that were sent, and what we say to it holds no
# lone CR or LF. matrix.py is the sender, the wire to Postfix that it taps, and the judge.
. ../lib.sh

chmod 755 "$WORK"
conf=$WORK/conf
mkdir -p "$conf" "$WORK/spool" "$WORK/data" "$WORK/postlog" "$WORK/mail"
chown postfix "$WORK/data" "$WORK/mail"
cat > "$conf/main.cf" <<EOT
compatibility_level = 3.6
queue_directory = $WORK/spool
data_directory = $WORK/data
maillog_file = $WORK/postlog/mail
maillog_file_prefixes = $WORK
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.post.test
mydestination =
inet_protocols = ipv4
alias_maps =
alias_database =
smtpd_tls_security_level = none
smtpd_forbid_bare_newline = no
smtpd_forbid_unauth_pipelining = no
virtual_mailbox_domains = bdat.test, data.test
virtual_mailbox_maps = static:box/
virtual_mailbox_base = $WORK/mail
virtual_mailbox_limit = 0
virtual_uid_maps = static:$(id -u postfix)
virtual_gid_maps = static:$(id -g postfix)
virtual_minimum_uid = 1
EOT
# Its two doors are sockets in spool/public, so that no port is to be found for them.
cat > "$conf/master.cf" <<'EOT'
bdat      unix  n - n - - smtpd
data      unix  n - n - - smtpd
	-o smtpd_discard_ehlo_keywords=chunking
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
anvil     unix  - - n - 1 anvil
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
proxymap  unix  - - n - - proxymap
postlog   unix-dgram n - n - 1 postlogd
EOT
pids=
trap 'kill $pids 2> /dev/null || true; postfix -c "$conf" abort > /dev/null 2>&1 || true' EXIT
postfix -c "$conf" start > "$WORK/start" 2>&1 || { cat "$WORK/start" "$WORK/postlog/mail"; fail "postfix did not start"; }

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
wait $matrix || { cat "$WORK/matrix"; tail -n 20 "$WORK/log" "$WORK/postlog/mail"; fail "the matrix"; }
expect 'all is well' "$WORK/matrix"
