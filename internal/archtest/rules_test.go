package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root = "../.."

	maxFunction   = 60  // lines: what fits on a screen
	maxParameters = 5   // beyond that, a struct
	maxFile       = 600 // lines: then it is two files
)

// file is one Go file as the rules see it.
type file struct {
	path string // from the root of the module
	room string // its package's folder
	test bool
	text []byte
	fset *token.FileSet
	ast  *ast.File
}

func parse(path string, text []byte) (*file, error) {
	f := &file{path: path, room: filepath.ToSlash(filepath.Dir(path)), test: strings.HasSuffix(path, "_test.go"), text: text, fset: token.NewFileSet()}
	var err error
	f.ast, err = parser.ParseFile(f.fset, path, text, parser.ParseComments)
	return f, err
}

// at writes a complaint with its place.
func (f *file) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s: %s", f.fset.Position(n.Pos()), fmt.Sprintf(format, args...))
}

func (f *file) lines(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

// rules are those that look at one file.
var rules = []struct {
	name  string
	check func(*file) []string
}{
	{"imports", checkImports},
	{"size of functions", checkFunctions},
	{"size of files", checkFile},
	{"citations", checkCitations},
	{"words", checkWords},
	{"package variables", checkVariables},
	{"context first", checkContext},
	{"no init", checkInit},
	{"no sleep", checkSleep},
}

// TestTree applies all rules to all files.
func TestTree(t *testing.T) {
	packages := map[string][]*file{}
	for _, path := range goFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parse(name, text)
		if err != nil {
			t.Error(err)
			continue
		}
		packages[f.room] = append(packages[f.room], f)
		for _, r := range rules {
			for _, complaint := range r.check(f) {
				t.Errorf("%s: %s", r.name, complaint)
			}
		}
	}
	for _, files := range packages {
		for _, complaint := range checkPackage(files) {
			t.Error(complaint)
		}
	}
}

// checkPackage demands a package comment and tables that nobody writes to.
func checkPackage(files []*file) (complaints []string) {
	commented := false
	vars := map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		want := "Package " + f.ast.Name.Name + " "
		if f.ast.Name.Name == "main" {
			want = "Command "
		}
		commented = commented || strings.HasPrefix(f.ast.Doc.Text(), want)
		for _, s := range f.packageVars() {
			for _, name := range s.Names {
				vars[name.Name] = name.Name != "_"
			}
		}
	}
	if !commented {
		complaints = append(complaints, fmt.Sprintf("%s: no comment that says what package %s is", files[0].room, files[0].ast.Name.Name))
	}
	for _, f := range files {
		if !f.test {
			complaints = append(complaints, f.assignments(vars)...)
		}
	}
	return complaints
}

func checkFunctions(f *file) (complaints []string) {
	if f.test {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		var t *ast.FuncType
		switch n := n.(type) {
		case *ast.FuncDecl:
			if t = n.Type; f.lines(n) > maxFunction {
				complaints = append(complaints, f.at(n, "%s has %d lines; %d are the limit", n.Name, f.lines(n), maxFunction))
			}
		case *ast.FuncLit:
			t = n.Type
		default:
			return true
		}
		if t.Params.NumFields() > maxParameters {
			complaints = append(complaints, f.at(n, "%d parameters; %d are the limit", t.Params.NumFields(), maxParameters))
		}
		return true
	})
	return complaints
}

func checkFile(f *file) []string {
	if n := bytes.Count(f.text, []byte("\n")); n > maxFile {
		return []string{fmt.Sprintf("%s has %d lines; %d are the limit", f.path, n, maxFile)}
	}
	return nil
}

var (
	citation = regexp.MustCompile(`(?i)\brfcs?[\s_-]*[0-9]+`)
	cited    = regexp.MustCompile(`^RFC [1-9][0-9]{2,4}$`)
	// section is the wrong ways to go on: the number alone is right.
	section = regexp.MustCompile(`^[,:]?\s*(?i:§|section|sect\.|sec\.|s[0-9])`)
	draft   = regexp.MustCompile(`(?i)draft-ietf-|\bclient-auth[,:]?\s*(?:§|section)`)
)

// mediaType is no citation: DSNs have parts of this name.
const mediaType = "rfc822"

// checkCitations demands that comments cite as "RFC 5321 4.5.3.1" and
// "client-auth 5", so that a search finds all lines that obey a section.
func checkCitations(f *file) (complaints []string) {
	for _, group := range f.ast.Comments {
		for _, c := range group.List {
			for _, at := range citation.FindAllStringIndex(c.Text, -1) {
				words, rest := c.Text[at[0]:at[1]], c.Text[at[1]:]
				if words != mediaType && !cited.MatchString(words) || section.MatchString(rest) {
					complaints = append(complaints, f.at(c, "%q: cite as RFC 5321 4.5.3.1", words+firstWord(rest)))
				}
			}
			if m := draft.FindString(c.Text); m != "" {
				complaints = append(complaints, f.at(c, "%q: cite as client-auth 5", m))
			}
		}
	}
	return complaints
}

func firstWord(s string) string {
	words := strings.Fields(s)
	if len(words) == 0 {
		return ""
	}
	return " " + words[0]
}

// unwanted are marks of unfinished work, and of documents that are not in the
// repository. They are written in halves, or this file would be found.
var unwanted = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b|\b(specs|golibs|style|design)(\.md)? [0-9]`)

func checkWords(f *file) (complaints []string) {
	for n, line := range strings.Split(string(f.text), "\n") {
		if word := unwanted.FindString(line); word != "" {
			complaints = append(complaints, fmt.Sprintf("%s:%d: %q: do it, or say the reason itself", f.path, n+1, word))
		}
	}
	return complaints
}

func (f *file) packageVars() (specs []*ast.ValueSpec) {
	for _, d := range f.ast.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, s := range g.Specs {
				specs = append(specs, s.(*ast.ValueSpec))
			}
		}
	}
	return specs
}

// makers are calls whose results never change.
var makers = []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParsePrefix", "strings.NewReplacer", "crc32.MakeTable"}

// linked is the variable that the linker sets.
var linked = struct{ room, name string }{"cmd/dancemta", "version"}

// checkVariables allows package variables that are errors, tables and compiled
// expressions, and proofs that a type meets an interface.
func checkVariables(f *file) (complaints []string) {
	if f.test {
		return nil
	}
	for _, s := range f.packageVars() {
		if name := s.Names[0].Name; name == "_" || f.room == linked.room && name == linked.name {
			continue
		}
		if len(s.Values) == 0 {
			complaints = append(complaints, f.at(s, "package variable %s has no value: something will change it", s.Names[0]))
		}
		for _, v := range s.Values {
			if !isFixed(v) {
				complaints = append(complaints, f.at(v, "package variable %s is no error, table or expression", s.Names[0]))
			}
		}
	}
	return complaints
}

func isFixed(v ast.Expr) bool {
	switch v := v.(type) {
	case *ast.CompositeLit: // a table, or a value of several fields
		return true
	case *ast.UnaryExpr:
		return isFixed(v.X)
	case *ast.CallExpr:
		_, conversion := v.Fun.(*ast.ArrayType) // []byte("x")
		return conversion || slices.Contains(makers, source(v.Fun))
	}
	return false
}

// source writes a name or a selector.
func source(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return source(e.X) + "." + e.Sel.Name
	}
	return ""
}

// assignments finds writes to the package variables of this name.
func (f *file) assignments(vars map[string]bool) (complaints []string) {
	check := func(n ast.Node, to ast.Expr) {
		id := rootOf(to)
		if id == nil || !vars[id.Name] {
			return
		}
		if id.Obj != nil { // declared in this file: here, or within a function
			if s, ok := id.Obj.Decl.(*ast.ValueSpec); !ok || !slices.Contains(f.packageVars(), s) {
				return
			}
		}
		complaints = append(complaints, f.at(n, "package variable %s is changed", id.Name))
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, to := range n.Lhs {
				check(n, to)
			}
		case *ast.IncDecStmt:
			check(n, n.X)
		}
		return true
	})
	return complaints
}

// rootOf returns the variable that an assignment to e changes.
func rootOf(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.IndexExpr:
		return rootOf(e.X)
	case *ast.SelectorExpr:
		return rootOf(e.X)
	case *ast.StarExpr:
		return rootOf(e.X)
	case *ast.ParenExpr:
		return rootOf(e.X)
	}
	return nil
}

// checkContext demands that a context is the first parameter.
func checkContext(f *file) (complaints []string) {
	ast.Inspect(f.ast, func(n ast.Node) bool {
		d, ok := n.(*ast.FuncDecl)
		if !ok || f.test {
			return true
		}
		for i, p := range d.Type.Params.List {
			if i > 0 && source(p.Type) == "context.Context" {
				complaints = append(complaints, f.at(d, "%s: the context comes first", d.Name))
			}
		}
		return true
	})
	return complaints
}

// checkInit forbids init: parts are made where they are wired.
func checkInit(f *file) (complaints []string) {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			complaints = append(complaints, f.at(fn, "an init function"))
		}
	}
	return complaints
}

// checkSleep forbids tests that wait for luck. On a fake clock sleeping is fine,
// and in a loop that looks at a state again and again.
func checkSleep(f *file) (complaints []string) {
	if !f.test || slices.ContainsFunc(f.ast.Imports, func(s *ast.ImportSpec) bool { return s.Path.Value == `"testing/synctest"` }) {
		return nil
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if _, loop := n.(*ast.ForStmt); loop {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok && source(call.Fun) == "time.Sleep" {
			complaints = append(complaints, f.at(n, "a sleep: wait for a state, with a deadline"))
		}
		return true
	})
	return complaints
}
