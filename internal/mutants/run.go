package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// testTimeout: a mutant may turn a limit into an endless loop; then the tests
// have noticed, but should not take all day to say so.
const testTimeout = "60s"

// result is what became of one mutant.
type result struct {
	by      string // the test that noticed
	err     error
	took    time.Duration
	skipped bool // the time was over: it fits the code, and nothing more is known
}

// runAll prints a line per mutant, in their order, and the count at the end.
func (b build) runAll(mutants []*mutant) error {
	begin := time.Now()
	results := b.judge(mutants)
	noticed, skipped := 0, 0
	for i, m := range mutants {
		r := results[i]
		if r.skipped {
			skipped++
			continue
		}
		if r.err != nil {
			fmt.Printf("FAIL %-34s %5.1fs  %v\n", m.name, r.took.Seconds(), r.err)
			continue
		}
		noticed++
		fmt.Printf("ok   %-34s %5.1fs  noticed by %s\n", m.name, r.took.Seconds(), r.by)
	}
	failed := len(mutants) - noticed - skipped
	fmt.Printf("%.0f s in all\n%d passed, %d failed, %d not run for want of time\n",
		time.Since(begin).Seconds(), noticed, failed, skipped)
	if failed > 0 || noticed == 0 {
		return fmt.Errorf("%d of %d mutants were not noticed", failed, len(mutants))
	}
	return nil
}

// judge runs the tests with each mutant; where they fail without, that is the result.
func (b build) judge(mutants []*mutant) []result {
	begin := time.Now()
	broken := b.baseline(mutants)
	results := make([]result, len(mutants))
	parallel(len(mutants), func(i int) {
		start, err := time.Now(), broken[mutants[i].tests()]
		if b.budget > 0 && start.Sub(begin) > b.budget {
			if err == nil {
				_, err = b.overlay(mutants[i])
			}
			results[i] = result{err: err, skipped: err == nil}
			return
		}
		by := ""
		if err == nil {
			by, err = b.test(mutants[i])
		}
		results[i] = result{by: by, err: err, took: time.Since(start)}
	})
	return results
}

// parallel calls f for 0 to n-1 and waits. As many run at once as there are
// processors: a test mostly links and waits.
func parallel(n int, f func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

var errBaseline = errors.New("the tests fail without any mutant")

// tests names the packages whose tests must notice.
func (m *mutant) tests() string { return strings.Join(m.packages, " ") }

// baseline runs the tests as they are, all of one set of packages at once: one
// that fails anyway would notice everything. It returns the errors by tests().
func (b build) baseline(mutants []*mutant) map[string]error {
	runs := map[string][]string{}
	for _, m := range mutants {
		runs[m.tests()] = append(runs[m.tests()], m.run)
	}
	sets := make([]string, 0, len(runs))
	for set := range runs {
		sets = append(sets, set)
	}
	errs := make([]error, len(sets))
	parallel(len(sets), func(i int) {
		var flags []string
		if b.base != "" {
			flags = []string{"-overlay", b.base}
		}
		text, err := b.goTest(strings.Fields(sets[i]), anyOf(runs[sets[i]]), flags...)
		if err != nil {
			fmt.Printf("without any mutant, %s:\n%s", sets[i], text) // once, not with each mutant
			errs[i] = errBaseline
		}
	})
	broken := map[string]error{}
	for i, set := range sets {
		broken[set] = errs[i]
	}
	return broken
}

// anyOf joins expressions for go test -run; one that is empty means all tests.
func anyOf(runs []string) string {
	slices.Sort(runs)
	runs = slices.Compact(runs)
	if runs[0] == "" {
		return ""
	}
	return strings.Join(runs, "|")
}

// test returns the name of a test that failed with the mutant.
func (b build) test(m *mutant) (by string, err error) {
	overlay, err := b.overlay(m)
	if err != nil {
		return "", err
	}
	text, err := b.goTest(m.packages, m.run, "-overlay", overlay, "-failfast")
	switch {
	case err == nil && strings.Contains(text, "[no tests to run]"):
		return "", fmt.Errorf("there is no test %s", m.run)
	case err == nil:
		return "", fmt.Errorf("the tests pass without it: %s", m.what)
	}
	return failure(text)
}

func (b build) goTest(packages []string, run string, flags ...string) (text string, err error) {
	args := append([]string{"test", "-timeout", testTimeout, "-vet=off", "-tags", b.tags, "-run", run}, flags...)
	test := exec.Command("go", append(args, packages...)...)
	test.Env = append(os.Environ(), "DANCEMTA_E2E=") // real servers take long, and judge the whole
	out, err := test.CombinedOutput()
	return string(out), err
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
