package rollover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// The folder:
//
//	state.json            what is remembered; see State
//	keys/ID/cert.pem      certificate and key of each key that lives
//	keys/ID/key.pem
//	current -> keys/ID    the pair in use
//	lock                  held by whoever changes any of this
//
// The link decides which key is in use: it is exchanged by one rename, so that
// a reader finds a pair, never half of each. All else is written before it is
// named anywhere, and removed after nothing names it any more.
const (
	stateFile   = "state.json"
	lockFile    = "lock"
	keysDir     = "keys"
	currentLink = "current"
	certFile    = "cert.pem"
	keyFile     = "key.pem"

	formatVersion = 1

	// maxState is more than any state of ours has; a larger file is another one.
	maxState = 64 << 10
)

// Errors of Create, Roll and Read; each comes wrapped with the folder's name.
var (
	ErrName    = errors.New("no client's certificate can claim this name")
	ErrExists  = errors.New("holds keys already")
	ErrNoState = errors.New("holds no keys of ours")
	ErrBusy    = errors.New("another process is at work on it")
	ErrVersion = errors.New("made by another version of this program")
	ErrDamaged = errors.New("damaged")
)

// keyID is the name of a key's folder.
var keyID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// store is the folder, locked while it is open for changes.
type store struct {
	dir  string
	step func(string)
	lock *os.File // nil when it is open for reading
}

// document is the form of state.json.
type document struct {
	Version int `json:"version"`
	State
}

// openStore locks the folder. Step is told each durable change as it begins.
func openStore(dir string, step func(string)) (*store, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
	}
	if step == nil {
		step = func(string) {}
	}
	return &store{dir: dir, step: step, lock: f}, nil
}

func (s *store) close() error { return s.lock.Close() }

func (s *store) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// load reads the state.
func (s *store) load() (State, error) {
	text, err := os.ReadFile(s.path(stateFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return State{}, fmt.Errorf("%s: %w", s.dir, ErrNoState)
	case err != nil:
		return State{}, err
	case len(text) > maxState:
		return State{}, fmt.Errorf("%s: %w: too large", s.path(stateFile), ErrDamaged)
	}
	var version struct{ Version int }
	if err := json.Unmarshal(text, &version); err != nil {
		return State{}, fmt.Errorf("%s: %w: %w", s.path(stateFile), ErrDamaged, err)
	}
	if version.Version != formatVersion {
		return State{}, fmt.Errorf("%s: version %d: %w", s.path(stateFile), version.Version, ErrVersion)
	}
	var doc document
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&doc)
	if err == nil {
		err = doc.check()
	}
	if err != nil {
		return State{}, fmt.Errorf("%s: %w: %w", s.path(stateFile), ErrDamaged, err)
	}
	return doc.State, nil
}

// save replaces the state in one piece.
func (s *store) save(state State) error {
	text, err := json.MarshalIndent(document{formatVersion, state}, "", "  ")
	if err != nil {
		return err
	}
	s.step("save state")
	temporary := s.path(stateFile + ".new")
	if err := writeFile(temporary, append(text, '\n')); err != nil {
		return err
	}
	s.step("rename state")
	if err := os.Rename(temporary, s.path(stateFile)); err != nil {
		return err
	}
	s.step("sync state")
	return syncDir(s.dir)
}

// addKey writes a pair where nothing names it yet.
func (s *store) addKey(p Pair) error {
	dir := s.path(keysDir, p.SPKI.id())
	s.step("make folder of key")
	err := os.MkdirAll(s.path(keysDir), 0o700)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
	}{{keyFile, p.Key}, {certFile, p.Certificate}} {
		s.step("write " + f.name)
		if err := writeFile(filepath.Join(dir, f.name), f.text); err != nil {
			return err
		}
	}
	s.step("sync key")
	return errors.Join(syncDir(dir), syncDir(s.path(keysDir)), syncDir(s.dir))
}

// use makes a pair the one in use, if it is whole.
func (s *store) use(k Key) error {
	if err := s.checkPair(k); err != nil {
		return err
	}
	temporary := s.path(currentLink + ".new")
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.step("make link")
	if err := os.Symlink(filepath.Join(keysDir, k.SPKI.id()), temporary); err != nil {
		return err
	}
	s.step("rename link")
	if err := os.Rename(temporary, s.path(currentLink)); err != nil {
		return err
	}
	s.step("sync link")
	return syncDir(s.dir)
}

// inUse returns the folder name of the pair in use, "" for none.
func (s *store) inUse() (string, error) {
	target, err := os.Readlink(s.path(currentLink))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	id := filepath.Base(target)
	if filepath.Dir(target) != keysDir || !keyID.MatchString(id) {
		return "", fmt.Errorf("%s: %w: it leads to %q", s.path(currentLink), ErrDamaged, target)
	}
	return id, nil
}

// checkPair demands that certificate and key are those of the record.
func (s *store) checkPair(k Key) error {
	dir := s.path(keysDir, k.SPKI.id())
	digest, err := readPair(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err == nil && digest != k.SPKI {
		err = fmt.Errorf("%s: %w: it is not the key of the record %s", dir, ErrDamaged, k.Record().Short())
	}
	return err
}

// settle finishes what was cut off: the link tells whether a switch has
// happened, and keys that nothing names are removed.
func (s *store) settle(state State, now time.Time) (State, error) {
	id, err := s.inUse()
	switch {
	case err != nil:
		return state, err
	case id == "" && state.Phase == Steady: // cut off in Create
		err = s.use(state.Current)
	case state.Phase == Published && id == state.Next.SPKI.id():
		// When it happened is not known; later is safe.
		state = state.switched(now)
		err = s.save(state)
	case id != state.Current.SPKI.id():
		err = fmt.Errorf("%s: %w: it leads to a key that is not current", s.path(currentLink), ErrDamaged)
	}
	if err != nil {
		return state, err
	}
	return state, s.sweep(state)
}

// sweep removes the folders of keys that the state does not name.
func (s *store) sweep(state State) error {
	entries, err := os.ReadDir(s.path(keysDir))
	if err != nil {
		return err
	}
	live := map[string]bool{state.Current.SPKI.id(): true}
	for _, k := range []*Key{state.Next, state.Old} {
		if k != nil {
			live[k.SPKI.id()] = true
		}
	}
	for _, e := range entries {
		if !keyID.MatchString(e.Name()) || live[e.Name()] {
			continue
		}
		s.step("remove key")
		if err := os.RemoveAll(s.path(keysDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file and makes it durable; only we may read it.
func writeFile(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes names in a folder durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
