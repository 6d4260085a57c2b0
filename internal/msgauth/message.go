package msgauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"dancemta/internal/dnsname"
	"dancemta/internal/mailaddr"
)

// inMemory is how much of a body waits in memory for its signature. It is what the
// queue keeps without a file, too.
const inMemory = 64 << 10

// fileChunk is how much of a large body is read and written at once.
const fileChunk = 32 << 10

// ErrUnsigned says that a message of our own has no key.
var ErrUnsigned = errors.New("no DKIM key for the domain of From")

// Message is a message with its signatures on top. Close it.
type Message struct {
	io.Reader
	Domain dnsname.Name // whose signature it has; zero: nobody's
	file   *os.File
}

// Close gives back the file that a large body was kept in.
func (m *Message) Close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// Sign reads message to its end when it has a key for the domain of its From field
// and may says of each address there that the author may use it; a nil may
// forbids all. It returns the message with its signatures. Without a key or the right to
// it, what comes back is the message as it was, still to be read.
//
// Errors: that of message itself, as it came; ErrHeader; else trouble of ours, which
// may be gone later. There is no unsigned message where a signature belongs.
func (s *Signer) Sign(message io.Reader, may func(mailaddr.Address) bool) (*Message, error) {
	if s == nil || len(s.keys) == 0 {
		return &Message{Reader: message}, nil
	}
	head, more, err := readHeader(message)
	if err != nil {
		return nil, err
	}
	fields, err := parseHeader(head)
	if err != nil {
		return nil, err
	}
	from, domain := author(fields)
	keys := s.keysFor(domain)
	if len(keys) == 0 || !allowed(from, may) {
		return &Message{Reader: io.MultiReader(bytes.NewReader(head), bytes.NewReader(more), message)}, nil
	}
	header, err := selectFields(fields)
	if err != nil {
		return nil, err
	}
	running, err := newSignatures(keys, header)
	if err != nil {
		return nil, err
	}
	k := keep{dir: s.dir, hash: running}
	kept := k.all(io.MultiReader(bytes.NewReader(more), message))
	top, err := running.end()
	if kept != nil {
		err = kept // the first that went wrong
	}
	if err != nil {
		k.drop()
		return nil, err
	}
	body, err := k.body()
	if err != nil {
		k.drop()
		return nil, err
	}
	return &Message{Reader: io.MultiReader(strings.NewReader(top), bytes.NewReader(head), body), Domain: keys[0].Domain, file: k.file}, nil
}

func allowed(from []mailaddr.Address, may func(mailaddr.Address) bool) bool {
	if may == nil || len(from) == 0 {
		return false
	}
	for _, a := range from {
		if !may(a) {
			return false
		}
	}
	return true
}

// Own signs a message of this server itself, such as a bounce. ErrUnsigned: there
// is no key for it; the caller knows whether it may leave so.
func (s *Signer) Own(message []byte) ([]byte, error) {
	m, err := s.Sign(bytes.NewReader(message), func(mailaddr.Address) bool { return true })
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if m.Domain.IsZero() {
		return nil, ErrUnsigned
	}
	return io.ReadAll(m)
}

// keep hashes a body and keeps it: what is short in memory, else all in a file that
// loses its name at once, so that a crash leaves nothing of it behind.
type keep struct {
	dir  string
	hash io.Writer
	mem  bytes.Buffer
	file *os.File
}

// all reads the body to its end. An error of r comes back as it is.
func (k *keep) all(r io.Reader) error {
	buf := make([]byte, 4<<10) // most bodies are short
	for {
		if k.file != nil && len(buf) < fileChunk {
			buf = make([]byte, fileChunk)
		}
		n, err := r.Read(buf)
		if _, werr := k.hash.Write(buf[:n]); werr != nil {
			return fmt.Errorf("hash a body: %w", werr)
		}
		if werr := k.write(buf[:n]); werr != nil {
			return fmt.Errorf("keep a body for its signatures: %w", werr)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (k *keep) write(p []byte) (err error) {
	if k.file == nil && k.mem.Len()+len(p) <= inMemory {
		k.mem.Write(p) // never fails
		return nil
	}
	if k.file == nil {
		if k.file, err = os.CreateTemp(k.dir, ".dkim-*"); err != nil {
			return err
		}
		if err = os.Remove(k.file.Name()); err != nil {
			return err
		}
		if _, err = k.mem.WriteTo(k.file); err != nil {
			return err
		}
		k.mem = bytes.Buffer{}
	}
	_, err = k.file.Write(p)
	return err
}

func (k *keep) body() (io.Reader, error) {
	if k.file == nil {
		return &k.mem, nil
	}
	_, err := k.file.Seek(0, io.SeekStart)
	return k.file, err
}

func (k *keep) drop() {
	if k.file != nil {
		k.file.Close() // nothing in it matters
	}
}
