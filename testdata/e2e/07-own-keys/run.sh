# A user of a domain whose CA, certificate and zone are made by dancemta alone sends with msmtp,
# and logs in with what came out of his PKCS #12 file; a CA that is not published helps nobody.
. ../lib.sh

cat > "$WORK/msmtprc" <<EOT
account default
host 127.0.0.1
port $SUBMISSION
tls on
tls_starttls on
tls_trust_file $PKI/server-ca.pem
tls_host_override mx.example.test
tls_cert_file $WORK/users/rick.pem
tls_key_file $WORK/users/rick.key
auth external
user rick@own.test
EOT
chmod 600 "$WORK/msmtprc"
printf 'From: rick@own.test\nTo: ann@remote.test\nSubject: story own keys\n\nHello\n' |
	msmtp --file="$WORK/msmtprc" --from=rick@own.test ann@remote.test
file=$(delivered 'Subject: story own keys')
expect 'with ESMTPSA' "$file"
expect '"identity":"rick@own.test"' "$LOG"

# login CERT KEY: over STARTTLS, by GNU SASL's client.
login() {
	gsasl --smtp --mechanism EXTERNAL --connect "127.0.0.1:$SUBMISSION" --starttls \
		--x509-ca-file="$PKI/server-ca.pem" --x509-cert-file="$1" --x509-key-file="$2" \
		--authorization-id=rick@own.test --no-cb --verbose < /dev/null > "$WORK/out" 2>&1
}

openssl pkcs12 -in "$WORK/rick.p12" -passin "file:$WORK/password" -noenc -out "$WORK/rick.all" 2> "$WORK/openssl" ||
	{ cat "$WORK/openssl"; fail "openssl cannot read the PKCS #12 file"; }
login "$WORK/rick.all" "$WORK/rick.all" || { cat "$WORK/out"; fail "no login with the PKCS #12 file"; }
expect '235 2.7.0' "$WORK/out"

"$DANCEMTA" usercert show "$WORK/users/rick.pem" > "$WORK/show" || fail "usercert show: $?"
expect 'rick@own.test' "$WORK/show"

"$DANCEMTA" usercert ca --domain own.test --out "$WORK/twin" > /dev/null
"$DANCEMTA" usercert issue --ca "$WORK/twin" --user rick --out "$WORK/twin" > /dev/null
login "$WORK/twin/rick.pem" "$WORK/twin/rick.key" && fail "a CA that is not published logged a user in"
expect '535 5.7.8' "$WORK/out"

# The zone is ready for other people's servers and signers, also with a whole CA in it.
cd "$WORK"
"$DANCEMTA" tlsa user own.test ca/ca.pem --matching 0 --zone own.test --ns ns.own.test=127.0.0.1,2001:db8::1 > whole.zone
for zone in own whole; do
	nsd-checkzone own.test $zone.zone || fail "nsd does not take $zone.zone"
	ldns-signzone $zone.zone "$(ldns-keygen -a ECDSAP256SHA256 -k own.test)"
	ldns-verify-zone $zone.zone.signed || fail "$zone.zone was not signed well"
done
