package smtpd

import "unicode/utf8"

// isASCII reports whether s may stand in a message without SMTPUTF8.
func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
