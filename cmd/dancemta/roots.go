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
	return readPool(c.PKIXRoots, "see dane.pkix_roots in the configuration")
}

// readPool returns nil where no CAs are named. hint is for people whose file is no
// good.
func readPool(roots config.PKIXRoots, hint string) (*x509.CertPool, error) {
	switch roots {
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
	text, err := readKeyFile(string(roots))
	if err != nil {
		return nil, unavailable(err, hint)
	}
	return poolOf(string(roots), text, hint)
}
