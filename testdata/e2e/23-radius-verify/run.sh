# A network's door that knows nothing of DANE: FreeRADIUS asks dancemta verify about the certificate of EAP-TLS
# (docs/verify.md), which wpa_supplicant's eapol_test shows.
. ../lib.sh

cat > "$WORK/verify.toml" <<EOT
hostname   = "radius.example.test"
postmaster = "postmaster@example.test"
state_dir  = "$WORK"
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }
listener   = [{ name = "radius", kind = "relay", address = "127.0.0.1:0" }]
rule       = [{ who = "_smtp-client.*.test", action = "allow", from = ["any"] }]
EOT
# The CAs whose certificates are asked about at all, and which FreeRADIUS does not hand over.
cat "$PKI/mta-ca.pem" "$PKI/unsigned.pem" > "$WORK/cas.pem"
# FreeRADIUS hands no environment on.
cat > "$WORK/hook" <<EOT
#!/bin/sh
cat "\$1" "$WORK/cas.pem" | env $(env | grep ^DANCEMTA_ | tr '\n' ' ') "$DANCEMTA" verify --config "$WORK/verify.toml" --chain - --json >> "$WORK/verdicts"
EOT
chmod 755 "$WORK/hook"
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Proto => "udp")->sockport')
cat > "$WORK/radiusd.conf" <<EOT
name = freeradius
confdir = $WORK
modconfdir = $WORK
certdir = $PKI
logdir = $WORK
run_dir = $WORK
libdir = /usr/lib/freeradius
pidfile = $WORK/radius.pid
client local {
	ipaddr = 127.0.0.1
	secret = testing123
}
modules {
	eap {
		default_eap_type = tls
		tls-config tls-common {
			private_key_file = $PKI/mx.key
			certificate_file = $PKI/mx.pem
			ca_file = $WORK/cas.pem
			tls_min_version = "1.3"
			tls_max_version = "1.3"
			cache {
				enable = no
			}
			verify {
				tmpdir = $WORK/radius
				client = "$WORK/hook %{TLS-Client-Cert-Filename}"
			}
		}
		tls {
			tls = tls-common
		}
	}
}
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.1
		port = $port
	}
	authorize {
		eap
	}
	authenticate {
		eap
	}
}
EOT
mkdir -m 700 "$WORK/radius"
freeradius -d "$WORK" -n radiusd -fxx -l stdout > "$WORK/radius.log" 2>&1 &
radius=$!
trap 'kill $radius 2> /dev/null || true' EXIT
wait_for 'Ready to process requests' "$WORK/radius.log"

# join NAME: somebody with this certificate asks to be let in.
join() {
	cat > "$WORK/eapol" <<EOT
network={
	key_mgmt=IEEE8021X
	eap=TLS
	identity="$1"
	ca_cert="$PKI/server-ca.pem"
	client_cert="$PKI/$1.pem"
	private_key="$PKI/$1.key"
	phase1="tls_disable_tlsv1_3=0"
}
EOT
	eapol_test -c "$WORK/eapol" -a 127.0.0.1 -p "$port" -s testing123 -t 20 > "$WORK/$1.out" 2>&1
}

join mta || { tail -n 60 "$WORK/mta.out" "$WORK/radius.log" >&2; fail "the MTA is kept out"; }
expect '"identity":"_smtp-client.mta.partner.test"' "$WORK/verdicts"
join unsigned && fail "a zone without signatures lets its clients in"
expect '_smtp-client.mta.unsigned.test' "$WORK/verdicts"
# Whose CA is not known here is not even asked about.
join device && fail "a stranger came in"
expect SUCCESS "$WORK/mta.out"
