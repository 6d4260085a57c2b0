# Sourced by the stories of directories, behind lib.sh: slapd with the configuration of
# docs/examples/slapd, in $WORK/slapd.
#
#   SLAPD_SOCKET  where dancemta finds it
#   SLAPD_PORT    its port for ldaps
SLAPD_DIR=$WORK/slapd
SLAPD_SOCKET=$SLAPD_DIR/ldapi
SLAPD_PORT=$(free_port)

# slapd_load LDIF...: makes a new directory of these files.
slapd_load() {
	local examples=../../../docs/examples/slapd file
	mkdir -p "$SLAPD_DIR/db" "$SLAPD_DIR/run"
	sed "s|/etc/ldap/dancemta|$SLAPD_DIR|g" "$examples/slapd.conf" > "$SLAPD_DIR/slapd.conf"
	cp "$PKI/gateway-ca.pem" "$SLAPD_DIR/bridge-ca.pem"
	cp "$PKI/directory.pem" "$SLAPD_DIR/slapd.pem"
	cp "$PKI/directory.key" "$SLAPD_DIR/slapd.key"
	for file in "$examples/base.ldif" "$@"; do
		slapadd -q -f "$SLAPD_DIR/slapd.conf" -l "$file" > "$SLAPD_DIR/slapadd.log" 2>&1 || { cat "$SLAPD_DIR/slapadd.log"; fail "slapadd $file"; }
	done
}

# slapd_start: serves it; the process is $SLAPD_PID.
slapd_start() {
	local deadline=$((SECONDS + 30))
	slapd -d none -f "$SLAPD_DIR/slapd.conf" -h "ldaps://127.0.0.1:$SLAPD_PORT ldapi://${SLAPD_SOCKET//\//%2F}" > "$SLAPD_DIR/log" 2>&1 &
	SLAPD_PID=$!
	until ldapwhoami -x -H "ldapi://${SLAPD_SOCKET//\//%2F}" > /dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || { cat "$SLAPD_DIR/log" >&2; fail 'slapd does not start'; }
		sleep 0.05
	done
}

slapd_stop() {
	kill "$SLAPD_PID"
	wait "$SLAPD_PID" || true
}
