package main

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dancemta/config"
	"dancemta/daneclient"
	"dancemta/internal/dnsname"
	"dancemta/internal/lab"
	"dancemta/queue/boltstore"
)

// Nobody who was proved under trust anchors that are replaced stays so, not even
// for the time that his verdict would have been kept.
func TestReloadAnchors(t *testing.T) {
	internet, err := lab.NewInternet(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer internet.Close()
	path := writeConfig(t, strings.Replace(minimalConfig, `"127.0.0.1:1"]`, `"`+internet.DNS.Addr()+`"], trust_anchors = "root.key"`, 1))
	anchorsAre := func(w *lab.World) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "root.key"), []byte(w.Anchor()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	anchorsAre(internet.World)
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newParts(path, cfg, newLogger(cfg.Log, io.Discard), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	device := daneclient.Credential{Chain: internet.Device.Chain, Version: tls.VersionTLS13}
	ask := func() error {
		_, err := p.verifier.Client(t.Context(), device, func(dnsname.Name) bool { return true })
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	anchorsAre(lab.NewWorld(time.Now()))
	p.reload()
	var e *daneclient.Error
	if err := ask(); !errors.As(err, &e) || e.Reason != daneclient.BogusDNS {
		t.Errorf("under the anchors of another root: %v", err)
	}
}
