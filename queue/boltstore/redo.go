package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// What a transaction does is a list of changes, one after the other:
//
//	1, bucket, key, value: put
//	2, bucket, key:        delete
//
// where each string has its length before it, as an unsigned varint. To apply a list
// twice is to apply it once.
const (
	redoPut    = 1
	redoDelete = 2
)

// put sets a key of a bucket, which is one of format.go's. Each change of the
// store goes through put and delete, so that what a transaction does can be
// told again.
func (t *txn) put(bucket, key, value []byte) error {
	t.begins(redoPut, bucket)
	key = t.note(key)
	value = t.note(value) // bbolt keeps the value until the checkpoint, the caller's may be gone by then
	return t.Bucket(bucket).Put(key, value)
}

// delete takes a key out of a bucket; nothing happens when it is not there.
func (t *txn) delete(bucket, key []byte) error {
	t.begins(redoDelete, bucket)
	return t.Bucket(bucket).Delete(t.note(key))
}

// deletePrefix takes out all keys that begin with prefix.
func (t *txn) deletePrefix(bucket, prefix []byte) error {
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := t.delete(bucket, k); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) begins(kind byte, bucket []byte) {
	t.changed = true
	t.changes++
	t.redo = append(t.redo, kind)
	t.note(bucket)
}

// note adds a string to the record and returns its copy there.
func (t *txn) note(s []byte) []byte {
	t.redo = append(binary.AppendUvarint(t.redo, uint64(len(s))), s...)
	return t.redo[len(t.redo)-len(s) : len(t.redo) : len(t.redo)]
}

// redo makes the changes of a list, whose octets it keeps.
func redo(tx *bolt.Tx, list []byte) (changes int, err error) {
	r := redoReader{list}
	for ; len(r.rest) > 0; changes++ {
		kind := r.rest[0]
		r.rest = r.rest[1:]
		name, key := r.next(), r.next()
		var value []byte
		if kind == redoPut {
			value = r.next()
		}
		if r.rest == nil || kind != redoPut && kind != redoDelete {
			return changes, fmt.Errorf("%w: a list of changes cannot be read", ErrDamaged)
		}
		bucket := tx.Bucket(name)
		if bucket == nil {
			return changes, fmt.Errorf("%w: a change of the bucket %.20q, which is not there", ErrDamaged, name)
		}
		if kind == redoPut {
			err = bucket.Put(key, value)
		} else {
			err = bucket.Delete(key)
		}
		if err != nil {
			return changes, err
		}
	}
	return changes, nil
}

// redoReader reads strings; rest is nil after a mistake.
type redoReader struct{ rest []byte }

func (r *redoReader) next() []byte {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > uint64(len(r.rest)-size) {
		r.rest = nil
		return nil
	}
	s := r.rest[size : size+int(n) : size+int(n)]
	r.rest = r.rest[size+int(n):]
	return s
}
