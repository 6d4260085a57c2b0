package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dancemta/config"
	"dancemta/internal/lab"
)

func TestCheckSTS(t *testing.T) {
	roots := filepath.Join(t.TempDir(), "roots.pem")
	must(t, os.WriteFile(roots, lab.NewCA("policies", lab.CAOptions{}).PEM(), 0o644))
	for _, c := range []struct {
		of       config.MTASTS
		want     string
		problems int
	}{
		{config.MTASTS{}, "note     policies of MTA-STS are not obeyed: mta_sts.enabled is false", 0},
		{config.MTASTS{Enabled: true, Roots: config.PKIXRoots(roots)}, "ok       policies of MTA-STS are obeyed, below the roots of " + roots, 0},
		{config.MTASTS{Enabled: true, Roots: config.PKIXRoots(roots + ".gone")}, "problem", 1},
	} {
		var said strings.Builder
		r := &report{w: &said}
		if r.sts(c.of); !strings.HasPrefix(said.String(), c.want) || r.problems != c.problems {
			t.Errorf("%+v: %s", c.of, said.String())
		}
	}
}
