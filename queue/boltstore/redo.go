package boltstore

import (
	"bytes"

	bolt "go.etcd.io/bbolt"
)

// put sets a key of a bucket, which is one of format.go's. Each change of the
// store goes through put and delete, so that what a transaction does can be
// told again.
func (t *txn) put(bucket, key, value []byte) error {
	t.changed = true
	return t.bucket(bucket).Put(key, value)
}

// delete takes a key out of a bucket; nothing happens when it is not there.
func (t *txn) delete(bucket, key []byte) error {
	t.changed = true
	return t.bucket(bucket).Delete(key)
}

// bucket returns a bucket to read from.
func (t *txn) bucket(name []byte) *bolt.Bucket { return t.Bucket(name) }

// deletePrefix takes out all keys that begin with prefix.
func (t *txn) deletePrefix(bucket, prefix []byte) error {
	c := t.bucket(bucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := t.delete(bucket, k); err != nil {
			return err
		}
	}
	return nil
}
