package tlsrpt

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dancemta/internal/dnsname"
	"dancemta/internal/maillog"
	"dancemta/internal/newfile"
)

// The files of a day, in the counter's folder: DATE.json has the counts, DATE.sent
// the domains whose report was begun, a line for each, durable before anything
// leaves. Whatever happens then, no restart sends it a second time.
const (
	fileVersion = 1
	countSuffix = ".json"
	sentSuffix  = ".sent"
	// maxFile bounds what is read back; the counts of a day are bounded too.
	maxFile = 256 << 20
)

// The words of the lines in DATE.sent.
const (
	begun   = "begun"   // it may have arrived
	refused = "refused" // and it did not: nobody took it
)

func newCounter(dir string, now func() time.Time) *Counter {
	return &Counter{dir: dir, now: now, days: map[string]*day{}, dirty: map[string]bool{}}
}

// load reads the days that were counted. What cannot be read is left out: it is
// no more than a statistic.
func (c *Counter) load() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		date, ok := strings.CutSuffix(e.Name(), countSuffix)
		if _, err := time.Parse(time.DateOnly, date); !ok || err != nil {
			continue
		}
		d, err := readDay(filepath.Join(c.dir, e.Name()))
		if err != nil {
			maillog.Trouble(c.log, "TLS sessions that were counted on "+date+" are not reported", err)
			continue
		}
		c.days[date] = d
	}
	return nil
}

func readDay(path string) (*day, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &day{}
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(d); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.Version != fileVersion {
		return nil, fmt.Errorf("%s: version %d", path, d.Version)
	}
	if d.Domains == nil {
		d.Domains = map[dnsname.Name]*tallies{}
	}
	for domain, all := range d.Domains {
		if all == nil || domain.IsZero() {
			delete(d.Domains, domain)
		}
	}
	d.octets = d.size()
	return d, nil
}

// save writes the counts that have changed. After an error they are written the
// next time.
func (c *Counter) save() error {
	c.disk.Lock()
	defer c.disk.Unlock()
	files, err := c.snapshot()
	for date, text := range files {
		werr := newfile.Replace(newfile.File{Path: c.path(date, countSuffix), Data: text, Mode: newfile.Secret})
		if werr != nil {
			c.mu.Lock()
			c.dirty[date] = true
			c.mu.Unlock()
		}
		err = errors.Join(err, werr)
	}
	return err
}

// snapshot encodes the days that have changed.
func (c *Counter) snapshot() (map[string][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := map[string][]byte{}
	for date := range c.dirty {
		text, err := json.Marshal(c.days[date])
		if err != nil {
			return nil, err
		}
		files[date] = text
	}
	clear(c.dirty)
	return files, nil
}

func (c *Counter) path(date, suffix string) string { return filepath.Join(c.dir, date+suffix) }

// ended lists the days that are over.
func (c *Counter) ended() []string {
	today := dateOf(c.now())
	c.mu.Lock()
	defer c.mu.Unlock()
	var dates []string
	for date := range c.days {
		if date < today {
			dates = append(dates, date)
		}
	}
	return dates
}

// domains lists those of a day.
func (c *Counter) domains(date string) []dnsname.Name {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []dnsname.Name
	for domain := range c.days[date].Domains {
		all = append(all, domain)
	}
	return all
}

// tallies returns what was counted for a domain on a day that is over; nobody
// changes it any more.
func (c *Counter) tallies(date string, domain dnsname.Name) *tallies {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.days[date]; d != nil {
		return d.Domains[domain]
	}
	return nil
}

// forget ends a day whose reports are sent or given up.
func (c *Counter) forget(date string) error {
	c.disk.Lock()
	defer c.disk.Unlock()
	c.mu.Lock()
	delete(c.days, date)
	delete(c.dirty, date)
	c.mu.Unlock()
	// The counts first: without them nothing can be sent again.
	err := os.Remove(c.path(date, countSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // never saved
	}
	if err != nil {
		return err
	}
	if err := os.Remove(c.path(date, sentSuffix)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// note writes a line to DATE.sent and flushes it.
func (c *Counter) note(date, word string, domain dnsname.Name) error {
	path := c.path(date, sentSuffix)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, newfile.Secret)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, word+" "+domain.String()+"\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncDir(c.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// begunReports are the domains of a day whose report has perhaps arrived. A line
// that a power cut has torn was not durable, so nothing had been sent.
func (c *Counter) begunReports(date string) (map[string]bool, error) {
	f, err := os.Open(c.path(date, sentSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]bool{}
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	for lines.Scan() {
		switch word, domain, _ := strings.Cut(lines.Text(), " "); word {
		case begun:
			all[domain] = true
		case refused:
			delete(all, domain)
		}
	}
	return all, lines.Err()
}
