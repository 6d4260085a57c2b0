package pages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
)

// Deeper trees than this do not exist: 2 keys in each page would hold 2^40 pages.
const maxDepth = 40

// Entry is one key of a bucket. Its bytes live in the map, until Close.
type Entry struct {
	Bucket     string
	Key, Value []byte
}

// Visitor hears what a walk finds; nil functions hear nothing. An error of Entry
// ends the walk.
type Visitor struct {
	Entry func(Entry) error
	Fault func(Fault)
}

// Usage says how many pages a file has, and how many of them hold something.
type Usage struct{ Pages, Used uint64 }

// Free is the share of the pages that hold nothing.
func (u Usage) Free() float64 {
	if u.Pages == 0 {
		return 0
	}
	return 1 - float64(u.Used)/float64(u.Pages)
}

// Walk visits all keys of all buckets, in order, as far as they can be reached,
// and names each page that stops it. The error is that of Visitor.Entry, or says
// that the file cannot be read.
func (p *File) Walk(v Visitor) (Usage, error) {
	w := &walk{p: p, v: v}
	if w.v.Fault == nil {
		w.v.Fault = func(Fault) {}
	}
	err := guarded(w.run)
	return Usage{Pages: p.high, Used: w.used}, err
}

type walk struct {
	p    *File
	v    Visitor
	seen bitmap
	used uint64
}

func (w *walk) run() error {
	if !w.p.rooted {
		return ErrNoFile
	}
	if have := uint64(len(w.p.data)) / w.p.pageSize; w.p.high > have {
		w.v.Fault(Fault{0, fmt.Sprintf("the file ends after %d of its %d pages", have, w.p.high)})
	}
	// A mark beyond the file, as damage may write it, must not take all memory.
	w.seen = newBitmap(min(w.p.high, uint64(len(w.p.data))/w.p.pageSize+1))
	w.used = firstPage
	if err := w.tree(w.p.root, span{}, 0, w.bucket); err != nil {
		return err
	}
	if w.p.free != noFreelist {
		if err := w.freelist(w.p.free); err != nil {
			w.v.Fault(Fault{w.p.free, err.Error()})
		}
	}
	return nil
}

// freelist checks the list of free pages: bbolt would write over a page that is in it.
func (w *walk) freelist(id uint64) error {
	pg, err := w.p.page(id)
	switch {
	case err != nil:
		return err
	case pg.flags != flagFree:
		return fmt.Errorf("is not the list of free pages (flags %#x)", pg.flags)
	case !w.claim(pg):
		return errors.New("is the list of free pages, and belongs to a tree, too")
	}
	ids, n := pg.data[headerLen:], uint64(pg.count)
	if n == manyFree && len(ids) >= pageIDLen {
		n, ids = binary.NativeEndian.Uint64(ids), ids[pageIDLen:]
	}
	if n > uint64(len(ids)/pageIDLen) {
		return fmt.Errorf("lists %d free pages, more than there is room for", n)
	}
	last := uint64(firstPage - 1)
	for ; n > 0; n-- {
		one := binary.NativeEndian.Uint64(ids)
		if one <= last || one >= w.p.high || w.seen.has(one) {
			return fmt.Errorf("lists page %d as free, which it is not", one)
		}
		last, ids = one, ids[pageIDLen:]
	}
	return nil
}

// span is what the keys below a branch may be: at least low, below high; nil: any.
type span struct{ low, high []byte }

// tree visits a page and what lies below it. Only an error of the visitor comes back.
func (w *walk) tree(id uint64, s span, depth int, leaf func(element) error) error {
	pg, err := w.p.page(id)
	switch {
	case err != nil:
	case pg.flags == flagFree:
		err = errors.New("is the list of free pages, and no part of a tree")
	case depth > maxDepth:
		err = fmt.Errorf("lies deeper than %d pages", maxDepth)
	case !w.claim(pg):
		err = fmt.Errorf("has two parents")
	}
	if err != nil {
		w.v.Fault(Fault{id, err.Error()})
		return nil
	}
	return w.elements(pg, s, func(i int, e element, next []byte) error {
		if pg.flags == flagLeaf {
			return leaf(e)
		}
		return w.tree(e.child, span{e.key, next}, depth+1, leaf)
	})
}

// claim marks the page and its overflow as visited.
func (w *walk) claim(pg page) bool {
	for i := range pg.overflow + 1 {
		if w.seen.has(pg.id + i) {
			return false
		}
	}
	for i := range pg.overflow + 1 {
		w.seen.set(pg.id + i)
	}
	w.used += pg.overflow + 1
	return true
}

// elements calls f for each element of a page that is in its place; next is the
// key of the one that follows, or the end of the span.
func (w *walk) elements(pg page, s span, f func(i int, e element, next []byte) error) error {
	last := s.low
	var e, following element
	var err, bad error // of the two
	if pg.count > 0 {
		following, bad = pg.element(0)
	}
	for i := range pg.count {
		e, err = following, bad
		if i+1 < pg.count {
			following, bad = pg.element(i + 1)
		}
		if err != nil {
			w.v.Fault(Fault{pg.id, err.Error()})
			continue
		}
		order := bytes.Compare(last, e.key)
		if (i > 0 && order >= 0) || (i == 0 && order > 0) || (s.high != nil && bytes.Compare(e.key, s.high) >= 0) {
			w.v.Fault(Fault{pg.id, fmt.Sprintf("key %d is out of order", i)})
			continue
		}
		last = e.key
		next := s.high
		if i+1 < pg.count && bad == nil {
			next = following.key
		}
		if err := f(i, e, next); err != nil {
			return err
		}
	}
	return nil
}

// bucket visits one bucket, an element of the root.
func (w *walk) bucket(e element) error {
	name := string(e.key)
	visit := func(e element) error {
		if e.flags != 0 {
			w.v.Fault(Fault{0, fmt.Sprintf("bucket %.40q: a key of flags %#x", name, e.flags)})
			return nil
		}
		if w.v.Entry == nil {
			return nil
		}
		return w.v.Entry(Entry{name, e.key, e.value})
	}
	if e.flags != flagBucket || len(e.value) < bucketLen {
		w.v.Fault(Fault{0, fmt.Sprintf("bucket %.40q: no bucket", name)})
		return nil
	}
	if root := binary.NativeEndian.Uint64(e.value); root != 0 {
		return w.tree(root, span{}, 0, visit)
	}
	// A small bucket lies in the value itself, as a page without a number.
	pg, err := inline(e.value[bucketLen:])
	if err != nil {
		w.v.Fault(Fault{0, fmt.Sprintf("bucket %.40q: %v", name, err)})
		return nil
	}
	return w.elements(pg, span{}, func(_ int, e element, _ []byte) error { return visit(e) })
}

func inline(b []byte) (pg page, err error) {
	if len(b) < headerLen {
		return pg, fmt.Errorf("%d octets are no page", len(b))
	}
	pg = page{flags: binary.NativeEndian.Uint16(b[8:]), count: int(binary.NativeEndian.Uint16(b[10:])), data: b}
	if pg.flags != flagLeaf || headerLen+pg.count*elementLen > len(b) {
		return pg, fmt.Errorf("its page is damaged (flags %#x, %d elements)", pg.flags, pg.count)
	}
	return pg, nil
}

// bitmap is a set of page numbers.
type bitmap []uint64

func newBitmap(n uint64) bitmap { return make(bitmap, n/64+1) }

func (b bitmap) has(i uint64) bool { return i/64 < uint64(len(b)) && b[i/64]&(1<<(i%64)) != 0 }

func (b bitmap) set(i uint64) {
	if i/64 < uint64(len(b)) {
		b[i/64] |= 1 << (i % 64)
	}
}

// guarded makes an error of the fault by which the system answers when the disk
// cannot read a mapped page.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a page cannot be read: %v", p)
		}
	}()
	return f()
}
