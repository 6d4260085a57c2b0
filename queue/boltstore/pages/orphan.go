package pages

import (
	"bytes"
	"encoding/binary"
)

// Orphans visits the keys of leaf pages that Walk cannot reach: those below a
// damaged page, and those that were given up by earlier transactions. So what is
// found may be out of date, even ended long ago, and its bucket is not known:
// Entry.Bucket is empty. A page counts only when all of it is sound.
func (p *File) Orphans(visit func(Entry) error) error {
	w := &walk{p: p, v: Visitor{Fault: func(Fault) {}}}
	if err := guarded(w.run); err != nil && p.rooted {
		return err
	}
	if w.seen == nil {
		w.seen = newBitmap(p.high)
	}
	return guarded(func() error {
		last := min(p.high, uint64(len(p.data))/p.pageSize)
		for id := uint64(firstPage); id < last; id++ {
			if w.seen.has(id) {
				continue
			}
			pg, err := p.page(id)
			if err != nil || pg.flags != flagLeaf || pg.count == 0 || !pg.sound() || !w.claim(pg) {
				continue
			}
			if err := pg.visit(visit); err != nil {
				return err
			}
			id += pg.overflow // what a value holds is no page, whatever it looks like
		}
		return nil
	})
}

// sound says whether all elements are keys in order.
func (pg *page) sound() bool {
	var last []byte
	for i := range pg.count {
		e, err := pg.element(i)
		if err != nil || e.flags > flagBucket || e.flags == flagBucket && len(e.value) < bucketLen || (i > 0 && bytes.Compare(last, e.key) >= 0) {
			return false
		}
		last = e.key
	}
	return true
}

// flat says whether a page is sound and holds no buckets: those of ours hold none.
func (pg *page) flat() bool {
	for i := range pg.count {
		if e, err := pg.element(i); err != nil || e.flags != 0 {
			return false
		}
	}
	return pg.sound()
}

func (pg *page) visit(visit func(Entry) error) error {
	for i := range pg.count {
		e, err := pg.element(i)
		if err != nil {
			return err
		}
		if e.flags == 0 {
			err = visit(Entry{Key: e.key, Value: e.value})
		} else if in, bad := inline(e.value[bucketLen:]); bad == nil && binary.NativeEndian.Uint64(e.value) == 0 && in.flat() {
			err = in.visit(visit) // a small bucket; a larger one has pages of its own
		}
		if err != nil {
			return err
		}
	}
	return nil
}
