//go:build unix

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// SlapdPrograms are those that StartSlapd needs.
var SlapdPrograms = []string{"slapd", "slapadd"}

// Slapd is OpenLDAP's server.
type Slapd struct {
	LDAP   string // host:port, for StartTLS
	LDAPS  string // host:port
	Socket string // path
	Dir    string // holds the log and whatever the configuration puts there

	flags []string // where its configuration is
	p     *process // nil: stopped
}

// StartSlapd loads entries by slapadd and serves them on free ports of 127.0.0.1 and
// a socket in the folder until Close. The configuration is a folder of cn=config or a
// file of the older form; what it names must exist.
func StartSlapd(dir, configuration string, ldif ...string) (*Slapd, error) {
	s := &Slapd{Dir: dir, Socket: filepath.Join(dir, "ldapi"), flags: []string{"-f", configuration}}
	if info, err := os.Stat(configuration); err == nil && info.IsDir() {
		s.flags[0] = "-F"
	}
	for _, file := range ldif {
		// Quick: a crash would cost a copy of the file.
		cmd := exec.Command("slapadd", append([]string{"-q", "-l", file}, s.flags...)...)
		if said, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("slapadd %s: %w: %s", file, err, said)
		}
	}
	var err error
	for range startTries {
		s.LDAP, s.LDAPS = freePort(), freePort()
		if err = s.Start(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// Start serves again after Stop, on the same ports.
func (s *Slapd) Start() error {
	if s.p != nil {
		return errors.New("slapd is running already")
	}
	where := []string{"ldap://" + s.LDAP, "ldaps://" + s.LDAPS, "ldapi://" + url.QueryEscape(s.Socket)}
	// The level "none" shows what is always said, and keeps it in the foreground.
	args := append([]string{"-d", "none", "-h", strings.Join(where, " ")}, s.flags...)
	p, err := run(filepath.Join(s.Dir, "slapd.log"), "slapd starting", "slapd", args...)
	if err != nil {
		return err
	}
	s.p = p
	// That it is starting is the last that it says: it listens a moment later, at all
	// places one after the other.
	last := time.Now().Add(startTimeout)
	look := time.NewTicker(slapdLook)
	defer look.Stop()
	for {
		conn, err := net.Dial("unix", s.Socket)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(last) {
			return errors.Join(fmt.Errorf("slapd does not listen: %w", err), s.Stop())
		}
		<-look.C
	}
}

// slapdLook is between two looks at whether it listens.
const slapdLook = 5 * time.Millisecond

// Stop ends the server and waits for it.
func (s *Slapd) Stop() error {
	if s.p == nil {
		return nil
	}
	err := s.p.stop()
	s.p = nil
	return err
}

// Close stops it for good.
func (s *Slapd) Close() error { return s.Stop() }
