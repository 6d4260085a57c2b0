# GNU SASL's client logs a user in by EXTERNAL; the certificate of a user whose domain
# publishes only a usage 3 record at _user does not log anybody in.
. ../lib.sh

login() {
	gsasl --smtp --mechanism EXTERNAL --connect "127.0.0.1:$SUBMISSION" --starttls \
		--x509-ca-file="$PKI/server-ca.pem" \
		--x509-cert-file="$PKI/$1.pem" --x509-key-file="$PKI/$1.key" \
		--authorization-id="$2" --no-cb --verbose < /dev/null > "$WORK/out" 2>&1
}

login rick rick@partner.test || { cat "$WORK/out"; fail "no login"; }
expect '235 2.7.0' "$WORK/out"

login eve eve@ee.test && fail "a usage 3 record at _user made a user"
expect '535 5.7.8' "$WORK/out"

login rick boss@partner.test && fail "rick@partner.test became boss@partner.test"
expect '535 5.7.8' "$WORK/out"
