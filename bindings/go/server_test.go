package mavera_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// server serves a handler until the test ends.
func server(t *testing.T, handler http.Handler, change ...func(*httptest.Server)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	// Panics are part of the stories.
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, c := range change {
		c(s)
	}
	if s.EnableHTTP2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// get is a request of a client's, and its answer with the body read.
func get(t *testing.T, s *httptest.Server, method, path, key string) (*http.Response, string) {
	t.Helper()
	response, err := ask(s, method, path, key)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func ask(s *httptest.Server, method, path, key string) (*http.Response, error) {
	request, err := http.NewRequest(method, s.URL+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	return s.Client().Do(request)
}

// raw sends a request line and its headers as they are.
func raw(t *testing.T, s *httptest.Server, lines ...string) *http.Response {
	t.Helper()
	connection, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "%s\r\nConnection: close\r\n\r\n", strings.Join(lines, "\r\n"))
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// none waits until no permit is held: the client may have its answer before
// the handler has returned.
func none(t *testing.T, limiter *mavera.Limiter, class mavera.Class) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); inFlight(t, limiter, "a", class) > 0; {
		if time.Now().After(end) {
			t.Fatal("a permit is still held")
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func TestAServersAnswersHaveTheHeaders(t *testing.T) {
	limiter, _ := standing(t)
	s := server(t, starter(limiter, hello))
	response, body := get(t, s, "GET", "/mave/chat", "a")
	equal(t, "status", response.StatusCode, http.StatusOK)
	equal(t, "body", body, "hello")
	has(t, response.Header, "X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "59",
		"X-RateLimit-Reset", "1700000060", "Retry-After", "")
	none(t, limiter, chat)

	if _, err := limiter.CheckN("a", mavera.PerMinute(60), 59); err != nil {
		t.Fatal(err)
	}
	response, body = get(t, s, "POST", "/mave/chat", "a")
	equal(t, "status", response.StatusCode, http.StatusTooManyRequests)
	equal(t, "length", response.ContentLength, int64(len(body)))
	has(t, response.Header, "Retry-After", "60", "Content-Type", "application/json")
	equal(t, "body", body,
		`{"error":{"message":"Rate limit exceeded. Please retry after 60 seconds.",`+
			`"type":"rate_limit_error","code":"rate_limit_exceeded","param":null}}`)

	response, body = get(t, s, "HEAD", "/", "a")
	equal(t, "status", response.StatusCode, http.StatusTooManyRequests)
	equal(t, "body", body, "")
	if response.ContentLength <= 0 {
		t.Errorf("length %d", response.ContentLength)
	}
}

func TestTheWriterIsTheServersOwn(t *testing.T) {
	limiter, _ := standing(t)
	var bare, limited string
	see := func(what *string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			*what = fmt.Sprintf("%T", w)
			_, flusher := w.(http.Flusher)
			_, hijacker := w.(http.Hijacker)
			_, reader := w.(io.ReaderFrom)
			equal(t, "Flusher, Hijacker, ReaderFrom", flusher && hijacker && reader, true)
		})
	}
	get(t, server(t, see(&bare)), "GET", "/", "a")
	get(t, server(t, starter(limiter, see(&limited))), "GET", "/", "a")
	equal(t, "writer", limited, bare)
}

func TestAHandlerControlsItsResponse(t *testing.T) {
	limiter, _ := standing(t)
	flushed := make(chan struct{})
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		for _, err := range []error{
			control.SetReadDeadline(time.Now().Add(time.Minute)),
			control.SetWriteDeadline(time.Now().Add(time.Minute)),
			control.EnableFullDuplex(),
		} {
			equal(t, "error", err, nil)
		}
		_, _ = io.WriteString(w, "first")
		equal(t, "error", control.Flush(), nil)
		// The client has the first part while the permit is held.
		<-flushed
		equal(t, "in flight", inFlight(t, limiter, "a", chat), 1)
		n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader("second"))
		equal(t, "read", n, int64(6))
		equal(t, "error", err, nil)
	})))
	response, err := ask(s, "GET", "/mave/chat", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	has(t, response.Header, "X-RateLimit-Remaining", "59")
	part := make([]byte, 5)
	_, err = io.ReadFull(response.Body, part)
	equal(t, "error", err, nil)
	equal(t, "body", string(part), "first")
	close(flushed)
	rest, err := io.ReadAll(response.Body)
	equal(t, "error", err, nil)
	equal(t, "body", string(rest), "second")
	none(t, limiter, chat)
}

func TestAPermitIsHeldUntilAHijackersHandlerReturns(t *testing.T) {
	limiter, _ := standing(t)
	hijacked, end := make(chan struct{}), make(chan struct{})
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		equal(t, "remaining", w.Header().Get("X-RateLimit-Remaining"), "59")
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			close(hijacked)
			return
		}
		_, _ = io.WriteString(connection, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
		_ = connection.Close()
		close(hijacked)
		<-end
	})))
	response, _ := get(t, s, "GET", "/video-analyses", "a")
	equal(t, "status", response.StatusCode, 299)
	<-hijacked
	equal(t, "in flight", inFlight(t, limiter, "a", video), 1)
	close(end)
	none(t, limiter, video)
}

func TestAPermitIsGivenBackWhenAServersHandlerPanics(t *testing.T) {
	limiter, _ := standing(t)
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "begun" {
			_, _ = io.WriteString(w, "hel")
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	})))
	for _, path := range []string{"/video-analyses", "/video-analyses?begun"} {
		for range 5 {
			response, err := ask(s, "POST", path, "a")
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			if err == nil {
				t.Error("the connection was not aborted")
			}
			none(t, limiter, video)
		}
	}
}

func TestAPermitIsGivenBackWhenTheClientGoes(t *testing.T) {
	limiter, _ := standing(t)
	begun := make(chan struct{})
	s := server(t, starter(limiter, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})))
	connection, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "GET /video-analyses HTTP/1.1\r\nHost: host\r\nX-API-Key: a\r\n\r\n")
	<-begun
	equal(t, "in flight", inFlight(t, limiter, "a", video), 1)
	connection.Close()
	none(t, limiter, video)
}

// crowd sends eight requests to an endpoint with three permits, whose handler
// holds them until all of the others have heard.
func crowd(t *testing.T, limiter *mavera.Limiter, change ...func(*httptest.Server)) {
	t.Helper()
	end := make(chan struct{})
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-time.After(5 * time.Second):
			t.Error("more are in flight than there may be")
		}
		fmt.Fprint(w, r.ProtoMajor)
	})), change...)
	var mutex sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			response, err := ask(s, "GET", "/video-analyses", "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode == http.StatusOK {
				equal(t, "protocol", string(body), fmt.Sprint(response.ProtoMajor))
			} else {
				has(t, response.Header, "Retry-After", "1", "X-RateLimit-Limit", "60")
				equal(t, "code", strings.Contains(string(body), "concurrency_limit_exceeded"), true)
			}
			mutex.Lock()
			defer mutex.Unlock()
			statuses[response.StatusCode]++
			if statuses[http.StatusTooManyRequests] == 5 && statuses[http.StatusOK] == 0 {
				equal(t, "in flight", inFlight(t, limiter, "a", video), 3)
				close(end)
			}
		}()
	}
	all.Wait()
	equal(t, "served", statuses[http.StatusOK], 3)
	equal(t, "refused", statuses[http.StatusTooManyRequests], 5)
	none(t, limiter, video)
	equal(t, "charged", peek(t, limiter, "a", mavera.PerMinute(60)).Used(), 3)
}

func TestAsManyRequestsAreInFlightAsThePlanHas(t *testing.T) {
	limiter, _ := standing(t)
	crowd(t, limiter)
}

func TestAsManyStreamsOfAConnectionAreInFlightAsThePlanHas(t *testing.T) {
	limiter, _ := standing(t)
	crowd(t, limiter, func(s *httptest.Server) { s.EnableHTTP2 = true })
}

func TestHTTP2HasTheHeadersToo(t *testing.T) {
	limiter, _ := standing(t)
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		equal(t, "protocol", r.ProtoMajor, 2)
		_, _ = io.WriteString(w, "hello")
		equal(t, "error", http.NewResponseController(w).Flush(), nil)
	}), mavera.WithHeaders(mavera.LegacyAndIETF)), func(s *httptest.Server) { s.EnableHTTP2 = true })
	response, body := get(t, s, "GET", "/mave/chat", "a")
	equal(t, "protocol", response.ProtoMajor, 2)
	equal(t, "body", body, "hello")
	has(t, response.Header, "X-RateLimit-Remaining", "59",
		"RateLimit", `"default";r=59;t=60, "in-flight";r=9`)
	none(t, limiter, chat)
	if _, err := limiter.CheckN("a", mavera.PerMinute(60), 59); err != nil {
		t.Fatal(err)
	}
	response, body = get(t, s, "GET", "/mave/chat", "a")
	equal(t, "status", response.StatusCode, http.StatusTooManyRequests)
	equal(t, "length", response.ContentLength, int64(len(body)))
	has(t, response.Header, "Retry-After", "60")
}

func TestATargetInAnyFormFallsUnderItsEndpoint(t *testing.T) {
	limiter, _ := standing(t)
	s := server(t, starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, inFlight(t, limiter, "a", video))
	})))
	for target, held := range map[string]string{
		"/video-analyses":                                      "1",
		"http://host/video-analyses":                           "1",
		"http://elsewhere:81/video-analyses?x":                 "1",
		"/%76ideo-analyses/7":                                  "1",
		"//video-analyses":                                     "1",
		"/x/../video-analyses":                                 "1",
		"/video-analyses;v=1":                                  "1",
		"http://video-analyses/":                               "0",
		"/billing?path=/video-analyses":                        "0",
		"/" + strings.Repeat("x", 2000) + "/..":                "0",
		"/" + strings.Repeat("x", 2000) + "/../video-analyses": "1",
	} {
		response := raw(t, s, "GET "+target+" HTTP/1.1", "Host: host", "X-API-Key: a")
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK || string(body) != held {
			t.Errorf("%.60s: %d %s, want %s", target, response.StatusCode, body, held)
		}
		none(t, limiter, video)
	}
	response := raw(t, s, "OPTIONS * HTTP/1.0", "X-API-Key: a")
	if response.StatusCode >= 500 {
		t.Errorf("OPTIONS *: %d", response.StatusCode)
	}
}

func TestManyClientsAreServedExactlyTheLimit(t *testing.T) {
	limiter, _ := standing(t)
	s := server(t, starter(limiter, hello))
	var mutex sync.Mutex
	statuses := map[int]int{}
	together(func(int) {
		for range 10 {
			response, err := ask(s, "GET", "/", "a")
			if err != nil {
				t.Error(err)
				return
			}
			_, err = io.Copy(io.Discard, response.Body)
			if err = errors.Join(err, response.Body.Close()); err != nil {
				t.Error(err)
			}
			mutex.Lock()
			statuses[response.StatusCode]++
			mutex.Unlock()
		}
	})
	equal(t, "served", statuses[http.StatusOK], 60)
	equal(t, "refused", statuses[http.StatusTooManyRequests], 20)
}
