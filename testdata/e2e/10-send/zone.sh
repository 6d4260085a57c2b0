# The relay of the story, under names of its own: mx with its own key, false with another one.
# No port is known yet, so that wildcards stand for all of them.
set -euo pipefail
"$DANCEMTA" usercert ca --domain send.test --out "$WORK/ca" >&2
record() { "$DANCEMTA" tlsa owner "$1" "$2" --usage 3 2> /dev/null | sed 's/.* IN //'; }
"$DANCEMTA" tlsa user send.test "$WORK/ca/ca.pem" --zone send.test --ns ns.send.test=127.0.0.1
cat <<EOT
send.test. 3600 IN MX 10 mx.send.test.
mx.send.test. 3600 IN A 127.0.0.1
*._tcp.mx.send.test. 3600 IN $(record a.send.test "$PKI/mx.pem")
false.send.test. 3600 IN A 127.0.0.1
*._tcp.false.send.test. 3600 IN $(record a.send.test "$PKI/device.pem")
none.send.test. 3600 IN A 127.0.0.1
EOT
