package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// walk goes through the document beside the struct Config: each key must be a
// field, each value of its type and in its form. It fills the index and returns
// the document with the wrong keys blanked out, so that the rest can still be
// decoded and checked; false when the TOML itself cannot be read.
func walk(doc []byte, f *faults) ([]byte, bool) {
	w := &walker{doc: doc, clean: slices.Clone(doc), faults: f, counts: map[string]int{}}
	w.table, w.known = reflect.TypeFor[Config](), true
	p := &unstable.Parser{}
	p.Reset(doc)
	for p.NextExpression() {
		e := p.Expression()
		before := len(f.list)
		switch e.Kind {
		case unstable.KeyValue:
			w.keyValue(w.table, w.path, e)
			if len(f.list) > before {
				w.blank(e.Raw)
			}
		case unstable.Table, unstable.ArrayTable:
			w.header(e)
		}
	}
	if err := p.Error(); err != nil {
		f.list = nil // the rest of the file was never seen: this one comes first
		f.syntax(doc, err)
		return nil, false
	}
	return w.clean, true
}

type walker struct {
	*faults
	doc, clean []byte
	counts     map[string]int // elements seen of each list of tables

	table reflect.Type // of the table that the walk is in
	path  string
	known bool // false within an unknown table, whose keys say nothing new
}

// syntax adds the parser's own complaint.
func (f *faults) syntax(doc []byte, err error) {
	p := place{1, 1}
	if pe, ok := errors.AsType[*unstable.ParserError](err); ok {
		p = placeAt(doc, cap(doc)-cap(pe.Highlight)) // the highlight is a part of doc
	}
	f.at(p, "", "not TOML: "+err.Error(), "see https://toml.io for the form of the file")
}

func (w *walker) blank(r unstable.Range) {
	for i := r.Offset; i < r.Offset+r.Length; i++ {
		if w.clean[i] != '\n' {
			w.clean[i] = ' '
		}
	}
}

// header enters [table] or [[table]].
func (w *walker) header(e *unstable.Node) {
	t, path, at := w.resolve(reflect.TypeFor[Config](), "", e)
	if w.known = t != nil; !w.known {
		return
	}
	isList := t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
	isTable := t.Kind() == reflect.Struct && !isText(t)
	switch {
	case !isList && !isTable:
		w.at(at, path, "is a key, not a table", fmt.Sprintf("write %s = followed by %s", path, rightForm(t)))
		w.known = false
	case isList && e.Kind != unstable.ArrayTable:
		w.at(at, path, "may stand several times", fmt.Sprintf("write [[%s]]", path))
		w.table, w.path = t.Elem(), w.element(path, at)
	case isTable && e.Kind != unstable.Table:
		w.at(at, path, "may stand only once", fmt.Sprintf("write [%s]", path))
		w.known = false
	case isList:
		w.table, w.path = t.Elem(), w.element(path, at)
	default:
		w.mark(path, at)
		w.table, w.path = t, path
	}
}

// element counts one more element of a list of tables and returns its path.
func (w *walker) element(list string, at place) string {
	path := fmt.Sprintf("%s[%d]", list, w.counts[list])
	w.counts[list]++
	w.index[path] = at
	return path
}

// mark enters a key into the index, once.
func (w *walker) mark(path string, at place) {
	if first, ok := w.index[path]; ok {
		w.at(at, path, "stands twice", fmt.Sprintf("keep this one or the one in line %d", first.line))
		return
	}
	w.index[path] = at
}

// keyValue checks one key = value in the table of type t.
func (w *walker) keyValue(t reflect.Type, prefix string, e *unstable.Node) {
	if !w.known {
		return
	}
	target, path, at := w.resolve(t, prefix, e)
	if target == nil {
		return
	}
	w.mark(path, at)
	w.value(target, path, at, e.Value())
}

// resolve follows the dotted key of e from type t; a nil type when it is unknown.
func (w *walker) resolve(t reflect.Type, path string, e *unstable.Node) (reflect.Type, string, place) {
	var at place
	for it := e.Key(); it.Next(); {
		name := string(it.Node().Data)
		here := placeAt(w.doc, int(it.Node().Raw.Offset))
		if at == (place{}) {
			at = here
		}
		fields := fieldsOf(t)
		next, ok := fields[name]
		full := strings.TrimPrefix(path+"."+name, ".")
		if !ok {
			w.at(here, full, "unknown key", suggest(name, fields))
			return nil, full, here
		}
		t, path = next, full
	}
	return t, path, at
}

// fieldsOf lists the keys of a table; none for anything else.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct && !isText(t) {
		for f := range t.Fields() {
			if name := f.Tag.Get("toml"); name != "" {
				fields[name] = f.Type
			}
		}
	}
	return fields
}

// value checks a value against its type.
func (w *walker) value(t reflect.Type, path string, at place, v *unstable.Node) {
	if v.Raw.Length > 0 {
		at = placeAt(w.doc, int(v.Raw.Offset))
	}
	kind := t.Kind()
	switch {
	case isText(t) && v.Kind == unstable.String:
		if err := reflect.New(t).Interface().(encoding.TextUnmarshaler).UnmarshalText(v.Data); err != nil {
			w.at(at, path, err.Error(), "write "+rightForm(t))
		}
	case isText(t):
		w.wrongType(t, path, at, v)
	case kind == reflect.Slice && v.Kind == unstable.Array:
		for it := v.Children(); it.Next(); {
			w.listElement(t.Elem(), path, at, it.Node())
		}
	case kind == reflect.Struct && v.Kind == unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			w.keyValue(t, path, it.Node())
		}
	case kind == reflect.Int && v.Kind == unstable.Integer:
		w.number(t, path, at, v)
	case kind == reflect.String && v.Kind == unstable.String, kind == reflect.Bool && v.Kind == unstable.Bool:
	default:
		w.wrongType(t, path, at, v)
	}
}

func (w *walker) listElement(t reflect.Type, path string, at place, v *unstable.Node) {
	if t.Kind() == reflect.Struct && !isText(t) {
		path = w.element(path, at)
	}
	w.value(t, path, at, v)
}

func (w *walker) number(t reflect.Type, path string, at place, v *unstable.Node) {
	n, err := strconv.ParseInt(string(v.Data), 0, 32)
	if err != nil || n <= 0 {
		w.at(at, path, fmt.Sprintf("%s is too small or too large", v.Data), "write "+rightForm(t))
	}
}

func (w *walker) wrongType(t reflect.Type, path string, at place, v *unstable.Node) {
	w.at(at, path, "found "+kindWords[v.Kind], "write "+rightForm(t))
}

var kindWords = map[unstable.Kind]string{
	unstable.String: "a text", unstable.Bool: "true or false", unstable.Integer: "a number",
	unstable.Float: "a number with a fraction", unstable.Array: "a list", unstable.InlineTable: "a table",
	unstable.LocalDate: "a date", unstable.LocalTime: "a time of day",
	unstable.LocalDateTime: "a date and time", unstable.DateTime: "a date and time",
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// rightForm says what a value of type t looks like.
func rightForm(t reflect.Type) string {
	if right, ok := rightForms[t]; ok {
		return right
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Struct || t.Kind() == reflect.Slice && isText(t.Elem()) {
		return "a list in [ ], each " + rightForm(t.Elem())
	}
	return "a table"
}

// suggest names the nearest known key, or all of them.
func suggest(name string, fields map[string]reflect.Type) string {
	known := slices.Sorted(maps.Keys(fields))
	for _, k := range known {
		if distance(name, k) <= 2 {
			return fmt.Sprintf("did you mean %q?", k)
		}
	}
	if len(known) == 0 {
		return "nothing can stand below this key"
	}
	return "known here: " + strings.Join(known, ", ")
}

// distance counts the letters to insert, delete or replace between a and b
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
