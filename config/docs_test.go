package config

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docsHead = `# Settings

<!-- Made from the structs in config/: go test ./config -run TestDocs -update -->

dancemta reads one file, given by ` + "`--config`" + `. It is [TOML](https://toml.io). Unknown keys, values of a wrong type and
keys that contradict each other are errors, all reported at once with file, line, column, key and what would be right:

` + "```text\n%s```" + `

` + "`dancemta check --config FILE`" + ` says so without starting anything, and tries what the file names: keys, DNS, folders.
File names that are not absolute are taken from the folder of the file.

A time is a number with ` + "`s`, `m`, `h` or `d`" + ` (` + "`90s`, `1h30m`, `5d`" + `), a rate one per ` + "`s`, `m` or `h`" + ` (` + "`60/m`" + `), a size
one with ` + "`B`, `KiB`, `MiB` or `GiB`" + `. A key that is absent means the safe choice, named with each.

`

// TestDocs: docs/config.md is what the comments of the struct say.
func TestDocs(t *testing.T) {
	shown, err := os.ReadFile(badDir + "/many-faults/expected")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../testdata/config/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	m := &manual{t: t, structs: structsOf(t)}
	fmt.Fprintf(&m.out, docsHead, bytes.Join(bytes.SplitAfter(shown, []byte("\n"))[:5], nil))
	m.table("Config", "", "The file itself")
	fmt.Fprintf(&m.out, "## All of it\n\n```toml\n%s```\n", example)
	golden(t, "../docs/config.md", m.out.Bytes())
}

type structDoc struct {
	doc    string
	fields []*ast.Field
}

// structsOf reads every file of the package, since a large subject has one of its own.
func structsOf(t *testing.T) map[string]structDoc {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]structDoc{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		addStructs(structs, file)
	}
	return structs
}

func addStructs(structs map[string]structDoc, file *ast.File) {
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		spec := g.Specs[0].(*ast.TypeSpec)
		if s, ok := spec.Type.(*ast.StructType); ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool { return f.Tag != nil }) {
			structs[spec.Name.Name] = structDoc{g.Doc.Text(), s.Fields.List}
		}
	}
}

type manual struct {
	t       *testing.T
	structs map[string]structDoc
	out     bytes.Buffer
}

// table writes one struct: its own keys first, then the tables in it.
func (m *manual) table(name, prefix, heading string) {
	s := m.structs[name]
	fmt.Fprintf(&m.out, "## %s\n\n", heading)
	if prefix != "" {
		fmt.Fprintf(&m.out, "%s\n\n", flat(aboutType.ReplaceAllString(s.doc, "")))
	}
	var tables []func()
	for _, f := range s.fields {
		if f.Tag == nil {
			continue // not a key
		}
		key := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("toml")
		element, list := typeName(f.Type)
		if _, ok := m.structs[element]; !ok {
			m.key(prefix, key, f.Doc.Text())
			continue
		}
		heading := "`[" + key + "]`"
		if list {
			heading = "`[[" + key + "]]`"
		}
		tables = append(tables, func() { m.table(element, key, heading) })
	}
	m.out.WriteString("\n")
	for _, write := range tables {
		write()
	}
}

// aboutType is what only a reader of Go wants to know.
var aboutType = regexp.MustCompile(`^[A-Z]\w+ (is )?|,\san? \[\[\w+\]\]\stable`)

// key writes one setting. Its comment must begin with its name, as people will
// look for it.
func (m *manual) key(prefix, key, doc string) {
	head := regexp.MustCompile(`^(?:` + prefix + `\.)?` + key + `( \(required\))?: `).FindString(doc)
	if head == "" {
		m.t.Errorf("the comment of %s.%s does not begin with %q: %q", prefix, key, key+":", doc)
		return
	}
	required := ""
	if strings.Contains(head, "(required)") {
		required = " (required)"
	}
	fmt.Fprintf(&m.out, "- **`%s`**%s: %s\n", key, required, code(flat(strings.TrimPrefix(doc, head))))
}

// typeName returns the name of T, also for []T.
func typeName(e ast.Expr) (name string, list bool) {
	if a, ok := e.(*ast.ArrayType); ok {
		name, _ = typeName(a.Elt)
		return name, true
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name, false
	}
	return "", false
}

// flat joins the lines of a comment and begins with a capital letter.
func flat(doc string) string {
	s := strings.Join(strings.Fields(doc), " ")
	return strings.ToUpper(s[:1]) + s[1:]
}

var quoted = regexp.MustCompile(`\["[^\]]*\]|"[^"]*"|<[^>]*>`)

// code marks values as code, so that stars and brackets stay what they are.
func code(s string) string { return quoted.ReplaceAllString(s, "`$0`") }
