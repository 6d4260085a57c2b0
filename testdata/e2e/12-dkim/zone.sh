# A domain whose users' mail is signed, by an RSA and an Ed25519 key: what "dancemta dkim new"
# prints goes into the zone as it is.
set -euo pipefail
"$DANCEMTA" usercert ca --domain signed.test --out "$WORK/ca" >&2
"$DANCEMTA" usercert issue --ca "$WORK/ca" --user rick --out "$WORK/users" >&2
"$DANCEMTA" tlsa user signed.test "$WORK/ca/ca.pem" --zone signed.test --ns ns.signed.test=127.0.0.1
"$DANCEMTA" dkim new --domain signed.test --selector ed --dir "$WORK/keys"
"$DANCEMTA" dkim new --domain signed.test --selector rsa --type rsa --dir "$WORK/keys"
