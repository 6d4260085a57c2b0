# The directory of example.test, opened by certificates alone: OpenLDAP's tools, python3-ldap3
# and the peer in C come to the bridge, behind which is slapd as docs/examples configures it.
. ../lib.sh
. ../slapd.sh

BASE=dc=example,dc=test
PEOPLE=ou=people,$BASE
TLS_URI=ldaps://127.0.0.1:$LDAPS
CLEAR_URI=ldap://127.0.0.1:$LDAP
export LDAPTLS_CACERT=$PKI/server-ca.pem LDAPTLS_REQCERT=demand LDAPRC=none

slapd_load
slapd_start
trap 'kill $SLAPD_PID 2> /dev/null || true' EXIT

# as WHO TOOL ARGS...: the tool with this certificate, over TLS at once. as_starttls: by StartTLS.
as() {
	local who=$1 tool=$2
	shift 2
	LDAPTLS_CERT=$who.pem LDAPTLS_KEY=$who.key "$tool" -Q -Y EXTERNAL -H "$TLS_URI" "$@" < /dev/null
}
as_starttls() {
	local who=$1 tool=$2
	shift 2
	LDAPTLS_CERT=$who.pem LDAPTLS_KEY=$who.key "$tool" -Q -Y EXTERNAL -ZZ -H "$CLEAR_URI" "$@" < /dev/null
}

# equals WANT GOT
equals() { [ "$1" = "$2" ] || fail "\"$2\" is not \"$1\""; }

# refused CODE COMMAND...: the tool ends with this result code of LDAP.
refused() {
	local want=$1 got=0
	shift
	"$@" > "$WORK/out" 2>&1 || got=$?
	[ $got = "$want" ] || { cat "$WORK/out" >&2; fail "$*: $got, not $want"; }
}

search() { "$@" ldapsearch -LLL -o ldif-wrap=no -b "$BASE" '(objectClass=*)' 1.1 | sed -n 's/^dn: //p' | sort; }
seen() {
	printf '%s\n' "cn=price list,ou=$1,ou=shared,$BASE" "ou=$1,ou=shared,$BASE" "uid=rick,ou=$1,$PEOPLE" | sort
}

# Two users of one uid: each is himself, and sees his own.
for how in as as_starttls; do
	equals u:rick@partner.test "$($how "$PKI/rick" ldapwhoami)"
	equals u:rick@other.test "$($how "$PKI/namesake" ldapwhoami)"
	equals "$(seen partner.test)" "$(search $how "$PKI/rick")"
	equals "$(seen other.test)" "$(search $how "$PKI/namesake")"
done
wait_for '"identity":"rick@partner.test"' "$LOG"
equals "$(seen partner.test)" "$(as "$PKI/rick" ldapsearch -LLL -o ldif-wrap=no -E pr=1/noprompt -b "$BASE" '(objectClass=*)' 1.1 | sed -n 's/^dn: //p' | sort)"

# An authorization identity is one's own, in any of its forms, or a refusal.
equals u:rick@partner.test "$(as "$PKI/rick" ldapwhoami -X u:Rick@partner.test)"
equals u:rick@partner.test "$(as "$PKI/rick" ldapwhoami -X "dn:uid=rick,ou=partner.test,$PEOPLE")"
refused 49 as "$PKI/rick" ldapwhoami -X u:rick@other.test
refused 49 as "$PKI/rick" ldapwhoami -X "dn:cn=bridge,ou=services,$BASE"
refused 123 as "$PKI/rick" ldapsearch -b "$BASE" -e '!authzid=u:rick@other.test'

# He changes what is his to change, and reads what it was; the other may not change at all.
mine="uid=rick,ou=partner.test,$PEOPLE"
change() { printf 'dn: %s\nchangetype: modify\nreplace: %s\n%s: %s\n' "$1" "$2" "$2" "$3" > "$WORK/change"; }
change "$mine" telephoneNumber '+1 555 0909'
as_starttls "$PKI/rick" ldapmodify -f "$WORK/change" -e '!preread=telephoneNumber' > "$WORK/modified"
expect 'telephoneNumber: +1 555 0101' "$WORK/modified"
as "$PKI/rick" ldapsearch -LLL -b "$mine" -s base telephoneNumber > "$WORK/found"
expect 'telephoneNumber: +1 555 0909' "$WORK/found"
as "$PKI/rick" ldapcompare "$mine" 'telephoneNumber:+1 555 0909' > "$WORK/compared" && fail 'ldapcompare ends with 0'
expect TRUE "$WORK/compared"
change "$mine" mail boss@partner.test
refused 50 as "$PKI/rick" ldapmodify -f "$WORK/change"
refused 50 as "$PKI/rick" ldapdelete "cn=price list,ou=partner.test,ou=shared,$BASE"
change "uid=rick,ou=other.test,$PEOPLE" telephoneNumber 1
refused 50 as "$PKI/namesake" ldapmodify -f "$WORK/change"

# His password is for whoever binds elsewhere; here he proves nothing by it.
as "$PKI/rick" ldappasswd -s 'for elsewhere'
equals "dn:$mine" "$(ldapwhoami -x -D "$mine" -w 'for elsewhere' -H "ldaps://127.0.0.1:$SLAPD_PORT")"
refused 1 as "$PKI/namesake" ldappasswd -s other # whatever the result is
expect 'Insufficient access (50)' "$WORK/out"

# A second library.
/usr/bin/python3 client.py "$LDAP" "$LDAPS" "$PKI"

# The name told in the TLS handshake, by either way into TLS; a wrong one ends it.
# tells NAME PORT [OPTION...]: the peer's dialog under this name.
tells() {
	local name=$1 port=$2
	shift 2
	printf '%s\n' whoami bind whoami 'bind u:rick@other.test' bind whoami unbind |
		"$PEER" client "127.0.0.1:$port" "$@" --ldap --cert "$PKI/rick.pem" --key "$PKI/rick.key" --name "$name" > "$WORK/peer"
	expect ffdc000100 <(grep '^message 13 ' "$WORK/peer")
	grep '^[<ae]' "$WORK/peer" | grep -v '^extension\|^<0 1\.3\.6' | sed '/^<49/s/ .*//' | tr -s '\n ' '  ' | tr -s ' '
}
for way in "$LDAP --starttls" "$LDAPS"; do
	equals '<0 <0 <0 u:rick@partner.test <49 <0 <0 u:rick@partner.test end ' "$(tells _user.partner.test $way)"
	expect 'handshake TLSv1.3' "$WORK/peer"
	case $(tells _user.other.test $way) in *'alert 40 '*) ;; *) cat "$WORK/peer" >&2; fail 'a wrong name is taken' ;; esac
done

# Who is nobody hears one text, whatever the reason is; the log knows it. Trouble is another word.
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2'
openssl req -x509 $key -subj '/CN=another CA' -addext 'keyUsage=critical,keyCertSign' -keyout "$WORK/ca.key" -out "$WORK/ca.pem" 2> "$WORK/openssl"
openssl req -x509 $key -subj '/CN=rick' -CA "$WORK/ca.pem" -CAkey "$WORK/ca.key" -addext 'basicConstraints=critical,CA:false' \
	-addext 'subjectAltName=DNS:partner.test,otherName:0.9.2342.19200300.100.1.1;UTF8:rick' \
	-keyout "$WORK/forged.key" -out "$WORK/leaf.pem" 2>> "$WORK/openssl"
cat "$WORK/leaf.pem" "$WORK/ca.pem" > "$WORK/forged.pem"
for who in "$WORK/forged no-match" "$PKI/eve unusable" "$PKI/careless insecure" "$PKI/unknown not-allowed" "$PKI/device no-user"; do
	for how in as as_starttls; do
		refused 48 $how "${who% *}" ldapwhoami
		sed -n 's/.*additional info: *//p' "$WORK/out" | sed 's/ (session .*//' >> "$WORK/texts"
	done
	wait_for "\"${who##* }" "$LOG"
done
equals 1 "$(sort -u "$WORK/texts" | wc -l)"

# A password is none of our ways in, with TLS and without.
export LDAPTLS_CERT=$PKI/rick.pem LDAPTLS_KEY=$PKI/rick.key
refused 7 ldapwhoami -x -D "$mine" -w secret -H "$TLS_URI"
refused 13 ldapwhoami -x -D "$mine" -w secret -H "$CLEAR_URI"
refused 53 ldapwhoami -x -D "$mine" -w '' -H "$TLS_URI"
# Nobody in particular sees what the server can do, and nothing else.
ldapsearch -x -LLL -H "$CLEAR_URI" -s base -b '' supportedExtension supportedSASLMechanisms > "$WORK/root"
expect 'supportedExtension: 1.3.6.1.4.1.1466.20037' "$WORK/root"
if grep -q EXTERNAL "$WORK/root"; then fail 'EXTERNAL is offered in clear'; fi
ldapsearch -x -LLL -H "$TLS_URI" -s base -b '' supportedSASLMechanisms > "$WORK/root"
expect 'supportedSASLMechanisms: EXTERNAL' "$WORK/root"
refused 50 ldapsearch -x -H "$TLS_URI" -b "$BASE"

# The directory goes away, and comes back.
slapd_stop
got=0
as "$PKI/rick" ldapsearch -LLL -b "$BASE" 1.1 > "$WORK/out" 2>&1 || got=$?
case $got in 51 | 52) ;; *) cat "$WORK/out" >&2; fail "without slapd: $got" ;; esac
equals u:rick@partner.test "$(as "$PKI/rick" ldapwhoami)"
slapd_start
deadline=$((SECONDS + 30))
until [ "$(search as "$PKI/rick" 2> /dev/null)" = "$(seen partner.test)" ]; do
	[ $SECONDS -lt $deadline ] || fail 'slapd is back, and the bridge does not notice'
	sleep 0.1
done

