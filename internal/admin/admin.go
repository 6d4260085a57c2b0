// Package admin is the control socket of a running server: commands with plain
// arguments go in, a stream of text comes out. Parts register a function for
// each command; the server's own user and root may call them (peer.go).
//
// It is HTTP over a Unix socket, so that the standard library does the framing,
// the streaming and the time limits. A command that fails after its first
// output cuts the stream off, and the caller sees an error, not an early end.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// A sockaddr_un holds 108 octets with its final NUL; beyond that the kernel
	// says only "invalid argument".
	maxPath = 107
	// Whoever connects is the operator: it needs no long time to say what it wants.
	headerTimeout = 5 * time.Second
	// A caller that neither reads nor writes for so long must not hold a command for
	// ever. The command as a whole may take as long as it needs: a backup does.
	stallTimeout = time.Minute
	// The name of a command and its arguments.
	maxRequest = 64 << 10
	// To learn that nobody serves a socket any more takes no time on one host.
	probeTimeout = time.Second

	argumentKey = "arg"
	textLimit   = 4 << 10 // of an error text that the client shows
)

// Errors of Listen and Call.
var (
	ErrInUse      = errors.New("another server answers at the control socket")
	ErrNotRunning = errors.New("no server answers at the control socket")
	ErrNotFound   = errors.New("not found")
)

// Command writes its result to w. An error that wraps ErrNotFound comes out of
// Call as one.
type Command func(ctx context.Context, args []string, w io.Writer) error

// Intake is a command that is sent a stream, too. It reads what it wants of it, and
// writes only after that.
type Intake func(ctx context.Context, args []string, in io.Reader, w io.Writer) error

// Server answers commands. Register them before Serve.
type Server struct {
	mux     *http.ServeMux
	http    *http.Server
	wait    sync.WaitGroup
	log     *slog.Logger
	allowed func(uid int) bool
}

// New returns a server without commands. log hears of clients that were refused; nil:
// nobody does.
func New(log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	return &Server{mux: mux, log: log, allowed: ownOrRoot, http: &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxRequest,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // a client that went away is no news
	}}
}

// Handle registers a command under a name without slashes.
func (s *Server) Handle(name string, c Command) {
	s.HandleIntake(name, func(ctx context.Context, args []string, _ io.Reader, w io.Writer) error {
		return c(ctx, args, w)
	})
}

// HandleIntake registers a command that is sent a stream.
func (s *Server) HandleIntake(name string, c Intake) {
	s.mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		out := &output{w: w, control: control}
		err := c(r.Context(), r.URL.Query()[argumentKey], &input{r.Body, control}, out)
		// What is still in buffers goes out now, however long ago the last write was.
		_ = control.SetWriteDeadline(time.Now().Add(stallTimeout))
		switch {
		case err == nil:
		case out.started:
			panic(http.ErrAbortHandler) // the only way to tell the caller now
		case errors.Is(err, ErrNotFound):
			http.Error(w, err.Error(), http.StatusNotFound)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

// output and input put the end of the caller's patience off with each step that it
// makes.
type output struct {
	w       io.Writer
	control *http.ResponseController
	started bool
}

func (o *output) Write(p []byte) (int, error) {
	o.started = true
	if err := o.control.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return o.w.Write(p)
}

type input struct {
	r       io.Reader
	control *http.ResponseController
}

func (i *input) Read(p []byte) (int, error) {
	if err := i.control.SetReadDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	n, err := i.r.Read(p)
	if err != nil {
		// Or the server, which listens for the caller's end, takes the deadline for it.
		_ = i.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Listen makes the socket at path, for its owner only. A socket that a crash
// left behind is replaced; ErrInUse when somebody still answers there.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("control socket %s: path over %d octets", path, maxPath)
	}
	if info, err := os.Lstat(path); err == nil {
		switch {
		case info.Mode().Type() != fs.ModeSocket:
			return nil, fmt.Errorf("control socket %s: something else has this name", path)
		case answers(path):
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The mask keeps the moment between bind and chmod closed to others. It is
	// the whole process's, but nothing else makes files while a server starts.
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Serve answers on l until Close. It closes l, which removes the socket.
func (s *Server) Serve(l net.Listener) {
	g := &guard{Listener: l, allowed: s.allowed, log: s.log}
	s.wait.Go(func() { s.http.Serve(g) }) // ends by Close only
}

// Close cuts what is under way and waits for Serve's goroutine.
func (s *Server) Close() {
	s.http.Close()
	s.wait.Wait()
}

// Call runs a command of the server at path and returns its output, which the
// caller closes. ErrNotRunning when nobody answers there.
func Call(ctx context.Context, path, name string, args ...string) (io.ReadCloser, error) {
	return Send(ctx, path, name, nil, args...)
}

// Send is Call with a stream for an Intake; nil: there is none.
func Send(ctx context.Context, path, name string, in io.Reader, args ...string) (io.ReadCloser, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	target := url.URL{Scheme: "http", Host: "dancemta", Path: "/" + name, RawQuery: url.Values{argumentKey: args}.Encode()}
	if in != nil {
		in = struct{ io.Reader }{in} // or it would be closed when nobody answers
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), in)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%s: %w", path, ErrNotRunning)
		}
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, textLimit)) // what came is what can be shown
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, trim(text))
	}
	return nil, errors.New(trim(text))
}

func trim(text []byte) string {
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	return string(text)
}
