package saslext

import (
	"errors"

	"dancemta/internal/pattern"
)

// NormalPattern brings the uid of a pattern of users to its normal form; other patterns
// stay as they are. A uid that has none would never match, and a deny for it would be a
// lock without a bolt.
func NormalPattern(p pattern.Pattern) (pattern.Pattern, error) {
	if p.IsZero() {
		return p, errors.New("no pattern")
	}
	uid, ok := p.UID()
	if !ok {
		return p, nil
	}
	id, err := NewIdentity(uid, "users.invalid") // only the uid matters
	if err != nil {
		return p, err
	}
	return p.WithUID(id.UID), nil
}
