package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"dancemta/config"
)

// The exit codes are an interface for scripts: docs/exit-codes.md repeats them.
const (
	exitOK          = 0
	exitFault       = 1 // something that nobody foresaw
	exitUsage       = 2 // a word or flag that is not known
	exitConfig      = 3 // the configuration file says something wrong, or cannot be read
	exitUnavailable = 4 // a file, port, folder or server that is needed is not to be had
	exitNotFound    = 5 // the message asked for is not in the queue
	exitBroken      = 6 // check or dkim show found a problem, the demo a promise that does not hold, tlsa or usercert what proves nobody
	exitWait        = 7 // not yet: time has to pass, or others have to act
	exitRefused     = 8 // explain, verify: this certificate or name is refused; send: the message is
	exitTemporary   = 9 // explain, verify: it cannot be judged now; send: it was not sent, and may be later
)

// exitError is an error with an exit code and advice.
type exitError struct {
	code  int
	err   error
	hints []string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(err error, hints ...string) error       { return &exitError{exitUsage, err, hints} }
func unavailable(err error, hints ...string) error { return &exitError{exitUnavailable, err, hints} }

func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFault
}

// printError writes one "error:" line for each line of the error, then the hints.
func printError(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, "error:", line)
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		for _, h := range e.hints {
			fmt.Fprintln(w, "hint:", h)
		}
	}
}

// loadConfig reads the file; its errors have the exit code of configurations.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if err == nil {
		return cfg, nil
	}
	e := &exitError{code: exitConfig, err: err}
	if _, ok := errors.AsType[config.Errors](err); !ok {
		e.hints = []string{"name another file by --config FILE; docs/quickstart.md has one to begin with"}
	}
	return nil, e
}
