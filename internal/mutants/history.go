package main

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// newestFirst sorts mutants by when they, or the code that they change, were
// committed last. Without a history the order stays.
func newestFirst(mutants []*mutant) {
	changed := lastChanges()
	newest := func(m *mutant) int64 {
		t := changed[folder+"/"+m.name+".diff"]
		for _, c := range m.changes {
			t = max(t, changed[c.file])
		}
		return t
	}
	slices.SortStableFunc(mutants, func(a, b *mutant) int { return int(newest(b) - newest(a)) })
}

// lastChanges returns when each file was committed last, in seconds since 1970.
func lastChanges() map[string]int64 {
	text, _ := exec.Command("git", "log", "--format=@%ct", "--name-only").Output()
	changed := map[string]int64{}
	var at int64
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "@"); ok {
			at, _ = strconv.ParseInt(s, 10, 64)
		} else if line != "" && changed[line] == 0 {
			changed[line] = at // the log begins with the newest
		}
	}
	return changed
}
