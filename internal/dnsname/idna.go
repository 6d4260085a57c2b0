package dnsname

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// checkALabel demands that an A-label is what IDNA2008 makes of its own U-label
// (RFC 5891 5.4): a fake one would be a second spelling of some other name.
func checkALabel(label string) error {
	u, err := idna.Registration.ToUnicode(label)
	if err != nil || u == label || !isULabel(u) {
		return ErrALabel
	}
	back, err := idna.Registration.ToASCII(u)
	if err != nil || back != label {
		return ErrALabel
	}
	return nil
}

// Exceptions to the classes of letters and digits (RFC 5892 2.6), besides those
// that UTS 46 maps away or that idna checks itself (joiners).
var (
	validSigns = &unicode.RangeTable{R16: []unicode.Range16{
		{Lo: '-', Hi: '-', Stride: 1}, {Lo: 0x06fd, Hi: 0x06fe, Stride: 1}, {Lo: 0x0f0b, Hi: 0x0f0b, Stride: 1},
		{Lo: 0x200c, Hi: 0x200d, Stride: 1}, {Lo: 0x3007, Hi: 0x3007, Stride: 1},
	}}
	invalidLetters = &unicode.RangeTable{R16: []unicode.Range16{
		{Lo: 0x0640, Hi: 0x0640, Stride: 1}, {Lo: 0x07fa, Hi: 0x07fa, Stride: 1}, {Lo: 0x302e, Hi: 0x302f, Stride: 1},
		{Lo: 0x3031, Hi: 0x3035, Stride: 1}, {Lo: 0x303b, Hi: 0x303b, Stride: 1},
	}}
)

// isULabel refuses the symbols, such as emoji, that idna takes for UTS 46's sake
// and IDNA2008 forbids (RFC 5892 2).
func isULabel(u string) bool {
	label := []rune(u)
	for i, r := range label {
		switch {
		case unicode.Is(invalidLetters, r):
			return false
		case unicode.In(r, validSigns, unicode.Ll, unicode.Lu, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd):
		case !inContext(label, i):
			return false
		}
	}
	return !mixesDigits(u)
}

// inContext reports whether the sign at i may stand there (RFC 5892 A.3 to A.7).
func inContext(label []rune, i int) bool {
	before := func(table *unicode.RangeTable) bool { return i > 0 && unicode.Is(table, label[i-1]) }
	last := i == len(label)-1
	switch label[i] {
	case 0x00b7: // middle dot, in Catalan
		return i > 0 && !last && label[i-1] == 'l' && label[i+1] == 'l'
	case 0x0375: // Greek keraia
		return !last && unicode.Is(unicode.Greek, label[i+1])
	case 0x05f3, 0x05f4: // Hebrew geresh and gershayim
		return before(unicode.Hebrew)
	case 0x30fb: // Katakana middle dot
		return slices.ContainsFunc(label, func(r rune) bool {
			return r != 0x30fb && unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han)
		})
	}
	return false
}

// mixesDigits reports whether both kinds of Arabic digits stand in the label,
// several of which look the same (RFC 5892 A.8, A.9).
func mixesDigits(u string) bool {
	return strings.ContainsFunc(u, func(r rune) bool { return r >= 0x0660 && r <= 0x0669 }) &&
		strings.ContainsFunc(u, func(r rune) bool { return r >= 0x06f0 && r <= 0x06f9 })
}
