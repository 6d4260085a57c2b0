# A web server that knows nothing of DANE: nginx hands the certificate to an application, which
# asks dancemta verify (docs/verify.md).
. ../lib.sh

cat > "$WORK/verify.toml" <<EOT
hostname   = "www.example.test"
postmaster = "postmaster@example.test"
state_dir  = "$WORK"
dns        = { upstreams = ["$RESOLVER"], trust_anchors = "$PKI/root.ds" }
listener   = [{ name = "web", kind = "relay", address = "127.0.0.1:0" }]
rule       = [{ who = "*._device.partner.test", action = "allow", from = ["any"] }]
EOT

# The application: 200 with the name for whoever is proved, else 403. It tells its port.
cat > "$WORK/app.pl" <<'EOT'
use strict; use warnings; use IO::Socket::INET; use IPC::Open2;
my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die; $| = 1;
print 'port ', $l->sockport, "\n";
while (my $c = $l->accept) {
	my $pem = '';
	while (<$c>) { s/\r?\n$//; last if $_ eq ''; $pem = $1 if /^X-Client-Cert: (.*)/ }
	$pem =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ge;
	my $pid = open2(my $out, my $in, @ARGV); print $in $pem; close $in;
	my $said = <$out> // ''; chomp $said; waitpid $pid, 0;
	my $status = $? == 0 ? '200 OK' : '403 Forbidden';
	print $c "HTTP/1.0 $status\r\nContent-Length: ", length $said, "\r\n\r\n$said"; close $c;
}
EOT
perl "$WORK/app.pl" "$DANCEMTA" verify --config "$WORK/verify.toml" --chain - > "$WORK/app" 2>&1 &
app=$!
trap 'kill $app $web 2> /dev/null || true' EXIT
web=
wait_for 'port ' "$WORK/app"
port=$(free_port)
cat > "$WORK/nginx.conf" <<EOT
daemon off;
master_process off;
pid $WORK/nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path $WORK/n1; proxy_temp_path $WORK/n2; fastcgi_temp_path $WORK/n3; uwsgi_temp_path $WORK/n4; scgi_temp_path $WORK/n5;
	server {
		listen 127.0.0.1:$port ssl;
		ssl_certificate $PKI/mx.pem;
		ssl_certificate_key $PKI/mx.key;
		ssl_protocols TLSv1.3;
		ssl_session_tickets off;
		ssl_session_cache off;
		ssl_verify_client optional_no_ca;
		location / {
			proxy_set_header X-Client-Cert \$ssl_client_escaped_cert;
			proxy_pass http://127.0.0.1:$(sed -n 's/^port //p' "$WORK/app");
		}
	}
}
EOT
nginx -c "$WORK/nginx.conf" -e "$WORK/nginx.log" > "$WORK/nginx.out" 2>&1 &
web=$!

# visit WANT [CURL OPTION...]: the status and what the application says.
visit() {
	local want=$1 got
	shift
	got=$(curl --silent --insecure --max-time 20 --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 \
		--write-out ' %{http_code}' "https://127.0.0.1:$port/" "$@") || { cat "$WORK"/nginx.* >&2; fail "no answer"; }
	[ "$got" = "$want" ] || { cat "$WORK"/nginx.* >&2; fail "$got, not $want"; }
}
visit 'verified client sensor7._device.partner.test 200' --cert "$PKI/device.pem" --key "$PKI/device.key"
visit 'refused client no-match 403' --cert "$PKI/wrong.pem" --key "$PKI/wrong.key"
visit 'refused client not-allowed 403' --cert "$PKI/mta.pem" --key "$PKI/mta.key"
visit ' 403'
visit ' 403' -H "X-Client-Cert: $(perl -pe 's/([^A-Za-z0-9])/sprintf "%%%02X", ord $1/ge' "$PKI/device.pem")" # anybody has it
