# swaks brings mail from anybody, by the records that nsd serves: what is of its domain is
# marked and delivered, what is not is refused, and what DNS cannot prove waits. dkimpy
# signs in every canonical form.
. ../lib.sh

# send NAME SENDER FILE: swaks sends a message to us; its transcript is $WORK/NAME.
send() {
	swaks --server 127.0.0.1 --port "$RELAY" --ehlo mta.judged.test --from "$2" --to ann@inbound.test \
		--data "@$3" > "$WORK/$1" 2>&1
}

# message SUBJECT FROM
message() {
	printf 'From: Ann <%s>\nTo: ann@inbound.test\nSubject: story %s\n  folded\nDate: Tue, 24 Nov 2026 12:00:00 +0000\n\nHello  Bob \n.\n\n\nhere\n\n\n' "$2" "$1"
}

# results FILE: our Authentication-Results, in one line.
results() { tr -d '\r' < "$1" | sed -n '1,/^Received:/p' | sed '$d' | tr -d '\n' | tr '\t' ' '; }

# taken NAME SENDER WANT: the message in $WORK/NAME.msg is delivered with these results.
taken() {
	send "$1" "$2" "$WORK/$1.msg" || { cat "$WORK/$1"; fail "$1 was refused"; }
	results "$(delivered "Subject: story $1")" > "$WORK/results"
	expect "Authentication-Results: mx.example.test; $3" "$WORK/results"
}

# refused NAME SENDER WANT: it is refused with this reply.
refused() {
	if send "$1" "$2" "$WORK/$1.msg"; then cat "$WORK/$1"; fail "$1 was taken"; fi
	expect "$3" "$WORK/$1"
}

{ echo 'Authentication-Results: mx.example.test; dmarc=pass header.from=forged.test'; message unsigned ann@judged.test; } > "$WORK/unsigned.msg"
taken unsigned ann@judged.test 'spf=pass smtp.mailfrom=judged.test; dkim=none; dmarc=pass (p=reject) header.from=judged.test'
if grep -q 'forged.test' "$(delivered 'Subject: story unsigned')"; then fail 'forged results were delivered'; fi
wait_for '"spf":"pass","dkim":"none","dmarc":"pass"' "$LOG"

for selector in ed rsa; do
	for header in simple relaxed; do
		for body in simple relaxed; do
			name=$selector-$header-$body
			message "$name" ann@judged.test | /usr/bin/python3 sign.py "$WORK/keys" $selector $header $body > "$WORK/$name.msg"
			taken "$name" '<>' "spf=none smtp.helo=mta.judged.test; dkim=pass header.a=$selector"
			expect "header.d=judged.test header.s=$selector; dmarc=pass (p=reject) header.from=judged.test" "$WORK/results"
			sed 's/Hello  Bob/Hello Bill/; s/story/changed/' "$WORK/$name.msg" > "$WORK/changed-$name.msg"
			refused "changed-$name" '<>' '550 5.7.1 Refused as the DMARC policy asks of judged.test'
		done
	done
done

message another ann@bank.judged.test > "$WORK/another.msg"
refused another ann@judged.test '550 5.7.1 Refused as the DMARC policy asks of bank.judged.test'
{ echo 'From: eve@stranger.test'; message two ann@judged.test; } > "$WORK/two.msg"
refused two ann@judged.test '550 5.6.0 Exactly one From field is needed'

# Nothing that bogus.test says is proved, so nobody knows whose mail this is.
message bogus ann@bogus.test > "$WORK/bogus.msg"
refused bogus ann@judged.test '451 4.7.0 Cannot find out now'
