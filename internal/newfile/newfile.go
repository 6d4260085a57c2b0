// Package newfile writes files that must not be there yet, such as keys and
// certificates: each appears with its whole content or not at all, is on disk
// when Write returns, and never takes the place of another. Replace is for those
// that may.
package newfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes of files.
const (
	Secret fs.FileMode = 0o600 // keys, and what holds them
	Public fs.FileMode = 0o644 // certificates
)

// secretDir is for folders that Write makes: there will be keys in them.
const secretDir fs.FileMode = 0o700

// File is a file to be.
type File struct {
	Path string
	Data []byte
	Mode fs.FileMode // whatever the umask says
}

// Write makes all files or, as far as the disk lets it, none. A path that is
// taken gives an error that wraps fs.ErrExist. Missing folders are made.
//
// The steps: every content goes to a temporary file beside its place and is
// flushed; only then they get their names, by links, which unlike renames fail
// where something stands; at last the folders are flushed.
func Write(files ...File) error {
	var temps []string
	defer func() {
		for _, t := range temps {
			os.Remove(t) // it has its name by now, or is of no use
		}
	}()
	for _, f := range files {
		if err := Free(f.Path); err != nil { // the usual case, before any work
			return err
		}
		temp, err := writeTemp(f)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, cause(err))
		}
		temps = append(temps, temp)
	}
	for i, f := range files {
		if err := os.Link(temps[i], f.Path); err != nil {
			for _, made := range files[:i] {
				os.Remove(made.Path) // half of a pair helps nobody
			}
			return fmt.Errorf("%s: %w", f.Path, cause(err))
		}
	}
	return syncDirs(files)
}

// Free returns an error that wraps fs.ErrExist when a path is taken, if only by
// a link that leads nowhere.
func Free(path string) error {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fs.ErrExist
	}
	return fmt.Errorf("%s: %w", path, cause(err))
}

// writeTemp writes the content to a file beside its place.
func writeTemp(f File) (name string, err error) {
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, secretDir); err != nil {
		return "", err
	}
	t, err := os.CreateTemp(dir, ".new-*") // 0600 until it is whole
	if err != nil {
		return "", err
	}
	_, err = t.Write(f.Data)
	if err == nil {
		err = t.Chmod(f.Mode)
	}
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		os.Remove(t.Name()) // of no use now
		return "", err
	}
	return t.Name(), nil
}

// syncDirs makes the names durable.
func syncDirs(files []File) error {
	done := map[string]bool{}
	for _, f := range files {
		dir := filepath.Dir(f.Path)
		if done[dir] {
			continue
		}
		done[dir] = true
		d, err := os.Open(dir)
		if err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, cause(err))
		}
	}
	return nil
}

// cause cuts the path from an error of package os: ours stands before it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
