// Package pages reads a bbolt file without trusting it. The idea: bbolt believes
// its pages, panics in a goroutine of its own when one is not what it should be,
// and so ends the program; here every number is compared with the file before it
// is followed. So a damaged file can be refused with a reason, and what is still
// readable can be rescued.
//
// Start with Open, then Walk (walk.go), which visits every key that can be reached
// and names every page that is damaged, and Orphans (orphan.go), which finds what
// cannot be reached any more. It writes nothing. Whoever calls it sees to it that
// nobody else writes.
package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"syscall"
)

// ErrNoFile says that neither of the two meta pages can be read: no bbolt file, or
// its beginning is lost.
var ErrNoFile = errors.New("no readable meta page")

// The layout of a page and of a meta, in the byte order of the machine:
//
//	page: id 8, flags 2, count 2, overflow 4, then the elements
//	meta: magic 4, version 4, page size 4, flags 4, root 8, sequence 8,
//	      freelist 8, high water mark 8, transaction 8, checksum 8 (FNV-1a)
const (
	headerLen   = 16
	metaLen     = 64
	checksumAt  = 56
	magic       = 0xED0CDAED
	version     = 2
	elementLen  = 16 // of branch and leaf alike
	flagBranch  = 0x01
	flagLeaf    = 0x02
	flagFree    = 0x10
	flagBucket  = 0x01 // of a leaf's element: its value is a bucket
	bucketLen   = 16   // root 8, sequence 8
	pageIDLen   = 8
	manyFree    = 0xFFFF         // so many in the list of free pages or more: its first element is their number
	noFreelist  = math.MaxUint64 // the list is not kept: what cannot be reached is free
	firstPage   = 2              // behind the metas
	minPageSize = 1 << 10
	maxPageSize = 64 << 10
)

// File is an open bbolt file.
type File struct {
	data     []byte // the memory map
	pageSize uint64
	high     uint64 // pages below it belong to the file
	root     uint64
	free     uint64 // page of the list of free ones, or noFreelist
	rooted   bool   // a meta is readable, so root and high are true
	metas    int    // that are readable
}

// Fault is one thing that is wrong. Page is where; 0: the file as a whole.
type Fault struct {
	Page uint64
	Text string
}

func (f Fault) String() string {
	if f.Page == 0 {
		return f.Text
	}
	return fmt.Sprintf("page %d: %s", f.Page, f.Text)
}

// Open maps f, which may be closed afterwards. ErrNoFile comes with a File all the
// same: it has no tree, but may hold orphans. Other errors are the system's.
func Open(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	if size < 2*minPageSize || size > math.MaxInt {
		return &File{pageSize: uint64(os.Getpagesize())}, fmt.Errorf("%w: %d octets", ErrNoFile, size)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	// All of it is about to be read, by us and then by bbolt. Advice may be refused.
	_ = syscall.Madvise(data, syscall.MADV_WILLNEED)
	p := &File{data: data}
	err = guarded(p.readMeta)
	if err != nil {
		p.pageSize = uint64(os.Getpagesize())
		p.high = uint64(len(data)) / p.pageSize
	}
	return p, err
}

// Close gives the map back. What Walk and Orphans showed is gone then.
func (p *File) Close() error {
	if p.data == nil {
		return nil
	}
	data := p.data
	p.data = nil
	return syscall.Munmap(data)
}

// Torn says that one of the two metas is not whole: a power cut fell into a commit,
// which does no harm; or the disk has lost it, and the last commit with it.
func (p *File) Torn() bool { return p.rooted && p.metas < 2 }

// readMeta takes the younger of the two metas that are whole. The second one's
// place depends on the page size, which the first one knows; else all are tried.
func (p *File) readMeta() error {
	var best uint64
	for size := uint64(minPageSize); size <= maxPageSize; size *= 2 {
		for _, at := range []uint64{0, size} {
			m, ok := p.meta(at)
			if !ok || m.pageSize != size {
				continue
			}
			p.metas++
			if p.rooted && m.transaction < best {
				continue
			}
			best = m.transaction
			p.rooted, p.pageSize, p.high, p.root, p.free = true, size, m.high, m.root, m.free
		}
	}
	if !p.rooted {
		return ErrNoFile
	}
	return nil
}

type meta struct{ pageSize, root, free, high, transaction uint64 }

func (p *File) meta(at uint64) (m meta, ok bool) {
	at += headerLen
	if at+metaLen > uint64(len(p.data)) {
		return m, false
	}
	b := p.data[at : at+metaLen]
	sum := fnv.New64a()
	sum.Write(b[:checksumAt])
	if binary.NativeEndian.Uint32(b) != magic || binary.NativeEndian.Uint32(b[4:]) != version || binary.NativeEndian.Uint64(b[checksumAt:]) != sum.Sum64() {
		return m, false
	}
	return meta{
		pageSize: uint64(binary.NativeEndian.Uint32(b[8:])), root: binary.NativeEndian.Uint64(b[16:]),
		free: binary.NativeEndian.Uint64(b[32:]), high: binary.NativeEndian.Uint64(b[40:]), transaction: binary.NativeEndian.Uint64(b[48:]),
	}, true
}

// page is one page with those that its overflow adds.
type page struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64
	data     []byte // with the header
}

// page reads the header of page id and compares it with the file.
func (p *File) page(id uint64) (pg page, err error) {
	if id < firstPage || id >= p.high {
		return pg, fmt.Errorf("not one of the %d pages of the file", p.high)
	}
	at := id * p.pageSize
	if at+p.pageSize > uint64(len(p.data)) {
		return pg, errors.New("lies behind the end of the file")
	}
	h := p.data[at:]
	pg = page{id: id, flags: binary.NativeEndian.Uint16(h[8:]), count: int(binary.NativeEndian.Uint16(h[10:])), overflow: uint64(binary.NativeEndian.Uint32(h[12:]))}
	if got := binary.NativeEndian.Uint64(h); got != id {
		return pg, fmt.Errorf("calls itself page %d", got)
	}
	if pg.flags != flagBranch && pg.flags != flagLeaf && pg.flags != flagFree {
		return pg, fmt.Errorf("is neither branch nor leaf nor the list of free pages (flags %#x)", pg.flags)
	}
	if id+pg.overflow >= p.high || (id+pg.overflow+1)*p.pageSize > uint64(len(p.data)) {
		return pg, fmt.Errorf("goes on for %d pages, behind the end of the file", pg.overflow)
	}
	pg.data = p.data[at : at+(pg.overflow+1)*p.pageSize]
	if pg.flags != flagFree && headerLen+pg.count*elementLen > len(pg.data) {
		return pg, fmt.Errorf("has %d elements, more than there is room for", pg.count)
	}
	return pg, nil
}

// element is one key of a page: with its value in a leaf, with a page in a branch.
type element struct {
	flags      uint32
	key, value []byte
	child      uint64
}

// element reads one element of a page.
//
//	branch: position 4, key size 4, page 8
//	leaf:   flags 4, position 4, key size 4, value size 4
//
// Positions count from the element itself.
func (pg *page) element(i int) (e element, err error) {
	at := headerLen + i*elementLen
	b := pg.data[at:]
	var position, keyLen, valueLen uint64
	if pg.flags == flagBranch {
		position, keyLen, e.child = uint64(binary.NativeEndian.Uint32(b)), uint64(binary.NativeEndian.Uint32(b[4:])), binary.NativeEndian.Uint64(b[8:])
	} else {
		e.flags = binary.NativeEndian.Uint32(b)
		position, keyLen, valueLen = uint64(binary.NativeEndian.Uint32(b[4:])), uint64(binary.NativeEndian.Uint32(b[8:])), uint64(binary.NativeEndian.Uint32(b[12:]))
	}
	from := uint64(at) + position
	if from+keyLen+valueLen > uint64(len(pg.data)) {
		return e, fmt.Errorf("element %d lies outside of its page", i)
	}
	e.key = pg.data[from : from+keyLen : from+keyLen]
	e.value = pg.data[from+keyLen : from+keyLen+valueLen : from+keyLen+valueLen]
	return e, nil
}
