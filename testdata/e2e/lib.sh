# Sourced by every story. The runner (cmd/dancemta/story_test.go) has started nsd with
# the lab's signed zones, unbound as validating resolver in front of it, an SMTP sink
# behind remote.test's MX, and dancemta with config.toml of this folder. It exports:
#
#   RELAY SUBMISSION SUBMISSIONS … ports of the listeners of config.toml on 127.0.0.1
#   PKI                            folder of certificates and keys (rick, mta, device …)
#   UNBOUND                        process id of the resolver
#   RESOLVER                       its address and port
#   MXPORT                         port of all mail servers that DNS names
#   SINK                           folder into which the sink writes each message
#   LOG                            dancemta's log
#   WORK                           a folder for the story's own files
#   DANCEMTA                       the program itself, with dane_clientid
#   PEER                           peer/peer.c, compiled
#
# A story may bring a zone.sh beside its run.sh: it knows WORK, PKI, MXPORT and DANCEMTA alone, and prints
# a zone, which the runner signs and serves.
set -euo pipefail

fail() {
	printf 'FAIL: %s\n' "$*" >&2
	exit 1
}

# expect TEXT FILE: the file holds this text.
expect() {
	grep -qF -- "$1" "$2" || { cat "$2" >&2; fail "\"$1\" not found in $2"; }
}

# wait_for TEXT FILE...: some file holds this text within 30 seconds.
wait_for() {
	local text=$1 deadline=$((SECONDS + 30))
	shift
	until grep -qsF -- "$text" $*; do
		[ $SECONDS -lt $deadline ] || fail "\"$text\" did not appear in $*"
		sleep 0.1
	done
}

# free_port: a port of 127.0.0.1 that nobody listens on now.
free_port() { perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'; }

# wait_port PORT: somebody listens on this port of 127.0.0.1 within 30 seconds. It reads the kernel's
# table: a connection would be a session that a server with one turn spends on it.
wait_port() {
	local hex deadline=$((SECONDS + 30))
	hex=$(printf '0100007F:%04X' "$1")
	until awk -v at="$hex" '($2 == at || $2 == "00000000" substr(at, 9)) && $4 == "0A" { found = 1 } END { exit !found }' /proc/net/tcp; do
		[ $SECONDS -lt $deadline ] || fail "nobody listens on port $1"
		sleep 0.1
	done
}

# delivered TEXT: a message with this text has reached the sink; prints its file.
delivered() {
	wait_for "$1" "$SINK/*.eml"
	grep -lF -- "$1" "$SINK"/*.eml | head -n 1
}
