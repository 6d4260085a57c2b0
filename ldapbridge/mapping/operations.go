package mapping

import "strings"

// Operations is a set of what a user may ask the directory for.
type Operations uint8

// The operations. Bind, Unbind, Abandon and Cancel need no leave.
const (
	Search Operations = 1 << iota
	Compare
	Whoami
	Add
	Modify
	Delete
	ModifyDN
	PasswordModify // RFC 3062

	// Defaults only read. What changes the directory is spelled out in the rule.
	Defaults = Search | Compare | Whoami
)

var operationWords = [...]string{"search", "compare", "whoami", "add", "modify", "delete", "modify_dn", "password_modify"}

// Has reports whether all of op are in o; of no operation at all it is false.
func (o Operations) Has(op Operations) bool { return op != 0 && o&op == op }

// Words returns the words of the configuration, in one order.
func (o Operations) Words() []string { return words(uint8(o), operationWords[:]) }

// String joins the words.
func (o Operations) String() string { return strings.Join(o.Words(), " ") }

// ParseOperation reads a word of the configuration; false when there is no such one.
func ParseOperation(word string) (Operations, bool) {
	bit, ok := bitOf(word, operationWords[:])
	return Operations(bit), ok
}

// Controls is a set of request controls beyond those that everybody may send.
type Controls uint8

// ManageDSAIT (RFC 3296) shows referral objects themselves, and lets them be changed.
const ManageDSAIT Controls = 1 << iota

var controlWords = [...]string{"manage_dsa_it"}

// Has reports whether all of c2 are in c; of no control at all it is false.
func (c Controls) Has(c2 Controls) bool { return c2 != 0 && c&c2 == c2 }

// Words returns the words of the configuration, in one order.
func (c Controls) Words() []string { return words(uint8(c), controlWords[:]) }

// ParseControl reads a word of the configuration; false when there is no such one.
func ParseControl(word string) (Controls, bool) {
	bit, ok := bitOf(word, controlWords[:])
	return Controls(bit), ok
}

func words(set uint8, all []string) (out []string) {
	for i, w := range all {
		if set&(1<<i) != 0 {
			out = append(out, w)
		}
	}
	return out
}

func bitOf(word string, all []string) (uint8, bool) {
	for i, w := range all {
		if w == word {
			return 1 << i, true
		}
	}
	return 0, false
}
