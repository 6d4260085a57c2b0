package lab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
)

// DirectoryOptions say what a directory server holds and whom it believes.
type DirectoryOptions struct {
	Certificate tls.Certificate // of the server
	Gateways    *x509.CertPool  // who issued the certificates of those that may act for others
	TLS         bool            // ldaps; else StartTLS

	Entries []Entry  // in any order; the suffix among them
	People  string   // below it lives uid=…,ou=domain of each user
	Access  []Access // the first that fits decides; none fits: no right, but to read oneself
}

// Operation is one request that a directory server has answered.
type Operation struct {
	Name    string // "bind", "search", "compare", "modify", "whoami" …
	DN      string // its base or target
	Proxied bool   // with the control of RFC 4370
	Authzid string // of the control
	Result  int    // result code
}

// Directory is a small LDAP server behind a gateway: nobody binds to it but by a
// certificate (SASL EXTERNAL), and nobody does anything but by proxied
// authorization for somebody else, who is asked for what he may. It knows search
// (all scopes; and, or, not, equality, presence; paging), compare, modify with
// replace, and "who am I". Its methods may be called at once and while it serves.
type Directory struct {
	opts    DirectoryOptions
	addr    string
	serving sync.WaitGroup

	mu         sync.Mutex
	tree       tree
	listener   net.Listener // nil when stopped
	conns      map[net.Conn]bool
	operations []Operation
}

// StartDirectory listens on an address such as "127.0.0.1:0" until Close.
func StartDirectory(addr string, o DirectoryOptions) (*Directory, error) {
	d := &Directory{opts: o, addr: addr, conns: map[net.Conn]bool{}}
	d.tree = tree{people: o.People, access: o.Access}
	for _, e := range o.Entries {
		d.tree.entries = append(d.tree.entries, e.clone())
	}
	slices.SortStableFunc(d.tree.entries, byDepth)
	if err := d.Restart(); err != nil {
		return nil, err
	}
	return d, nil
}

// Restart listens again after Stop, on the same port.
func (d *Directory) Restart() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		return errors.New("the directory is running already")
	}
	l, err := net.Listen("tcp", d.addr)
	if err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	d.addr, d.listener = l.Addr().String(), l
	d.serving.Go(func() { d.accept(l) })
	return nil
}

// accept serves connections until the listener is closed.
func (d *Directory) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if d.enter(l, conn) {
			d.serving.Go(func() {
				defer d.leave(conn)
				d.serve(conn)
			})
		}
	}
}

// enter registers a connection, unless the server was stopped meanwhile.
func (d *Directory) enter(l net.Listener, conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != l {
		conn.Close()
		return false
	}
	d.conns[conn] = true
	return true
}

func (d *Directory) leave(conn net.Conn) {
	conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, conn)
}

// Stop closes the port and every connection at once, as a crash would, and waits
// for the sessions. What was written is kept.
func (d *Directory) Stop() {
	d.mu.Lock()
	if d.listener != nil {
		d.listener.Close()
		d.listener = nil
	}
	for conn := range d.conns {
		conn.Close()
	}
	d.mu.Unlock()
	d.serving.Wait()
}

// Close stops the server for good.
func (d *Directory) Close() { d.Stop() }

// Addr returns host:port; the port stays over Stop and Restart.
func (d *Directory) Addr() string { return d.addr }

// Operations returns what was answered since the start, in order.
func (d *Directory) Operations() []Operation {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.operations)
}

// Entry returns an entry as it is now; false when there is none.
func (d *Directory) Entry(dn string) (Entry, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.tree.at(dn)
	if i < 0 {
		return Entry{}, false
	}
	return d.tree.entries[i].clone(), true
}

func (d *Directory) tlsConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{d.opts.Certificate}, MinVersion: tls.VersionTLS12,
		// Who has no certificate may look at the rootDSE.
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: d.opts.Gateways,
	}
}
