// Command caller calls a webhook as API servers do and counts what becomes of its calls: many HTTP
// clients at once, each with the connections that kube-apiserver keeps and without a retry of its own
// (net/http has some). What it trusts and whom it calls is told by arguments; it writes one line when
// its connections stand idle, waits for one, and ends with one JSON object.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// url is the Service's: where its connections lead is the dialer's business.
const url = "https://localhost/mutate?timeout=5s"

var (
	first       = flag.String("first", "", "the `address` of the webhook that ends")
	second      = flag.String("second", "", "the `address` of the one that takes its place")
	ca          = flag.String("ca", "", "the `file` of the authorities to trust")
	clients     = flag.Int("clients", 50, "how many clients there are")
	connections = flag.Int("connections", 4, "how many connections each holds idle")
	around      = flag.Duration("around", 40*time.Millisecond, "how far from the end calls begin at most")
)

// report is what became of the calls.
type report struct {
	// By which webhook answered.
	First  int `json:"first"`
	Second int `json:"second"`
	// By what net/http said; the same calls are answered by neither.
	Lost map[string]int `json:"lost"`
	// How many idle connections were closed because something came on them.
	Asked int64 `json:"asked"`
}

// caller is the state that all clients share.
type caller struct {
	roots    *x509.CertPool
	moved    atomic.Bool
	asked    atomic.Int64
	mutex    sync.Mutex
	finished report
}

func main() {
	flag.Parse()
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "caller:", err)
		os.Exit(2)
	}
}

func run(in io.Reader, out io.Writer) error {
	pem, err := os.ReadFile(*ca)
	if err != nil {
		return err
	}
	c := &caller{roots: x509.NewCertPool(), finished: report{Lost: map[string]int{}}}
	if !c.roots.AppendCertsFromPEM(pem) {
		return errors.New("no certificate in the file of authorities")
	}
	log.SetOutput(c)

	var group sync.WaitGroup
	all := make([]*http.Client, *clients)
	for i := range all {
		client := c.client()
		all[i] = client
		group.Go(func() {
			// As long as each waits for its answer the others need connections of their own.
			c.each(client, func() time.Duration { return 0 }, "wait")
		})
	}
	group.Wait()
	if lost := c.finished.Lost; len(lost) != 0 {
		return fmt.Errorf("calls were lost before anything ended: %v", lost)
	}
	c.finished = report{Lost: map[string]int{}}
	fmt.Fprintln(out, "idle")

	// How long from now the first webhook ends.
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return err
	}
	end, err := time.ParseDuration(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	start := time.Now()
	c.moved.Store(true)
	for _, client := range all {
		group.Go(func() {
			begin := end + spread(*around)
			c.each(client, func() time.Duration {
				return time.Until(start.Add(begin)) + spread(time.Millisecond)
			}, "{}")
		})
	}
	group.Wait()
	c.finished.Asked = c.asked.Load()
	return json.NewEncoder(out).Encode(c.finished)
}

// spread is a random time, this far from zero at most.
func spread(most time.Duration) time.Duration {
	return time.Duration(rand.Int64N(2*int64(most))) - most
}

// client is one API server: its transport is client-go's.
func (c *caller) client() *http.Client {
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			address := *first
			if c.moved.Load() {
				address = *second
			}
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig:     &tls.Config{RootCAs: c.roots},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 25,
		IdleConnTimeout:     90 * time.Second,
	}}
}

// each makes as many calls as a client holds connections, after a time of its own each.
func (c *caller) each(client *http.Client, after func() time.Duration, body string) {
	var group sync.WaitGroup
	for range *connections {
		wait := after()
		group.Go(func() {
			time.Sleep(wait)
			c.call(client, body)
		})
	}
	group.Wait()
}

func (c *caller) call(client *http.Client, body string) {
	var address string
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		address = got.Conn.RemoteAddr().String()
	}}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(context.Background(), trace), 10*time.Second)
	defer cancel()
	err := post(ctx, client, body)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch {
	case err != nil:
		c.finished.Lost[err.Error()]++
	case address == *first:
		c.finished.First++
	default:
		c.finished.Second++
	}
}

// post is one review. The body can be had again, as client-go's.
func post(ctx context.Context, client *http.Client, body string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		// Without the addresses, which differ from call to call.
		var operation *net.OpError
		if errors.As(err, &operation) {
			return fmt.Errorf("%s: %w", operation.Op, operation.Err)
		}
		return errors.Unwrap(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// Write takes what net/http logs: that something came on an idle connection.
func (c *caller) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Unsolicited response")) {
		c.asked.Add(1)
	}
	return len(line), nil
}
