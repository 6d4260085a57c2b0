package newfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "f")
	for _, content := range []string{"first", "second"} {
		if err := Replace(File{Path: path, Data: []byte(content), Mode: Secret}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := Replace(File{Path: filepath.Dir(path), Mode: Secret}); err == nil {
		t.Error("a folder was replaced")
	}
}
