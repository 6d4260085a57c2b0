package main

import (
	"crypto/x509"
	"errors"
	"fmt"

	"dancemta/config"
)

// readRoots returns the CAs behind TLSA records of usages 0 and 1; nil when the
// configuration names none, which makes these records unusable.
func readRoots(c config.DANE) (*x509.CertPool, error) {
	hint := "see dane.pkix_roots in the configuration"
	switch c.PKIXRoots {
	case "":
		return nil, nil
	case config.SystemRoots:
		pool, err := x509.SystemCertPool()
		if err == nil && pool.Equal(x509.NewCertPool()) {
			err = errors.New("this host trusts none")
		}
		if err != nil {
			return nil, unavailable(fmt.Errorf("the system's CAs: %w", err), hint)
		}
		return pool, nil
	}
	text, err := readKeyFile(string(c.PKIXRoots))
	if err != nil {
		return nil, unavailable(err, hint)
	}
	return poolOf(string(c.PKIXRoots), text, hint)
}
