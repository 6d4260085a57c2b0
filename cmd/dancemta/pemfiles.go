package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"dancemta/daneclient"
	"dancemta/internal/pemfile"
)

// maxKeyFile bounds certificates and keys that are read; a long chain has 20 KiB.
const maxKeyFile = 1 << 20

// readMaterial reads certificates, or else a key.
func readMaterial(file string) (daneclient.Material, error) {
	text, err := readKeyFile(file)
	if err != nil {
		return daneclient.Material{}, err
	}
	certs, err := pemfile.Certificates(text)
	if err == nil {
		return daneclient.Material{Certificates: certs}, nil
	}
	if !errors.Is(err, pemfile.ErrNoCertificate) {
		return daneclient.Material{}, unavailable(fmt.Errorf("%s: %w", file, err))
	}
	key, err := pemfile.Public(text)
	if errors.Is(err, pemfile.ErrNoKey) {
		return daneclient.Material{}, unavailable(fmt.Errorf("%s: neither a certificate nor a key in it", file))
	}
	if err != nil {
		return daneclient.Material{}, unavailable(fmt.Errorf("%s: %w", file, err))
	}
	return daneclient.Material{SPKI: key}, nil
}

// readKeyFile reads a small file whole.
func readKeyFile(file string) ([]byte, error) {
	r, err := os.Open(file)
	if err != nil {
		return nil, unavailable(err)
	}
	defer r.Close()
	return readSmall(r, file)
}

// readSmall reads what holds certificates or keys; file is its name.
func readSmall(r io.Reader, file string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err == nil && len(text) > maxKeyFile {
		err = fmt.Errorf("%s: over %d octets: no file of certificates or keys", file, maxKeyFile)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return text, nil
}
