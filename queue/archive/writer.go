package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"dancemta/queue"
)

// Unreadable is the error of a body: its message was not written, and the archive
// goes on.
type Unreadable struct{ Err error }

func (e *Unreadable) Error() string { return e.Err.Error() }
func (e *Unreadable) Unwrap() error { return e.Err }

// Writer writes an archive.
type Writer struct {
	tar  *tar.Writer
	made time.Time
	end  end
}

// NewWriter begins an archive.
func NewWriter(w io.Writer, made time.Time) (*Writer, error) {
	a := &Writer{tar: tar.NewWriter(w), made: made.UTC().Truncate(time.Second)}
	return a, a.json(nameHead, head{format, version, a.made})
}

// Open gives the octets of a body. It may be an io.Seeker; else all of it is read
// into memory.
type Open func() (io.ReadCloser, error)

// Add writes a message. An *Unreadable concerns this one alone; any other error is
// the end.
func (a *Writer) Add(s queue.Saved, open Open) error {
	b, err := readBody(open, s.Size)
	if err != nil {
		return &Unreadable{err}
	}
	defer b.close()
	if err := a.json(string(s.Envelope.ID)+envelope, fromSaved(s)); err != nil {
		return err
	}
	a.end.Messages++
	return a.entry(string(s.Envelope.ID)+body, b.size, b.sum, b)
}

// Lost writes the octets of a message that cannot be sent, with what is known of it.
// open nil: nothing is left of them. Errors are as those of Add.
func (a *Writer) Lost(id queue.ID, what string, open Open) error {
	b := &content{sum: sum(nil), r: bytes.NewReader(nil)}
	if open != nil {
		var err error
		if b, err = readBody(open, -1); err != nil {
			return &Unreadable{err}
		}
		defer b.close()
		if err := a.entry(lost+string(id)+body, b.size, b.sum, b); err != nil {
			return err
		}
	}
	a.end.Lost++
	return a.json(lost+string(id)+envelope, map[string]string{"id": string(id), "what": what})
}

// Close ends the archive, not what it was written to.
func (a *Writer) Close() error {
	return errors.Join(a.json(nameEnd, a.end), a.tar.Close())
}

// Counts returns how many messages were written, and how many lost ones.
func (a *Writer) Counts() (messages, lost int) { return a.end.Messages, a.end.Lost }

func (a *Writer) json(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	return a.entry(name, int64(len(text)), sum(text), bytes.NewReader(text))
}

func (a *Writer) entry(name string, size int64, sum string, r io.Reader) error {
	err := a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.made,
		Format: tar.FormatPAX, PAXRecords: map[string]string{paxSum: sum},
	})
	if err != nil {
		return err
	}
	n, err := io.Copy(a.tar, r)
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d octets where %d were", name, n, size)
	}
	return err
}

// content is a body of which length and sum are known before it is written.
type content struct {
	size int64
	sum  string
	r    io.Reader
	c    io.Closer
}

func (b *content) Read(p []byte) (int, error) { return b.r.Read(p) }

func (b *content) close() {
	if b.c != nil {
		b.c.Close()
	}
}

// readBody reads a body to its end, so that what cannot be read is known before
// anything is written of it. want is its length; -1: any.
func readBody(open Open, want int64) (*content, error) {
	f, err := open()
	if err != nil {
		return nil, err
	}
	b := &content{c: f}
	seeker, ok := f.(io.Seeker)
	hash := sha256.New()
	if ok && (want < 0 || want > maxInMemory) {
		if b.size, err = io.Copy(hash, f); err == nil {
			_, err = seeker.Seek(0, io.SeekStart)
		}
		b.r = f
	} else {
		var text []byte
		text, err = io.ReadAll(f)
		hash.Write(text)
		b.size, b.r = int64(len(text)), bytes.NewReader(text)
	}
	if err == nil && want >= 0 && b.size != want {
		err = fmt.Errorf("body of %d octets, %d are missing", b.size, want-b.size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	b.sum = hex.EncodeToString(hash.Sum(nil))
	return b, nil
}
