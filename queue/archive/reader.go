package archive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"dancemta/queue"
)

// Reader reads an archive, which it does not trust.
type Reader struct {
	tar      *tar.Reader
	head     head
	messages int
	pending  *tar.Header // the entry that was read in vain, and is the next
	ended    bool
}

// NewReader reads the beginning. ErrFormat, ErrVersion.
func NewReader(r io.Reader) (*Reader, error) {
	a := &Reader{tar: tar.NewReader(r)}
	h, err := a.tar.Next()
	if err != nil || h.Name != nameHead {
		return nil, ErrFormat
	}
	if err := a.json(h, &a.head); err != nil || a.head.Format != format {
		return nil, ErrFormat
	}
	if a.head.Version > version {
		return nil, fmt.Errorf("version %d of the export: %w, a downgrade is refused", a.head.Version, ErrVersion)
	}
	return a, nil
}

// Next returns the next message and its body, which ends with ErrDamaged in place of
// io.EOF when it is not what was written. io.EOF: that was all. ErrDamaged: the
// message is passed by.
func (a *Reader) Next() (s queue.Saved, body io.Reader, err error) {
	for {
		h, err := a.next()
		if err != nil {
			return s, nil, err
		}
		switch {
		case h.Name == nameEnd:
			return s, nil, a.finish(h)
		case strings.HasPrefix(h.Name, lost):
			continue
		}
		id, ok := strings.CutSuffix(h.Name, envelope)
		if !ok {
			return s, nil, fmt.Errorf("%w: entry %.80q without its envelope", ErrDamaged, h.Name)
		}
		return a.message(queue.ID(id), h)
	}
}

func (a *Reader) next() (*tar.Header, error) {
	if h := a.pending; h != nil {
		a.pending = nil
		return h, nil
	}
	if a.ended {
		return nil, io.EOF
	}
	h, err := a.tar.Next()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrCutOff
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFormat, err)
	}
	if h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("%w: entry %.80q is no file", ErrFormat, h.Name)
	}
	if isSparse(h) {
		return nil, fmt.Errorf("%w: entry %.80q is sparse", ErrFormat, h.Name)
	}
	return h, nil
}

// isSparse says whether an entry has octets that are not in the archive: a short one
// would fill a disk with zeros.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func (a *Reader) finish(h *tar.Header) error {
	var e end
	if err := a.json(h, &e); err != nil {
		return err
	}
	a.ended = true
	if e.Messages != a.messages {
		return fmt.Errorf("%w: %d messages, its end says %d", ErrCutOff, a.messages, e.Messages)
	}
	return io.EOF
}

// message reads an envelope and finds its body.
func (a *Reader) message(id queue.ID, h *tar.Header) (s queue.Saved, _ io.Reader, err error) {
	a.messages++ // also when it is damaged: it was one
	var m message
	if err = a.json(h, &m); err == nil {
		if err = m.check(id); err != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, err)
		}
	}
	next, e := a.next()
	if e != nil {
		return s, nil, e
	}
	if next.Name != string(id)+body {
		a.pending = next
		return s, nil, errors.Join(err, fmt.Errorf("%w: %.40s: its body is missing", ErrDamaged, id))
	}
	if err == nil && next.Size != m.Size {
		err = fmt.Errorf("%w: %s: body of %d octets, %d expected", ErrDamaged, id, next.Size, m.Size)
	}
	if err != nil {
		return s, nil, err
	}
	return m.saved(), &verified{r: a.tar, hash: sha256.New(), want: next.PAXRecords[paxSum], id: id}, nil
}

// json reads a short entry whole.
func (a *Reader) json(h *tar.Header, into any) error {
	if h.Size > maxEnvelope {
		return fmt.Errorf("%w: entry %.80q of %d octets", ErrDamaged, h.Name, h.Size)
	}
	text, err := io.ReadAll(a.tar)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCutOff
	}
	if err != nil {
		return err
	}
	if sum(text) != h.PAXRecords[paxSum] {
		return fmt.Errorf("%w: entry %.80q: its checksum is another", ErrDamaged, h.Name)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: entry %.80q: %v", ErrDamaged, h.Name, err)
	}
	return nil
}

// verified is a body that ends well only when it is whole.
type verified struct {
	r    io.Reader
	hash hash.Hash
	want string
	id   queue.ID
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, ErrCutOff
	case err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want:
		return n, fmt.Errorf("%w: body of %s: its checksum is another", ErrDamaged, v.id)
	}
	return n, err
}
