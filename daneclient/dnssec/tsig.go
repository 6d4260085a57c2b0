package dnssec

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/miekg/dns"

	"dancemta/internal/dnsname"
)

// TSIGKey is a secret shared with a name server. RFC 8945
type TSIGKey struct {
	Name      dnsname.Name
	Algorithm string // "hmac-sha256", "hmac-sha384" or "hmac-sha512"
	Secret    []byte
}

// tsigAlgorithms are those that may sign. Older ones are left out: MD5 and SHA-1
// must not be used any more (RFC 8945 6).
var tsigAlgorithms = map[string]string{
	"hmac-sha256": dns.HmacSHA256,
	"hmac-sha384": dns.HmacSHA384,
	"hmac-sha512": dns.HmacSHA512,
}

const (
	// minSecret is half of the shortest digest; shorter secrets can be guessed.
	// RFC 8945 8
	minSecret = 16
	// maxKeyText is more than any file with one key has.
	maxKeyText = 4 << 10
)

// A key file as tsig-keygen writes it, and the option -y of nsupdate and dig.
var (
	keyClause    = regexp.MustCompile(`^key\s+"?([^"\s{]+)"?\s*\{([^{}]*)\}\s*;?$`)
	keyAlgorithm = regexp.MustCompile(`\balgorithm\s+"?([^"\s;]+)"?\s*;`)
	keySecret    = regexp.MustCompile(`\bsecret\s+"?([^"\s;]+)"?\s*;`)
)

// ParseTSIGKey reads a key in either of two forms: the clause that tsig-keygen
// writes (key "name" { algorithm hmac-sha256; secret "…"; };), or
// hmac-sha256:name:secret. The errors never show the secret.
func ParseTSIGKey(text string) (TSIGKey, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxKeyText {
		return TSIGKey{}, errors.New("TSIG key: too long")
	}
	var algorithm, name, secret string
	if m := keyClause.FindStringSubmatch(text); m != nil {
		a, s := keyAlgorithm.FindStringSubmatch(m[2]), keySecret.FindStringSubmatch(m[2])
		if a == nil || s == nil {
			return TSIGKey{}, errors.New("TSIG key: no algorithm or no secret")
		}
		algorithm, name, secret = a[1], m[1], s[1]
	} else if parts := strings.Split(text, ":"); len(parts) == 3 {
		algorithm, name, secret = parts[0], parts[1], parts[2]
	} else {
		return TSIGKey{}, errors.New(`TSIG key: neither key "name" { algorithm …; secret "…"; }; nor algorithm:name:secret`)
	}
	k := TSIGKey{Algorithm: strings.ToLower(algorithm)}
	if tsigAlgorithms[k.Algorithm] == "" {
		return TSIGKey{}, fmt.Errorf("TSIG key: algorithm %.40q: want hmac-sha256, hmac-sha384 or hmac-sha512", algorithm)
	}
	var err error
	if k.Name, err = dnsname.ParseOwner(strings.TrimSuffix(name, ".")); err != nil {
		return TSIGKey{}, fmt.Errorf("TSIG key: name: %w", err)
	}
	if k.Secret, err = base64.StdEncoding.DecodeString(secret); err != nil {
		return TSIGKey{}, errors.New("TSIG key: the secret is no base64")
	}
	if len(k.Secret) < minSecret {
		return TSIGKey{}, fmt.Errorf("TSIG key: the secret has %d octets, %d are the least", len(k.Secret), minSecret)
	}
	return k, nil
}

func (k TSIGKey) secret() string { return base64.StdEncoding.EncodeToString(k.Secret) }
