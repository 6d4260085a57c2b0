# The runner plays this before DNS starts, signs the zone that it prints, and serves it. The MTA of
# told.test has a CA, and a certificate that also has the whole owner name among its names: with
# usage 2 it must be there (client-auth 8.2).
set -euo pipefail
cd "$WORK"
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2'
{
	openssl req -x509 $key -subj '/CN=told CA' -addext 'keyUsage=critical,keyCertSign' -keyout ca.key -out ca.pem
	openssl req -x509 $key -subj '/CN=told MTA' -CA ca.pem -CAkey ca.key -addext 'basicConstraints=critical,CA:false' \
		-addext 'subjectAltName=DNS:mta.told.test,DNS:_smtp-client.mta.told.test' -keyout mta.key -out leaf.pem
} >&2
cat leaf.pem ca.pem > mta.pem
"$DANCEMTA" tlsa client mta.told.test --usage 2 mta.pem --zone told.test --ns ns.told.test=127.0.0.1
