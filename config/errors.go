package config

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Error is one fault in the file.
type Error struct {
	File         string
	Line, Column int    // from 1; the column counts octets
	Key          string // as "rule.from"; "" for a fault of the TOML itself
	Problem      string // what is wrong
	Right        string // what would be right
}

// Error writes FILE:LINE:COLUMN: key: what is wrong; what would be right.
func (e Error) Error() string {
	key := e.Key
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("%s:%d:%d: %s%s; %s", e.File, e.Line, e.Column, key, e.Problem, e.Right)
}

// Errors is every fault that was found, in the order of the file; never empty
// when it is returned as an error.
type Errors []Error

// Error writes one fault per line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted returns the faults in the order of the file, as an error or nil.
func (es Errors) sorted() error {
	if len(es) == 0 {
		return nil
	}
	slices.SortStableFunc(es, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return es
}

// place is a position in the file; the zero place is none.
type place struct{ line, column int }

// index knows where each key and table stands, under paths such as "tls.key"
// and "rule[2].from".
type index map[string]place

func (x index) has(path string) bool { _, ok := x[path]; return ok }

// find returns the place of path, or of the nearest table around it, or the
// start of the file for keys that should stand outside of all tables.
func (x index) find(path string) place {
	for path != "" {
		if p, ok := x[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return place{1, 1}
}

// placeAt converts an offset in the file to a position.
func placeAt(doc []byte, offset int) place {
	before := doc[:min(max(offset, 0), len(doc))]
	line := bytes.Count(before, []byte{'\n'})
	return place{line + 1, len(before) - (bytes.LastIndexByte(before, '\n') + 1) + 1}
}

var elementNumber = regexp.MustCompile(`\[\d+\]`)

// shown is the form of a path in messages: the line number says which element.
func shown(path string) string { return elementNumber.ReplaceAllString(path, "") }

// faults collects Errors for one file.
type faults struct {
	file  string
	index index
	list  Errors
}

// at adds a fault at a place of its own.
func (f *faults) at(p place, path, problem, right string) {
	f.list = append(f.list, Error{
		File: f.file, Line: p.line, Column: p.column,
		Key: shown(path), Problem: problem, Right: right,
	})
}

// key adds a fault of a key, present or missing.
func (f *faults) key(path, problem, right string) { f.at(f.index.find(path), path, problem, right) }
