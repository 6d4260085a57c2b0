package policy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// Groups is a Directory of lists: the members of each group by its name.
type Groups map[string][]pattern.Pattern

var _ Directory = Groups(nil)

// Groups returns the groups of id in the order of the alphabet. It never fails.
func (g Groups) Groups(_ context.Context, id saslext.Identity) ([]string, error) {
	names := []string{}
	for name, members := range g {
		if slices.ContainsFunc(members, func(p pattern.Pattern) bool { return p.MatchUser(id.UID, id.Domain) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// ParseMembers reads the members of a group: users, one pattern per line, with
// comments as ParseRecipients has them. Errors carry the line number.
func ParseMembers(r io.Reader) ([]pattern.Pattern, error) {
	var members []pattern.Pattern
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	n := 0
	for in.Scan() {
		n++
		text := strings.TrimSpace(uncomment(in.Text()))
		if text == "" {
			continue
		}
		p, err := pattern.Parse(text)
		if err == nil {
			p, err = normalWho(p)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		case !p.IsUser():
			return nil, fmt.Errorf("line %d: %q names no users", n, text)
		}
		members = append(members, p)
	}
	if err := in.Err(); err != nil { // of the line that was not returned
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return members, nil
}
