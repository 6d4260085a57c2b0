# Who sends with a client certificate: curl, swaks, msmtp, gsasl, each by STARTTLS and, where it can,
# by TLS from the first octet; with the certificate of a device or a user, with another's name, with
# none, and with one whose zone proves nothing or cannot be proved; and Postfix with each of them at
# once. (Exim is TestStoriesEximSender.) Then Postfix's smtp-source brings many messages at once, and each arrives once.
. ../lib.sh
. ../postfix.sh

# Each by_PROGRAM CERT PORT SENDER SUBJECT [FLAG...] sends one message as CERT ("": with none) to
# ann@remote.test, and leaves what was said in $WORK/said.
by_curl() {
	local scheme=smtp cert=()
	[ -z "$1" ] || cert=(--cert "$PKI/$1.pem" --key "$PKI/$1.key")
	case $2 in "$SUBMISSIONS" | "$SILENT") scheme=smtps ;; esac
	printf 'From: %s\r\nSubject: %s\r\n\r\nHello\r\n' "$3" "$4" |
		curl --verbose --no-progress-meter --max-time 30 --noproxy '*' --ssl-reqd --cacert "$PKI/server-ca.pem" "${cert[@]}" "${@:5}" \
			--mail-from "$3" --mail-rcpt ann@remote.test --upload-file - "$scheme://127.0.0.1:$2/laptop" > "$WORK/said" 2>&1
}
by_swaks() {
	local tls=--tls cert=()
	[ -z "$1" ] || cert=(--tls-cert "$PKI/$1.pem" --tls-key "$PKI/$1.key")
	# It sends the certificate alone; OpenSSL completes the chain from the CAs that it trusts.
	[ ! -e "$PKI/$1-ca.pem" ] || cert+=(--tls-ca-path "$PKI/$1-ca.pem")
	case $2 in "$SUBMISSIONS" | "$SILENT") tls=--tls-on-connect ;; esac
	swaks --server 127.0.0.1 --port "$2" --ehlo laptop $tls "${cert[@]}" --from "$3" --to ann@remote.test \
		--header "From: $3" --header "Subject: $4" "${@:5}" > "$WORK/said" 2>&1
}
by_msmtp() {
	local starttls=on cert=()
	[ -z "$1" ] || cert=(--tls-cert-file="$PKI/$1.pem" --tls-key-file="$PKI/$1.key")
	case $2 in "$SUBMISSIONS" | "$SILENT") starttls=off ;; esac
	printf 'From: %s\nSubject: %s\n\nHello\n' "$3" "$4" |
		msmtp --debug --host=127.0.0.1 --port="$2" --tls=on --tls-starttls=$starttls --tls-trust-file="$PKI/server-ca.pem" \
			--tls-host-override=mx.example.test "${cert[@]}" --from="$3" "${@:5}" ann@remote.test > "$WORK/said" 2>&1
}

# sends PROGRAM CERT PORT SENDER WANT [FLAG...]: the message is delivered, and its trace has WANT.
sends() {
	local subject="story $1 ${2:-none} to $3 as $4"
	"by_$1" "$2" "$3" "$4" "$subject" "${@:6}" || { cat "$WORK/said"; fail "$subject: not sent"; }
	expect "$5" "$(delivered "Subject: $subject")"
}

# refused PROGRAM CERT PORT SENDER REPLY [FLAG...]: the message is refused so, and never delivered.
refused() {
	local subject="story $1 ${2:-none} to $3 as $4"
	if "by_$1" "$2" "$3" "$4" "$subject" "${@:6}"; then cat "$WORK/said"; fail "$subject: was sent"; fi
	expect "$5" "$WORK/said"
	printf 'Subject: %s\n' "$subject" >> "$WORK/unwanted"
}

for program in curl swaks msmtp; do
	sends $program device "$RELAY" sensor7@partner.test 'client dane sensor7._device.partner.test'
	refused $program wrong "$RELAY" sensor7@partner.test '550 5.7.1'
	refused $program '' "$RELAY" sensor7@partner.test '550 5.7.1'
	refused $program unsigned "$RELAY" a@unsigned.test '550 5.7.1'
	refused $program rick "$RELAY" rick@partner.test '550 5.7.1' # users do not come in here
	refused $program bogus "$RELAY" a@bogus.test '451 4.7.5'
	# Where a rule invites them, devices may come by TLS from the first octet.
	sends $program device "$SILENT" sensor7@partner.test 'client dane sensor7._device.partner.test'
	refused $program wrong "$SILENT" sensor7@partner.test '530 5.7.0'
	refused $program device "$SUBMISSIONS" sensor7@partner.test '530 5.7.0'
	# A user's certificate logs him in without a word, where that is wanted; no SMTP AUTH, no "A" (RFC 3848).
	sends $program rick "$SILENT" rick@partner.test 'with ESMTPS id'
	refused $program rick "$SILENT" boss@partner.test '553 5.7.1'
	refused $program eve "$SILENT" eve@ee.test '530 5.7.0' # a usage 3 record is none for users
done

# By AUTH EXTERNAL; the one of story 01 takes STARTTLS.
for port in "$SUBMISSION" "$SUBMISSIONS"; do
	external=(--login-options AUTH=EXTERNAL --user rick@partner.test:)
	sends curl rick "$port" rick@partner.test 'with ESMTPSA' "${external[@]}"
	refused curl rick "$port" boss@partner.test '553 5.7.1' "${external[@]}"
	refused curl eve "$port" rick@partner.test '535 5.7.8' "${external[@]}"
done
external=(--auth=external --user=rick@partner.test)
sends msmtp rick "$SUBMISSIONS" rick@partner.test 'with ESMTPSA' "${external[@]}"
refused msmtp rick "$SUBMISSIONS" boss@partner.test '553 5.7.1' "${external[@]}"
refused msmtp eve "$SUBMISSIONS" rick@partner.test '535 5.7.8' "${external[@]}"

# gsasl alone asks for what it was offered: a device's certificate logs nobody in, and without one
# nothing is announced.
by_gsasl() {
	gsasl --smtp --mechanism EXTERNAL --connect "127.0.0.1:$SUBMISSION" --starttls --x509-ca-file="$PKI/server-ca.pem" \
		--authorization-id=rick@partner.test --no-cb --verbose "$@" < /dev/null > "$WORK/said" 2>&1
}
for cert in device wrong; do
	by_gsasl --x509-cert-file="$PKI/$cert.pem" --x509-key-file="$PKI/$cert.key" && fail "a device's certificate made a user"
	expect '535 5.7.8' "$WORK/said"
done
by_gsasl || true # it may find nothing to do, and no fault in that
if grep -qE '^250.AUTH.*EXTERNAL|^235' "$WORK/said"; then cat "$WORK/said"; fail 'EXTERNAL for a client without a certificate'; fi

# Postfix with a certificate for each sender: its services differ in that alone.
postfix_new mta.partner.test
cat >> "$conf/main.cf" <<EOT
inet_interfaces = loopback-only
default_transport = discard
smtp_tls_security_level = encrypt
smtp_tls_CAfile = $PKI/server-ca.pem
sender_dependent_default_transport_maps = texthash:$conf/transports
EOT
cat >> "$conf/master.cf" <<'EOT'
pickup    unix  n - n 60 1 pickup
tlsmgr    unix  - - n 1000? 1 tlsmgr
discard   unix  - - n - - discard
EOT
# postfix_as NAME CERT PORT SENDER FLAG...: mail of this sender leaves by this service.
postfix_as() {
	printf '%s %s:[127.0.0.1]:%s\n' "$4" "$1" "$3" >> "$conf/transports"
	{
		printf '%s unix - - n - - smtp\n' "$1"
		if [ -n "$2" ]; then printf '\t-o smtp_tls_cert_file=%s -o smtp_tls_key_file=%s\n' "$PKI/$2.pem" "$PKI/$2.key"; fi
		printf '\t-o %s\n' "${@:5}"
	} >> "$conf/master.cf"
}
postfix_as device device "$RELAY" device@partner.test smtp_tls_loglevel=1
postfix_as silent device "$SILENT" silent@partner.test smtp_tls_wrappermode=yes
postfix_as user rick "$SILENT" rick@partner.test smtp_tls_wrappermode=yes
postfix_as another rick "$SILENT" boss@partner.test smtp_tls_wrappermode=yes
postfix_as wrong wrong "$RELAY" wrong@partner.test smtp_tls_loglevel=1
postfix_as none '' "$RELAY" none@partner.test smtp_tls_loglevel=1
postfix_as unsigned unsigned "$RELAY" a@unsigned.test smtp_tls_loglevel=1
postfix_as bogus bogus "$RELAY" a@bogus.test smtp_tls_loglevel=1
trap postfix_abort EXIT
postfix_start
# by_postfix NAME SENDER STATUS WORD: what becomes of its mail, with this word in Postfix's log.
by_postfix() {
	local deadline=$((SECONDS + 30))
	printf 'From: %s\nSubject: story postfix %s\n\nHello\n' "$2" "$1" | sendmail -C "$conf" -f "$2" "$1@remote.test"
	until grep -F "to=<$1@remote.test>" "$POSTFIX_LOG" | grep -F status= > "$WORK/status"; do
		[ $SECONDS -lt $deadline ] || { cat "$POSTFIX_LOG"; fail "postfix $1: no status"; }
		sleep 0.1
	done
	expect "status=$3" "$WORK/status"
	expect "$4" "$WORK/status"
	if [ "$3" = sent ]; then delivered "Subject: story postfix $1" > "$WORK/file"; else printf 'Subject: story postfix %s\n' "$1" >> "$WORK/unwanted"; fi
}
by_postfix device device@partner.test sent '250 2.6.0'
expect 'client dane sensor7._device.partner.test' "$(cat "$WORK/file")"
by_postfix silent silent@partner.test sent '250 2.6.0'
expect 'client dane sensor7._device.partner.test' "$(cat "$WORK/file")"
by_postfix user rick@partner.test sent '250 2.6.0'
by_postfix another boss@partner.test bounced '553 5.7.1'
by_postfix wrong wrong@partner.test bounced '550 5.7.1'
by_postfix none none@partner.test bounced '550 5.7.1'
by_postfix unsigned a@unsigned.test bounced '550 5.7.1'
by_postfix bogus a@bogus.test deferred '451 4.7.5'

# 1,000 messages in 10 sessions at once. Their recipients are numbered, and Received tells them.
messages=1000
smtp-source -s 10 -m $messages -l 3000 -N -M load.stranger.test -f load@stranger.test -t ann@inbound.test -S 'story load' "127.0.0.1:$RELAY" > "$WORK/source" 2>&1 ||
	{ cat "$WORK/source"; fail "smtp-source: $?"; }
arrived() { grep -lF 'Subject: story load' "$SINK"/*.eml | xargs -r sed -n 's/.*for <\([0-9]*ann@inbound.test\)>.*/\1/p'; }
deadline=$((SECONDS + 60))
until [ "$(arrived | wc -l)" -ge $messages ]; do
	[ $SECONDS -lt $deadline ] || fail "$(arrived | wc -l) of $messages messages arrived"
	sleep 0.2
done
[ "$(arrived | sort -u | wc -l)" = $messages ] || fail 'some arrived twice'

if grep -hF -f "$WORK/unwanted" "$SINK"/*.eml; then fail 'what was refused was delivered'; fi
