// Command overlay makes crypto/tls of the installed Go able to carry extensions
// in CertificateRequest and in the client's Certificate, without a copy of it: it
// reads the sources of the Go that runs it, applies the edits of edits.go and
// writes the changed files with an overlay.json for "go build -overlay".
//
//	go run ./daneclient/clientid/overlay FOLDER
//
// It prints the path of the overlay.json. On a Go whose sources an edit does not
// fit it fails, names the edit and the Go version, and writes nothing. The version
// is in the files, too: a build that takes them after Go was upgraded can tell.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: overlay FOLDER")
	}
	text, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	path, err := write(filepath.Join(root, "src", "crypto", "tls"), version, args[0])
	if err == nil {
		fmt.Println(path)
	}
	return err
}

// write patches the sources in src and writes the result into dir.
func write(src, version, dir string) (overlay string, err error) {
	changed, err := patch(src, version)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		// Not *.go: a ./... must not see a package there.
		to := filepath.Join(dir, name+".overlay")
		if err := os.WriteFile(to, []byte(changed[name]), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(src, name)] = to
	}
	doc, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, append(doc, '\n'), 0o644)
}

// patch returns the changed files by name. Every edit must fit exactly once.
func patch(src, version string) (map[string]string, error) {
	changed := map[string]string{}
	for _, e := range edits {
		text, ok := changed[e.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(src, e.file))
			if err != nil {
				return nil, fmt.Errorf("crypto/tls of %s: %w", version, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("crypto/tls of %s: an edit of %s fits %d times, not once; it replaces\n%s\nBuild with a Go that this program knows, or mend the edit; a build without the overlay works too, and takes client names from certificates alone",
				version, e.file, n, e.old)
		}
		changed[e.file] = strings.Replace(text, e.old, strings.ReplaceAll(e.new, goVersion, version), 1)
	}
	return changed, nil
}
