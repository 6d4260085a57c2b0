// Package archtest holds the rules of the house that a compiler does not check:
// which room may import which, which room may use which library, how long a
// function and a file may be, that every package says what it is for, how
// sections of RFCs are cited. It has tests only; they read the whole tree.
//
// Start at rooms in rooms_test.go, the table of arrows: they all point down, and
// a new room has to be entered there. Each rule has a test of its own in
// rules_test.go, on a piece of code that breaks it.
package archtest
