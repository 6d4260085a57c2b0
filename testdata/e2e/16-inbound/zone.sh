# A domain that says by SPF, DKIM and DMARC which mail is its own, and one below it that
# takes nothing for its own but what bears its very name.
set -euo pipefail
"$DANCEMTA" dkim new --domain judged.test --selector ed --dir "$WORK/keys" > "$WORK/ed.zone"
"$DANCEMTA" dkim new --domain judged.test --selector rsa --type rsa --dir "$WORK/keys" > "$WORK/rsa.zone"
cat <<END
judged.test. 3600 IN SOA ns.judged.test. hostmaster.judged.test. 1 7200 900 1209600 300
judged.test. 3600 IN NS ns.judged.test.
ns.judged.test. 3600 IN A 127.0.0.1
judged.test. 3600 IN TXT "v=spf1 ip4:127.0.0.1 -all"
_dmarc.judged.test. 3600 IN TXT "v=DMARC1; p=reject"
_dmarc.bank.judged.test. 3600 IN TXT "v=DMARC1; p=reject; aspf=s; adkim=s"
END
cat "$WORK/ed.zone" "$WORK/rsa.zone"
