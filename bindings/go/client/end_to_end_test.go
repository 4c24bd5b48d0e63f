package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// strictServer admits limit requests of a key in any window, over an exact log,
// and tells.
type strictServer struct {
	limit  int
	window time.Duration
	delay  func(n int) time.Duration // After admission, of the n-th request.

	mu       sync.Mutex
	logs     map[string][]time.Time
	statuses map[string][]int
}

func (s *strictServer) decide(key string, header http.Header) (status, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	admitted := s.logs[key]
	for len(admitted) > 0 && !admitted[0].Add(s.window).After(now) {
		admitted = admitted[1:]
	}
	status = http.StatusOK
	if len(admitted) >= s.limit {
		status = http.StatusTooManyRequests
	} else {
		admitted = append(admitted, now)
	}
	s.logs[key] = admitted
	s.statuses[key] = append(s.statuses[key], status)
	wait := admitted[0].Add(s.window).Sub(now)
	header.Set("X-RateLimit-Limit", strconv.Itoa(s.limit))
	header.Set("X-RateLimit-Remaining", strconv.Itoa(s.limit-len(admitted)))
	header.Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(wait+time.Second-1).Unix(), 10))
	if status != http.StatusOK {
		header.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
	}
	return status, len(s.statuses[key])
}

func (s *strictServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, n := s.decide(r.Header.Get("X-API-Key"), w.Header())
	if s.delay != nil {
		time.Sleep(s.delay(n))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "{}")
}

func (s *strictServer) count(key string, status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, one := range s.statuses[key] {
		if one == status {
			n++
		}
	}
	return n
}

func serve(t *testing.T, limit int, window time.Duration) (*strictServer, *httptest.Server) {
	strict := &strictServer{
		limit: limit, window: window,
		logs: map[string][]time.Time{}, statuses: map[string][]int{},
	}
	server := httptest.NewServer(strict)
	t.Cleanup(server.Close)
	return strict, server
}

// send makes so many goroutines send so many requests in all.
func send(t *testing.T, api func(n int) *http.Client, url, key string, goroutines, requests int) {
	t.Helper()
	var group sync.WaitGroup
	work := make(chan int)
	for range goroutines {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range work {
				request, _ := http.NewRequest("GET", url, nil)
				request.Header.Set("X-API-Key", key)
				response, err := api(n).Do(request)
				if err != nil {
					t.Error(err)
					continue
				}
				if body, err := io.ReadAll(response.Body); err != nil || string(body) != "{}" || response.StatusCode != 200 {
					t.Errorf("%d, %q, %v", response.StatusCode, body, err)
				}
				_ = response.Body.Close()
			}
		}()
	}
	for n := range requests {
		work <- n
	}
	close(work)
	group.Wait()
}

func clientOf(t *testing.T, transport *Transport) *http.Client {
	if transport.Base == nil {
		transport.Base = &http.Transport{MaxIdleConnsPerHost: 10}
	}
	api := &http.Client{Transport: transport}
	t.Cleanup(api.CloseIdleConnections)
	return api
}

func TestFiveGoroutinesAreNeverRefused(t *testing.T) {
	t.Parallel()
	strict, server := serve(t, 10, time.Second)
	api := clientOf(t, &Transport{Limit: 10, Window: time.Second})
	send(t, func(int) *http.Client { return api }, server.URL, "k", 5, 35)
	if n := strict.count("k", 200); n != 35 || strict.count("k", 429) != 0 {
		t.Errorf("%d admitted, %d refused", n, strict.count("k", 429))
	}
}

func TestASlowServerNeverHasAReasonToRefuse(t *testing.T) {
	t.Parallel()
	strict, server := serve(t, 6, 400*time.Millisecond)
	strict.delay = func(n int) time.Duration { return time.Duration(n*n%7) * 50 * time.Millisecond }
	api := clientOf(t, &Transport{Limit: 6, Window: 400 * time.Millisecond, MaxInFlight: 4})
	send(t, func(int) *http.Client { return api }, server.URL, "k", 8, 30)
	if n := strict.count("k", 429); n != 0 {
		t.Errorf("%d refused", n)
	}
}

func TestTwoClientsThatShareAKeyGetAllThrough(t *testing.T) {
	t.Parallel()
	strict, server := serve(t, 10, time.Second)
	apis := [2]*http.Client{
		clientOf(t, &Transport{Window: time.Second}),
		clientOf(t, &Transport{Window: time.Second}),
	}
	send(t, func(n int) *http.Client { return apis[n%2] }, server.URL, "k", 4, 24)
	if n := strict.count("k", 429); n > 8 {
		t.Errorf("%d refused", n)
	}
}

// settledGoroutines waits for goroutines that are ending to end.
func settledGoroutines(want int) int {
	var n int
	for range 200 {
		if n = runtime.NumGoroutine(); n <= want {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	return n
}

// Not parallel: it counts goroutines.
func TestRetriesLeaveNoGoroutineBehind(t *testing.T) {
	before := settledGoroutines(0)
	func() {
		hits := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits++
			switch hits % 5 {
			case 1:
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(429)
				_, _ = io.WriteString(w, strings.Repeat("x", 100<<10))
			case 2:
				w.WriteHeader(502)
				_, _ = io.WriteString(w, "short")
			case 3: // The connection breaks while the answer is expected.
				conn, _, _ := w.(http.Hijacker).Hijack()
				_ = conn.Close()
			case 4: // An error that trickles.
				w.WriteHeader(504)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			}
		}))
		defer server.Close()
		base := &http.Transport{}
		api := &http.Client{Transport: &Transport{Base: base, Retry: Retry{Backoff: time.Millisecond}}}
		defer api.CloseIdleConnections()
		for range 5 {
			response, err := api.Get(server.URL)
			if err != nil {
				t.Error(err)
				continue
			}
			_ = response.Body.Close()
		}
	}()
	if after := settledGoroutines(before); after > before {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before:\n%s", after, before, stacks[:runtime.Stack(stacks, true)])
	}
}

func TestAConnectionIsUsedAgainAfterARefusal(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	hits, from := 0, map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		hits++
		from[r.RemoteAddr] = true
		if body, _ := io.ReadAll(r.Body); string(body) != "body" {
			t.Errorf("the body is %q", body)
		}
		if hits < 3 {
			w.WriteHeader(429)
			_, _ = io.WriteString(w, strings.Repeat("x", 60<<10))
		}
	}))
	defer server.Close()
	api := clientOf(t, &Transport{Retry: Retry{Backoff: time.Millisecond}})
	response, err := api.Post(server.URL, "text/plain", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if hits != 3 || len(from) != 1 {
		t.Errorf("%d requests over %d connections", hits, len(from))
	}
}

func TestAServerThatIsNotThereIsTriedAgainWithAnyMethod(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	api := clientOf(t, &Transport{Retry: Retry{Attempts: 3, Backoff: time.Millisecond}})
	body := &closeCounter{Reader: strings.NewReader("a stream")}
	_, err = api.Post("http://"+address, "text/plain", body)
	var gaveUp *GaveUpError
	var dial *net.OpError
	if !errors.As(err, &gaveUp) || gaveUp.Attempts != 3 || gaveUp.Cap != CapAttempts ||
		!errors.As(err, &dial) || body.closed != 1 {
		t.Errorf("%v, closed %d times", err, body.closed)
	}
}

func TestAServerThatNeverAnswersIsLeftAtTheTimeout(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	}))
	defer server.Close()
	transport := &Transport{}
	api := clientOf(t, transport)
	api.Timeout = 50 * time.Millisecond
	_, err := api.Get(server.URL)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%v", err)
	}
	request, _ := http.NewRequest("GET", server.URL, nil)
	if n := transport.Queue(request).InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestAnUpgradePassesThrough(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		_, _ = io.WriteString(conn, line)
	}))
	defer server.Close()
	api := clientOf(t, &Transport{MaxInFlight: 1})
	request, _ := http.NewRequest("GET", server.URL, nil)
	request.Header.Set("Connection", "upgrade")
	request.Header.Set("Upgrade", "echo")
	response, err := api.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := response.Body.(io.ReadWriteCloser)
	if !ok || response.StatusCode != 101 {
		t.Fatalf("%d, %T", response.StatusCode, response.Body)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = conn.Close()
}

func TestHTTP2PassesThrough(t *testing.T) {
	t.Parallel()
	hits := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		if hits == 1 {
			w.WriteHeader(429)
			return
		}
		if hits == 2 {
			panic(http.ErrAbortHandler) // A stream that is reset.
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	api := clientOf(t, &Transport{Base: server.Client().Transport, Retry: Retry{Backoff: time.Millisecond}})
	response, err := api.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("%q, %v", body, err)
	}
	_ = response.Body.Close()
}

func TestACertificateThatDoesNotVerifyIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	api := clientOf(t, &Transport{})
	if _, err := api.Get(server.URL); err == nil || errors.Is(err, ErrGaveUp) {
		t.Errorf("%v", err)
	}
}
