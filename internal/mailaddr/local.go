package mailaddr

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// checkLocal refuses a local part that could not be sent, or that would look
// like another one in a log, a list or a report.
func checkLocal(local string) error {
	if !utf8.ValidString(local) {
		return ErrCharacter // RFC 6531 3.3: UTF8-non-ascii
	}
	for _, r := range local {
		switch {
		case unicode.Is(unicode.Cc, r): // C0, DEL and C1
			return ErrControl
		case r >= utf8.RuneSelf && deceives(r):
			return ErrCharacter
		}
	}
	return nil
}

const (
	nonJoiner = 0x200c // Persian writes words with it
	joiner    = 0x200d // Sinhala does
)

// deceives reports whether r is invisible, turns the writing direction (both are
// in Cf), is a space or a line end that is not the ASCII one, is no character at
// all, or becomes ASCII in NFC (the Kelvin sign a K): then Key would take the
// address for another one.
func deceives(r rune) bool {
	switch {
	case r == nonJoiner || r == joiner:
		return false
	case unicode.In(r, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Noncharacter_Code_Point):
		return true
	}
	nfc := norm.NFC.String(string(r))
	return nfc[0] < utf8.RuneSelf
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r - 'A' + 'a'
	}
	return r
}
