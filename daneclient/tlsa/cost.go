package tlsa

import (
	"crypto/rsa"
	"fmt"
)

const (
	// maxRSABits is what crypto/tls takes in a chain, too. One signature by a
	// key that fills a record of 15 KiB takes 3 s to check.
	maxRSABits = 8192

	// maxExponent is the one that nearly all keys have. With the largest that
	// Go takes, a signature costs eight times as much, and path building checks
	// up to a hundred.
	maxExponent = 65537
)

// slowKey says why no signature is checked by this key of a CA: the peer or the
// zone has chosen one that is work for us and none for him; "" when it will do.
func slowKey(key any) string {
	k, ok := key.(*rsa.PublicKey)
	switch {
	case !ok:
		return ""
	case k.N.BitLen() > maxRSABits:
		return fmt.Sprintf("RSA key of %d bits, over %d", k.N.BitLen(), maxRSABits)
	case k.E > maxExponent:
		return fmt.Sprintf("RSA exponent over %d", maxExponent)
	}
	return ""
}
