# Domains whose mail servers have TLSA records, right and wrong, or an MTA-STS policy. All
# certificates are OpenSSL's, and so are the digests in the records.
set -euo pipefail
cd "$WORK"

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2> /dev/null; }

new_key ca.key
openssl req -x509 -new -key ca.key -subj '/CN=out CA' -days 30 -out ca.pem \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2> /dev/null
# issue FILE NAME...
issue() {
	local file=$1 names=
	shift
	for n; do names="$names${names:+,}DNS:$n"; done
	new_key "$file.key"
	openssl req -new -key "$file.key" -subj / -out "$file.csr"
	openssl x509 -req -in "$file.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out "$file.crt" \
		-extfile <(printf 'subjectAltName=%s\n' "$names") 2> /dev/null
	cat "$file.crt" ca.pem > "$file.pem"
}
issue mx ta-mx.out.test sts-mx.out.test other-mx.out.test
issue web mta-sts.sts.out.test mta-sts.other.out.test

key=$(openssl x509 -in mx.crt -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
ca=$(openssl x509 -in ca.pem -outform DER | sha256sum | cut -d' ' -f1)

cat <<EOT
out.test. 300 IN SOA ns.out.test. hostmaster.out.test. 1 7200 900 1209600 300
out.test. 300 IN NS ns.out.test.
ns.out.test. 300 IN A 127.0.0.1
key.out.test. 300 IN MX 10 key-mx.out.test.
ca.out.test. 300 IN MX 10 ta-mx.out.test.
wrong.out.test. 300 IN MX 10 wrong-mx.out.test.
hidden.out.test. 300 IN MX 10 hidden-mx.out.test.
clear.out.test. 300 IN MX 10 clear-mx.out.test.
sts.out.test. 300 IN MX 10 sts-mx.out.test.
other.out.test. 300 IN MX 10 other-mx.out.test.
key-mx.out.test. 300 IN A 127.0.0.2
ta-mx.out.test. 300 IN A 127.0.0.2
wrong-mx.out.test. 300 IN A 127.0.0.2
sts-mx.out.test. 300 IN A 127.0.0.2
other-mx.out.test. 300 IN A 127.0.0.2
hidden-mx.out.test. 300 IN A 127.0.0.4
clear-mx.out.test. 300 IN A 127.0.0.4
_$MXPORT._tcp.key-mx.out.test. 300 IN TLSA 3 1 1 $key
_$MXPORT._tcp.ta-mx.out.test. 300 IN TLSA 2 0 1 $ca
_$MXPORT._tcp.wrong-mx.out.test. 300 IN TLSA 3 1 1 $ca
_$MXPORT._tcp.hidden-mx.out.test. 300 IN TLSA 3 1 1 $key
_mta-sts.sts.out.test. 300 IN TXT "v=STSv1; id=1;"
_mta-sts.other.out.test. 300 IN TXT "v=STSv1; id=1;"
mta-sts.sts.out.test. 300 IN A 127.0.0.3
mta-sts.other.out.test. 300 IN A 127.0.0.3
EOT
