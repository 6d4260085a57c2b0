// Command mutants proves that each check has a test: testdata/mutants holds
// diffs that remove one check each, and the tests must fail with every one.
//
//	mutants run [NAME...]          run the tests with each mutant; all by default
//	mutants overlay NAME           print the overlay file that builds one mutant
//
// A mutant is applied by go's -overlay, so that the tree itself stays as it is.
// One that does not fit the code any more, or does not compile, is an error: it
// would prove nothing.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	folder = "testdata/mutants"
	out    = "build/mutants"
	// A mutant may turn a limit into an endless loop; then the tests have
	// noticed, but should not take all day to say so.
	testTimeout = "60s"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "overlay" {
		m, err := readMutant(filepath.Join(folder, args[1]+".diff"), args[1])
		if err != nil {
			return err
		}
		overlay, err := m.overlay()
		if err == nil {
			fmt.Println(overlay)
		}
		return err
	}
	if len(args) == 0 || args[0] != "run" {
		return fmt.Errorf("usage: mutants run [NAME...] | mutants overlay NAME")
	}
	mutants, err := readAll(args[1:])
	if err != nil {
		return err
	}
	return runAll(mutants)
}

func readAll(names []string) ([]*mutant, error) {
	if len(names) == 0 {
		files, err := filepath.Glob(filepath.Join(folder, "*.diff"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), ".diff"))
		}
		slices.Sort(names)
	}
	var all []*mutant
	for _, n := range names {
		m, err := readMutant(filepath.Join(folder, n+".diff"), n)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// runAll prints a line per mutant, in their order, and the count at the end. As
// many run at once as there are processors: linking and waiting leave most idle.
func runAll(mutants []*mutant) error {
	begin := time.Now()
	results := make([]chan result, len(mutants))
	slots := make(chan struct{}, runtime.NumCPU())
	for i, m := range mutants {
		results[i] = make(chan result, 1)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			start := time.Now()
			by, err := m.test()
			results[i] <- result{by, err, time.Since(start)}
		}()
	}
	noticed := 0
	for i, m := range mutants {
		r := <-results[i]
		if r.err != nil {
			fmt.Printf("FAIL %-32s %5.1fs  %v\n", m.name, r.took.Seconds(), r.err)
			continue
		}
		noticed++
		fmt.Printf("ok   %-32s %5.1fs  noticed by %s\n", m.name, r.took.Seconds(), r.by)
	}
	failed := len(mutants) - noticed
	fmt.Printf("%.0f s in all\n%d passed, %d failed\n", time.Since(begin).Seconds(), noticed, failed)
	if failed > 0 || noticed == 0 {
		return fmt.Errorf("%d of %d mutants were not noticed", failed, len(mutants))
	}
	return nil
}

// result is what became of one mutant.
type result struct {
	by   string // the test that noticed
	err  error
	took time.Duration
}

// overlay writes the changed files and the file for go's -overlay.
func (m *mutant) overlay() (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, out, m.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, c := range m.changes {
		text, err := os.ReadFile(c.file)
		if err != nil {
			return "", err
		}
		changed, err := c.apply(string(text))
		if err != nil {
			return "", err
		}
		// Not *.go: the tree's own ./... must not see a package there.
		to := filepath.Join(dir, fmt.Sprintf("%d-%s.mutant", i, filepath.Base(c.file)))
		if err := os.WriteFile(to, []byte(changed), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, c.file)] = to
	}
	doc, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, doc, 0o644)
}

// test returns the name of a test that failed with the mutant.
func (m *mutant) test() (by string, err error) {
	overlay, err := m.overlay()
	if err != nil {
		return "", err
	}
	args := []string{"test", "-overlay", overlay, "-timeout", testTimeout, "-failfast", "-vet=off"}
	if m.run != "" {
		args = append(args, "-run", m.run)
	}
	test := exec.Command("go", append(args, m.packages...)...)
	test.Env = append(os.Environ(), "DANCEMTA_E2E=") // real servers take long, and judge the whole
	text, err := test.CombinedOutput()
	if err == nil {
		return "", fmt.Errorf("the tests pass without it: %s", m.what)
	}
	return failure(string(text))
}

// failure finds the first failed test in go test's output. Output without one
// is trouble of another kind; code that does not compile is one in any case.
func failure(text string) (string, error) {
	if strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]") {
		return "", fmt.Errorf("does not compile:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return strings.Fields(name)[0], nil
		}
		if strings.HasPrefix(line, "panic: ") {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("the tests did not run:\n%s", text)
}
