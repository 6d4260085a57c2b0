package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// The bounds of the HTTP server: a scrape has 30 KB and is ready in milliseconds,
// and there are one or two who ask.
const (
	readTime       = 5 * time.Second
	writeTime      = 10 * time.Second
	idleTime       = 2 * time.Minute // beyond the usual minute between two scrapes
	maxConnections = 16
	maxScrapes     = 4
	maxHeader      = 8 << 10
)

// Server answers GET /metrics and nothing else.
type Server struct{ http *http.Server }

// NewServer returns a server of m.
func NewServer(m *Metrics) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	return &Server{&http.Server{
		Handler: mux, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}}
}

// Serve answers on l until Drain (nil) or until l fails. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Drain stops listening and lets scrapes under way end, until ctx ends: then
// they are cut off.
func (s *Server) Drain(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		s.http.Close()
	}
	return err
}
