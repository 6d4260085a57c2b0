package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"dancemta/queue"
)

// child is a "dancemta serve" of this very program.
type child struct {
	cmd       *exec.Cmd
	done      chan struct{} // closed when its log has ended
	addresses map[string]string

	mu   sync.Mutex
	log  strings.Builder
	more chan struct{} // closed and replaced with each line
}

const (
	// A child that ends badly has written a line or two.
	maxChildLog   = 1 << 20
	childWaitTime = 5 * time.Second
)

// startChild starts the server and waits until it is ready.
func startChild(ctx context.Context, config string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, unavailable(err)
	}
	c := &child{
		cmd:  exec.CommandContext(ctx, self, "serve", "--config", config),
		done: make(chan struct{}), more: make(chan struct{}), addresses: map[string]string{},
	}
	c.cmd.WaitDelay = childWaitTime
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, unavailable(err)
	}
	ready := make(chan struct{})
	go c.readLog(stderr, ready)
	select {
	case <-ready:
		return c, nil
	case <-c.done:
	case <-ctx.Done():
	}
	c.kill()
	return nil, fmt.Errorf("the server did not start:\n%s", c.text())
}

// readLog keeps the log, and learns from it where the server listens.
func (c *child) readLog(r io.Reader, ready chan<- struct{}) {
	defer close(c.done)
	for s := bufio.NewScanner(r); s.Scan(); {
		var line struct{ Msg, Listener, Address string }
		c.mu.Lock()
		if c.log.Len() < maxChildLog {
			c.log.WriteString(s.Text() + "\n")
		}
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
		if json.Unmarshal(s.Bytes(), &line) != nil {
			continue // an error before the log begins
		}
		switch line.Msg {
		case "listening":
			c.addresses[line.Listener] = line.Address
		case "ready":
			close(ready)
		}
	}
}

func (c *child) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

// moreLog returns a channel that is closed with the next line.
func (c *child) moreLog() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.more
}

// kill is SIGKILL: the server gets no chance to tidy up.
func (c *child) kill() {
	c.cmd.Process.Kill() // an error means that it has ended already
	<-c.done
	c.cmd.Wait() // its error is the kill
}

// queueList runs "dancemta queue list" as an operator would.
func queueList(ctx context.Context, config string) ([]queue.Summary, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "queue", "list", "--json", "--config", config)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dancemta queue list: %w", err)
	}
	var all []queue.Summary
	err = decodeEach(strings.NewReader(string(text)), func(s queue.Summary) error {
		all = append(all, s)
		return nil
	})
	return all, err
}

func splitPort(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
