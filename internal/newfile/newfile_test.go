package newfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"dancemta/internal/newfile"
)

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// names lists a folder, so that temporary files are seen too.
func names(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func TestWrite(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "a", "b")
	key, cert := filepath.Join(dir, "x.key"), filepath.Join(dir, "x.pem")
	err := newfile.Write(newfile.File{Path: key, Data: []byte("k"), Mode: newfile.Secret},
		newfile.File{Path: cert, Data: []byte("c"), Mode: newfile.Public})
	if err != nil {
		t.Fatal(err)
	}
	if content(t, key) != "k" || content(t, cert) != "c" {
		t.Error("not what was to be written")
	}
	for path, want := range map[string]fs.FileMode{key: 0o600, cert: 0o644, dir: 0o700} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
	if got := names(t, dir); len(got) != 2 {
		t.Errorf("left behind: %v", got)
	}
}

// Whatever stands at one of the places stays, and the other file is not made.
func TestWriteOverwritesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(path string) error
	}{
		{"file", func(p string) error { return os.WriteFile(p, []byte("old"), 0o600) }},
		{"empty file", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"folder", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"link that leads nowhere", func(p string) error { return os.Symlink("nowhere", p) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
			if err := c.make(second); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(second)
			if err != nil {
				t.Fatal(err)
			}
			err = newfile.Write(newfile.File{Path: first, Mode: newfile.Secret}, newfile.File{Path: second, Data: []byte("new"), Mode: newfile.Secret})
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("error %v", err)
			}
			if after, err := os.Lstat(second); err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
				t.Errorf("changed: %v, %v", after, err)
			}
			if got := names(t, dir); len(got) != 1 {
				t.Errorf("left behind: %v", got)
			}
		})
	}
}

// Two files that want one place: the second does not get it, and the first,
// half of a pair, goes too.
func TestWriteTwiceTheSame(t *testing.T) {
	dir := t.TempDir()
	f := newfile.File{Path: filepath.Join(dir, "x"), Data: []byte("1"), Mode: newfile.Secret}
	if err := newfile.Write(f, f); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestWriteWhereNothingCanBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := newfile.Write(newfile.File{Path: filepath.Join(file, "x"), Mode: newfile.Secret})
	if !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("error %v", err)
	}
}
