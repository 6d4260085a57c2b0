package policy

import (
	"context"
	"fmt"
	"io"
	"slices"

	"dancemta/internal/pattern"
	"dancemta/saslext"
)

// Groups is a Directory of lists: the members of each group by its name.
type Groups map[string][]pattern.Pattern

var _ Directory = Groups(nil)

// Lookup returns the groups of id in the order of the alphabet. It never fails.
func (g Groups) Lookup(_ context.Context, id saslext.Identity) (Entry, error) {
	names := []string{}
	for name, members := range g {
		if slices.ContainsFunc(members, func(p pattern.Pattern) bool { return p.MatchUser(id.UID, id.Domain) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return Entry{Groups: names}, nil
}

// ParseMembers reads the members of a group: users, one pattern per line, with
// comments as ParseRecipients has them. Errors carry the line number.
func ParseMembers(r io.Reader) ([]pattern.Pattern, error) {
	var members []pattern.Pattern
	err := eachLine(r, func(text string) error {
		p, err := pattern.Parse(text)
		if err == nil {
			p, err = saslext.NormalPattern(p)
		}
		switch {
		case err != nil:
			return err
		case !p.IsUser():
			return fmt.Errorf("%q names no users", text)
		}
		members = append(members, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}
