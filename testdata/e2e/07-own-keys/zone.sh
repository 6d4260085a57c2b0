# The runner plays this before DNS starts, signs the zone that it prints, and serves it. All
# keys, certificates and records of own.test are made by dancemta's own commands.
set -euo pipefail
printf 'open sesame\n' > "$WORK/password"
"$DANCEMTA" usercert ca --domain own.test --out "$WORK/ca" >&2
"$DANCEMTA" usercert issue --ca "$WORK/ca" --user Rick --out "$WORK/users" \
	--p12 "$WORK/rick.p12" --p12-password-file "$WORK/password" >&2
"$DANCEMTA" tlsa user own.test "$WORK/ca/ca.pem" --zone own.test --ns ns.own.test=127.0.0.1 |
	tee "$WORK/own.zone"
