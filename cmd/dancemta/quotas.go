package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"dancemta/internal/limit"
	"dancemta/internal/maillog"
	"dancemta/internal/newfile"
)

const (
	// quotasName is the file of what has been taken from quotas, in state_dir.
	quotasName = "quotas.json"
	// maxAccounts bounds it, and the memory for it, at some 200 octets each: accounts of
	// identities that are proved, of their domains and of addresses. One is forgotten
	// when it is as good as new.
	maxAccounts = 200_000
	// quotasEvery is how much of it a crash may give back to those who send.
	quotasEvery = time.Minute
)

// quotaBook keeps the accounts of quotas in a file.
type quotaBook struct {
	*limit.Quotas
	path string
	log  *slog.Logger
}

// newQuotas reads the file. One that cannot be read begins anew: mail must not wait
// for it, and the log says so.
func newQuotas(dir string, log *slog.Logger) *quotaBook {
	b := &quotaBook{limit.NewQuotas(maxAccounts, time.Now), filepath.Join(dir, quotasName), log}
	text, err := os.ReadFile(b.path)
	if err == nil {
		err = b.Restore(text)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		maillog.Trouble(log, "what was taken from quotas is not known any more", err)
	}
	return b
}

// run writes the file now and then, and once more at the end.
func (b *quotaBook) run(ctx context.Context) {
	tick := time.NewTicker(quotasEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.save()
		case <-ctx.Done():
			b.save()
			return
		}
	}
}

func (b *quotaBook) save() {
	text, changed := b.Snapshot()
	if !changed {
		return
	}
	if err := newfile.Replace(newfile.File{Path: b.path, Data: text, Mode: newfile.Secret}); err != nil {
		maillog.Trouble(b.log, "what was taken from quotas is not kept", err)
	}
}
