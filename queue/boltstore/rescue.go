package boltstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dancemta/internal/mailaddr"
	"dancemta/queue"
	"dancemta/queue/boltstore/pages"
)

// Rescue is what hears of each message that can still be read of a store. An error of
// a function ends it.
type Rescue struct {
	Message func(queue.Saved, func() (io.ReadCloser, error)) error
	// Lost is a message that cannot be delivered; open gives what is left of its
	// octets; nil: nothing.
	Lost  func(id queue.ID, what string, open func() (io.ReadCloser, error)) error
	Fault func(Fault)
}

// Doubts of messages that are rescued.
const (
	doubtState  = "rescued from a damaged queue: what became of it is not known"
	doubtOrphan = "rescued from a damaged queue: it may have been delivered already"
)

// RescueDir reads the store in dir, which no server may have open, without bbolt, and
// changes nothing. Damage costs what lies on the damaged pages, no more; where pages
// are lost that say what is where, records are found by their form, and may be out
// of date: messages made of them are in doubt, so that they are held. It needs some
// 200 octets of memory for each message.
func RescueDir(dir string, r Rescue) error {
	f, err := os.Open(filepath.Join(dir, fileName))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lock(f, true, defaultTimeout); err != nil {
		return openError(f.Name(), err)
	}
	p, err := pages.Open(f)
	if p == nil {
		return err
	}
	defer p.Close()
	w := &wreck{dir: dir, r: r, records: map[string][]byte{}, orphans: map[string][]byte{}}
	if err := w.read(p, err); err != nil {
		return err
	}
	return w.tell()
}

// wreck holds the records of a store by bucket and key; their octets lie in the file.
type wreck struct {
	dir     string
	r       Rescue
	records map[string][]byte
	orphans map[string][]byte // by the bucket that their form belongs to
	damaged bool
}

func at(bucket, key []byte) string { return string(bucket) + "/" + string(key) }

func (w *wreck) fault(where string, format string, args ...any) {
	w.damaged = true
	w.r.Fault(Fault{where, fmt.Sprintf(format, args...), doRescue})
}

// read collects the records: those that can be reached, what the journal adds, and if
// anything is damaged, those that can be found.
func (w *wreck) read(p *pages.File, noMeta error) error {
	wanted := map[string]bool{string(bucketMeta): true, string(bucketMessage): true, string(bucketUnit): true, string(bucketBody): true, string(bucketHistory): true}
	if noMeta == nil {
		_, err := p.Walk(pages.Visitor{
			Entry: func(e pages.Entry) error {
				if wanted[e.Bucket] {
					w.records[e.Bucket+"/"+string(e.Key)] = e.Value
				}
				return nil
			},
			Fault: func(f pages.Fault) { w.fault(fileName, "%v", f) },
		})
		if err != nil {
			w.fault(fileName, "%v", err)
		}
	} else {
		w.fault(fileName, "%v", noMeta)
	}
	if v := string(w.records[at(bucketMeta, keyFormat)]); v != "" {
		if err := checkVersion(v); err != nil {
			return err
		}
	}
	w.replay()
	if !w.damaged {
		return nil
	}
	return p.Orphans(func(e pages.Entry) error {
		if bucket := shape(e); bucket != nil {
			w.orphans[at(bucket, e.Key)] = e.Value
		}
		return nil
	})
}

// shape says to which bucket a record must have belonged; nil: to none that matters.
func shape(e pages.Entry) []byte {
	if len(e.Key) < idLen || !queue.ID(e.Key[:idLen]).Valid() {
		return nil
	}
	var unit unitRecord
	switch isJSON := bytes.HasPrefix(e.Value, []byte("{")); {
	case len(e.Key) == idLen && bytes.HasPrefix(e.Value, []byte(`{"message":`)):
		return bucketHistory
	case len(e.Key) == idLen && isJSON:
		return bucketMessage
	case len(e.Key) > idLen && isJSON && json.Unmarshal(e.Value, &unit) == nil && len(unit.Recipients) > 0:
		return bucketUnit
	case len(e.Key) == idLen+4 && len(e.Value) > 0:
		return bucketBody
	}
	return nil
}

// replay does what the journal holds, as far as it can be trusted.
func (w *wreck) replay() {
	value := w.records[at(bucketMeta, keyJournal)]
	path := filepath.Join(w.dir, journalName)
	if value == nil {
		if _, err := os.Stat(path); err == nil {
			w.fault(journalName, "what it holds cannot be told from older records, since its salt is lost")
		}
		return
	}
	g := new(generation)
	if err := decode("meta", keyJournal, value, g); err != nil {
		w.fault(journalName, "%v", err)
		return
	}
	if _, err := g.replay(path, w.redo); err != nil {
		w.fault(journalName, "%v", err)
	}
}

func (w *wreck) redo(list []byte) error {
	for r := (redoReader{list}); len(r.rest) > 0; {
		kind := r.rest[0]
		r.rest = r.rest[1:]
		name, key := r.next(), r.next()
		var value []byte
		if kind == redoPut {
			value = r.next()
		}
		if r.rest == nil {
			return fmt.Errorf("%w: a list of changes cannot be read", ErrDamaged)
		}
		if kind == redoPut {
			w.records[at(name, key)] = value
		} else {
			delete(w.records, at(name, key))
		}
	}
	return nil
}

// ids lists the messages of which there is a record in a bucket.
func ids(records map[string][]byte, bucket []byte) map[queue.ID]bool {
	all := map[queue.ID]bool{}
	prefix := string(bucket) + "/"
	for k := range records {
		if rest, ok := strings.CutPrefix(k, prefix); ok && len(rest) >= idLen {
			all[queue.ID(rest[:idLen])] = true
		}
	}
	return all
}

// tell reports all messages in the order of their ids, then what has no envelope.
func (w *wreck) tell() error {
	all := ids(w.records, bucketMessage)
	known := maps.Clone(all)
	ended := ids(w.records, bucketHistory)
	maps.Copy(ended, ids(w.orphans, bucketHistory))
	for id := range ids(w.orphans, bucketMessage) {
		known[id] = true
		if !all[id] && !ended[id] {
			all[id] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if err := w.message(id); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.nameless())) {
		if known[id] || ended[id] {
			continue
		}
		if err := w.r.Lost(id, "its envelope is lost; recipients: "+w.recipients(id), w.left(id)); err != nil {
			return err
		}
	}
	return nil
}

// nameless lists the bodies that can be reached, or lie in files.
func (w *wreck) nameless() map[queue.ID]bool {
	all := ids(w.records, bucketBody)
	names, err := os.ReadDir(filepath.Join(w.dir, spoolName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.fault(spoolName, "%v", err)
	}
	for _, n := range names {
		if id := queue.ID(n.Name()); id.Valid() && w.damaged {
			all[id] = true
		}
	}
	return all
}

// message reports one message.
func (w *wreck) message(id queue.ID) error {
	var msg messageRecord
	value, doubt := w.records[at(bucketMessage, []byte(id))], ""
	if decode("message", []byte(id), value, &msg) != nil {
		value, doubt = w.orphans[at(bucketMessage, []byte(id))], doubtOrphan
		msg = messageRecord{}
		if err := decode("message", []byte(id), value, &msg); err != nil {
			w.fault("message "+string(id), "%v", err)
			return w.r.Lost(id, "its envelope cannot be read; recipients: "+w.recipients(id), w.left(id))
		}
	}
	units := map[string]*unitRecord{}
	for _, a := range msg.Recipients {
		d := queue.Destination(a.Address)
		if units[d] != nil {
			continue
		}
		var certain bool
		if units[d], certain = w.unit(id, d, &msg); !certain && doubt == "" {
			doubt = doubtState
			w.fault("message "+string(id), "its state at %.80s is lost", d)
		}
	}
	open, err := w.body(id, &msg)
	if err != nil {
		w.fault("message "+string(id), "%v", err)
		what := fmt.Sprintf("from <%s> to %v: %v", msg.Sender, msg.Recipients, err)
		return w.r.Lost(id, what, w.left(id))
	}
	saved := msg.saved(id, units)
	saved.Doubt = doubt
	return w.r.Message(saved, open)
}

// unit returns the state of a message at a destination. It is not certain when it had
// to be found, or made anew.
func (w *wreck) unit(id queue.ID, destination string, msg *messageRecord) (rec *unitRecord, certain bool) {
	var want []mailaddr.Address
	for _, a := range msg.Recipients {
		if queue.Destination(a.Address) == destination {
			want = append(want, a.Address)
		}
	}
	key := at(bucketUnit, unitKey(id, destination))
	for i, records := range []map[string][]byte{w.records, w.orphans} {
		rec = new(unitRecord)
		if decode("unit", []byte(key), records[key], rec) == nil && slices.EqualFunc(rec.Recipients, want,
			func(r recipientRecord, a mailaddr.Address) bool { return r.Address.Address == a }) {
			return rec, i == 0
		}
	}
	rec = &unitRecord{Next: 1}
	for _, a := range want {
		rec.Recipients = append(rec.Recipients, recipientRecord{Address: address{a}})
	}
	return rec, false
}

// body opens a body that is whole.
func (w *wreck) body(id queue.ID, msg *messageRecord) (func() (io.ReadCloser, error), error) {
	if msg.Spool {
		path := filepath.Join(w.dir, spoolName, string(id))
		info, err := os.Stat(path)
		if err == nil && info.Size() != msg.Size {
			err = fmt.Errorf("its body has %d octets of %d", info.Size(), msg.Size)
		}
		if err == nil && msg.Sum != 0 {
			var sum uint32
			if sum, err = fileSum(path); err == nil && sum != msg.Sum {
				err = errors.New("its body has another checksum")
			}
		}
		return func() (io.ReadCloser, error) { return os.Open(path) }, err
	}
	chunks := w.chunks(id)
	var size int64
	var sum uint32
	for _, c := range chunks {
		size += int64(len(c))
		sum = crc32.Update(sum, castagnoli, c)
	}
	if size != msg.Size {
		return nil, fmt.Errorf("its body has %d octets of %d", size, msg.Size)
	}
	if msg.Sum != 0 && msg.Sum != sum {
		return nil, errors.New("its body has another checksum")
	}
	return reading(chunks), nil
}

// chunks are the octets of a body, until one is missing.
func (w *wreck) chunks(id queue.ID) (all [][]byte) {
	for i := 0; ; i++ {
		key := at(bucketBody, bodyKey(id, i))
		c := w.records[key]
		if c == nil {
			c = w.orphans[key]
		}
		if len(c) == 0 {
			return all
		}
		all = append(all, c)
	}
}

func reading(chunks [][]byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		var readers []io.Reader
		for _, c := range chunks {
			readers = append(readers, bytes.NewReader(c))
		}
		return io.NopCloser(io.MultiReader(readers...)), nil
	}
}

// left opens what is left of a body; nil: nothing.
func (w *wreck) left(id queue.ID) func() (io.ReadCloser, error) {
	path := filepath.Join(w.dir, spoolName, string(id))
	if _, err := os.Stat(path); err == nil {
		return func() (io.ReadCloser, error) { return os.Open(path) }
	}
	if chunks := w.chunks(id); len(chunks) > 0 {
		return reading(chunks)
	}
	return nil
}

// recipients names those of a message without an envelope.
func (w *wreck) recipients(id queue.ID) string {
	var all []string
	for _, records := range []map[string][]byte{w.records, w.orphans} {
		prefix := at(bucketUnit, []byte(id))
		for k, v := range records {
			var rec unitRecord
			if !strings.HasPrefix(k, prefix) || json.Unmarshal(v, &rec) != nil {
				continue
			}
			for _, r := range rec.Recipients {
				all = append(all, r.Address.plain()+" "+r.Result.String())
			}
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 0 {
		return "not known"
	}
	return strings.Join(all, ", ")
}
