//go:build go1.25

package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testURL = "http://api.test/v1"

// still is the policy of tests that count time exactly.
var still = Retry{Jitter: -1, Backoff: time.Second}

var (
	errDial = &net.OpError{Op: "dial", Err: errors.New("refused")}
	errRead = &net.OpError{Op: "read", Err: errors.New("reset")}
)

// step is what a script answers to one try: a response or an error.
type step struct {
	status  int
	headers []string
	body    *testBody
	err     error
	takes   time.Duration
}

func ok() step { return step{status: 200} }

func status(code int, headers ...string) step { return step{status: code, headers: headers} }

// script is a RoundTripper that plays its steps in turn, the last for ever.
type script struct {
	mu     sync.Mutex
	steps  []step
	bodies []string
	times  []time.Time
	given  []*testBody
}

func (s *script) RoundTrip(request *http.Request) (*http.Response, error) {
	s.mu.Lock()
	next := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	s.times = append(s.times, time.Now())
	s.mu.Unlock()
	var sent []byte
	if request.Body != nil {
		defer func() { _ = request.Body.Close() }()
		if next.err != errDial {
			sent, _ = io.ReadAll(request.Body)
		}
	}
	if next.takes > 0 {
		select {
		case <-time.After(next.takes):
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bodies = append(s.bodies, string(sent))
	if next.err != nil {
		return nil, next.err
	}
	body := next.body
	if body == nil {
		body = &testBody{chunks: []string{"he", "llo"}}
	}
	s.given = append(s.given, body)
	return &http.Response{
		StatusCode: next.status,
		Header:     header(next.headers...),
		Body:       body,
		Request:    request,
	}, nil
}

func (s *script) sent() int { return len(s.times) }

// testBody is a body of chunks, each of which takes a while.
type testBody struct {
	chunks []string
	takes  time.Duration

	mu     sync.Mutex
	read   int
	closed int
}

func (b *testBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed > 0 {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.takes > 0 {
		b.mu.Unlock()
		time.Sleep(b.takes)
		b.mu.Lock()
	}
	if b.read == len(b.chunks) {
		return 0, io.EOF
	}
	n := copy(p, b.chunks[b.read])
	if n == len(b.chunks[b.read]) {
		b.read++
	} else {
		b.chunks[b.read] = b.chunks[b.read][n:]
	}
	return n, nil
}

func (b *testBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

// rig is a client over a transport over a script, in virtual time.
type rig struct {
	*testing.T
	script    *script
	transport *Transport
	client    *http.Client
	start     time.Time
}

func newRig(t *testing.T, transport *Transport, steps ...step) *rig {
	s := &script{steps: steps}
	transport.Base = s
	if transport.Retry.Attempts == 0 && transport.Retry.Backoff == 0 {
		safe, total := transport.Retry.Safe, transport.Retry.MaxTotal
		transport.Retry = still
		transport.Retry.Safe, transport.Retry.MaxTotal = safe, total
	}
	return &rig{t, s, transport, &http.Client{Transport: transport}, time.Now()}
}

func (r *rig) request(method string, body io.Reader, headers ...string) *http.Request {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), method, testURL, body)
	if err != nil {
		r.Fatal(err)
	}
	for name, values := range header(headers...) {
		request.Header[name] = values
	}
	return request
}

// do sends and reads the answer to its end.
func (r *rig) do(request *http.Request) (string, int, error) {
	response, err := r.client.Do(request)
	if err != nil {
		return "", 0, err
	}
	body, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	return string(body), response.StatusCode, err
}

func (r *rig) expectOK(request *http.Request) {
	r.Helper()
	body, status, err := r.do(request)
	if err != nil || status != 200 || body != "hello" {
		r.Errorf("%q, %d, %v", body, status, err)
	}
}

func (r *rig) expectGaveUp(request *http.Request, cap Cap) *GaveUpError {
	r.Helper()
	_, status, err := r.do(request)
	var gaveUp *GaveUpError
	if !errors.As(err, &gaveUp) || !errors.Is(err, ErrGaveUp) {
		r.Fatalf("status %d, %v", status, err)
	}
	if gaveUp.Cap != cap {
		r.Errorf("the cap is %s, want %s", gaveUp.Cap, cap)
	}
	return gaveUp
}

func (r *rig) expectPassed(want time.Duration) {
	r.Helper()
	expectPassed(r.T, r.start, want)
}

// expectSettled: nothing is in flight and every body is closed.
func (r *rig) expectSettled() {
	r.Helper()
	if queue := r.transport.Queue(r.request("GET", nil)); queue != nil {
		expectEmpty(r.T, queue)
	}
	for i, body := range r.script.given {
		if body.closed == 0 {
			r.Errorf("body %d is open", i)
		}
	}
}

func TestRetries(t *testing.T) {
	virtual("a 429 is repeated after its Retry-After whatever the method", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 40"), ok())
		r.expectOK(r.request("POST", strings.NewReader("body")))
		r.expectPassed(40 * time.Second) // Our own backoff is capped at 30.
		if r.script.bodies[0] != "body" || r.script.bodies[1] != "body" {
			t.Errorf("%q", r.script.bodies)
		}
		r.expectSettled()
	})

	virtual("a cap never makes it come back before Retry-After", t, func(t *testing.T, _ time.Time) {
		for range 50 {
			r := newRig(t, &Transport{Retry: Retry{
				Attempts: 3, Backoff: time.Millisecond, MaxBackoff: time.Second,
			}}, status(429, "Retry-After: 20"), status(503, "Retry-After: 30"), ok())
			r.expectOK(r.request("GET", nil))
			first, second := r.script.times[1].Sub(r.script.times[0]), r.script.times[2].Sub(r.script.times[1])
			if first < 20*time.Second || second < 30*time.Second || second > 33*time.Second {
				t.Errorf("it came back after %v and %v", first, second)
			}
		}
	})

	virtual("a wait beyond MaxTotal is refused at once", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 121"))
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapMaxTotal)
		r.expectPassed(0)
		if gaveUp.Attempts != 1 || gaveUp.RetryAfter != 121*time.Second ||
			gaveUp.StatusCode != 429 || gaveUp.Header.Get("Retry-After") != "121" ||
			gaveUp.Err != nil || gaveUp.Elapsed != 0 {
			t.Errorf("%+v", gaveUp)
		}
		r.expectSettled()
	})

	virtual("requests that come into a long pause are refused at once too", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 500"))
		r.expectGaveUp(r.request("GET", nil), CapMaxTotal)
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapMaxTotal)
		if gaveUp.Attempts != 0 || gaveUp.RetryAfter != 500*time.Second || r.script.sent() != 1 {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(0)
	})

	virtual("attempts are counted in all", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Retry: Retry{Attempts: 3, Jitter: -1, Backoff: time.Second}}, status(429))
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapAttempts)
		if gaveUp.Attempts != 3 || r.script.sent() != 3 || gaveUp.Elapsed != 3*time.Second {
			t.Errorf("%+v, %d sent", gaveUp, r.script.sent())
		}
		r.expectPassed(3 * time.Second)
	})

	virtual("a single attempt passes everything on", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Retry: Retry{Attempts: 1}}, status(429), step{err: errRead})
		if _, status, err := r.do(r.request("GET", nil)); err != nil || status != 429 {
			t.Errorf("%d, %v", status, err)
		}
		if _, _, err := r.do(r.request("GET", nil)); !errors.Is(err, errRead) || errors.Is(err, ErrGaveUp) {
			t.Errorf("%v", err)
		}
		r.expectSettled()
	})

	virtual("a 503 without Retry-After is passed on", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(503))
		if _, status, err := r.do(r.request("GET", nil)); err != nil || status != 503 {
			t.Errorf("%d, %v", status, err)
		}
		r.expectSettled()
	})

	virtual("a connection never made is repeated and charges nothing", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 1}, step{err: errDial}, ok())
		r.expectOK(r.request("POST", strings.NewReader("x")))
		r.expectPassed(time.Second)
	})

	virtual("a stream is repeated if none of it was read", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, step{err: errDial}, step{err: errDial}, ok())
		stream := &testBody{chunks: []string{"a", "b"}}
		r.expectOK(r.request("POST", stream))
		if r.script.bodies[2] != "ab" || stream.closed != 1 {
			t.Errorf("%q, closed %d times", r.script.bodies, stream.closed)
		}
	})

	virtual("a stream that never went is closed", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Retry: Retry{Attempts: 2, Backoff: 1}}, step{err: errDial})
		stream := &testBody{}
		r.expectGaveUp(r.request("POST", stream), CapAttempts)
		if stream.closed != 1 {
			t.Errorf("closed %d times", stream.closed)
		}
	})

	virtual("a stream is not repeated once read", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 1"), ok())
		stream := &testBody{chunks: []string{"a", "b"}}
		body, status, err := r.do(r.request("POST", stream))
		if body != "hello" || status != 429 || err != nil || stream.closed != 1 {
			t.Errorf("%q, %d, %v", body, status, err)
		}
		r.expectPassed(0)
	})

	virtual("what is repeated goes before what never had a turn", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{MaxInFlight: 1}, ok())
		var order []string
		failed := false
		r.transport.Base = roundTripper(func(request *http.Request) (*http.Response, error) {
			name := request.Header.Get("Name")
			order = append(order, name)
			if name == "slow" {
				time.Sleep(2 * time.Second)
			}
			status := 200
			if name == "first" && !failed {
				failed = true
				status = 502
			}
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		})
		var group sync.WaitGroup
		for _, name := range []string{"first", "slow", "late"} {
			group.Add(1)
			go func() {
				defer group.Done()
				if _, _, err := r.do(r.request("GET", nil, "Name: "+name)); err != nil {
					t.Error(err)
				}
			}()
			// The first is to come back after 1 s, and meets the other two.
			time.Sleep(300 * time.Millisecond)
		}
		group.Wait()
		if got := strings.Join(order, " "); got != "first slow first late" {
			t.Error(got)
		}
	})

	virtual("the last error is wrapped", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Retry: Retry{Attempts: 2, Jitter: -1, Backoff: 1}}, status(502), step{err: errRead})
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapAttempts)
		if !errors.Is(gaveUp, errRead) || gaveUp.StatusCode != 0 || gaveUp.Header != nil {
			t.Errorf("%+v", gaveUp)
		}
	})

	virtual("a turn that comes after MaxTotal is not waited for", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 1, Retry: Retry{MaxTotal: 30 * time.Second}}, status(502))
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapMaxTotal)
		var late *QueueTimeoutError
		if gaveUp.Attempts != 1 || gaveUp.StatusCode != 502 || !errors.As(gaveUp, &late) {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(time.Second) // Our own backoff, and none of the window.
		r.expectSettled()
	})

	virtual("a body that cannot be had again ends the tries with its error", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 2}, status(429), ok())
		request := r.request("POST", strings.NewReader("x"))
		broken := errors.New("no file")
		request.GetBody = func() (io.ReadCloser, error) { return nil, broken }
		if _, _, err := r.do(request); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		r.expectSettled()
	})
}

func TestWhatMayHaveBeenDoneIsRepeatedOnlyIfThatIsHarmless(t *testing.T) {
	failures := map[string]step{
		"502":         status(502),
		"504":         status(504),
		"503":         status(503, "Retry-After: 1"),
		"read error":  {err: errRead},
		"end of file": {err: io.ErrUnexpectedEOF},
	}
	path := func(r *http.Request) bool { return r.URL.Path == "/v1" }
	never := func(*http.Request) bool { return false }
	for name, failure := range failures {
		for _, test := range []struct {
			method  string
			headers []string
			safe    func(*http.Request) bool
			tries   int
		}{
			{"GET", nil, nil, 2},
			{"DELETE", nil, nil, 2},
			{"POST", nil, nil, 1},
			{"POST", []string{"Idempotency-Key: 1"}, nil, 2},
			{"POST", nil, path, 2},
			{"PATCH", nil, never, 1},
		} {
			virtual(name+" "+test.method, t, func(t *testing.T, _ time.Time) {
				r := newRig(t, &Transport{Retry: Retry{Safe: test.safe}}, failure, ok())
				_, status, err := r.do(r.request(test.method, nil, test.headers...))
				if r.script.sent() != test.tries || (test.tries == 2) != (status == 200) {
					t.Errorf("%+v: %d tries, status %d, %v", test, r.script.sent(), status, err)
				}
				if errors.Is(err, ErrGaveUp) {
					t.Errorf("what is not repeated is not passed on: %v", err)
				}
				r.expectSettled()
			})
		}
	}
}

func TestContext(t *testing.T) {
	virtual("a deadline that ends before the wait does is refused at once", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 40"))
		ctx, cancel := context.WithTimeout(t.Context(), 39*time.Second)
		defer cancel()
		gaveUp := r.expectGaveUp(r.request("GET", nil).WithContext(ctx), CapContext)
		if !errors.Is(gaveUp, context.DeadlineExceeded) || gaveUp.StatusCode != 429 || !gaveUp.Timeout() {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(0)
		r.expectSettled()
	})

	virtual("the timeout of an http.Client is such a deadline", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(429, "Retry-After: 40"))
		r.client.Timeout = 39 * time.Second
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapContext)
		if !errors.Is(gaveUp, context.DeadlineExceeded) {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(0)
	})

	virtual("a deadline before the first turn is refused at once", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 1}, ok())
		r.expectOK(r.request("GET", nil))
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		stream := &testBody{}
		gaveUp := r.expectGaveUp(r.request("POST", stream).WithContext(ctx), CapContext)
		if !errors.Is(gaveUp, context.DeadlineExceeded) || gaveUp.Attempts != 0 || stream.closed != 1 {
			t.Errorf("%+v, closed %d times", gaveUp, stream.closed)
		}
		r.expectPassed(0)
	})

	virtual("a cancellation ends a wait", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, step{err: errRead})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		gaveUp := r.expectGaveUp(r.request("GET", nil).WithContext(ctx), CapContext)
		if !errors.Is(gaveUp, context.Canceled) || !errors.Is(gaveUp, errRead) || gaveUp.Timeout() {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(500 * time.Millisecond)
	})

	virtual("a cancellation while it is sent is passed on", t, func(t *testing.T, _ time.Time) {
		slow := ok()
		slow.takes = time.Hour
		r := newRig(t, &Transport{}, slow)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, _, err := r.do(r.request("GET", nil).WithContext(ctx))
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrGaveUp) || r.script.sent() != 1 {
			t.Errorf("%v", err)
		}
		r.expectSettled()
	})

	virtual("an error that coincides with the end of the context is told beside it", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, ok())
		ctx, cancel := context.WithCancel(t.Context())
		r.transport.Base = roundTripper(func(*http.Request) (*http.Response, error) {
			cancel()
			return nil, errRead
		})
		gaveUp := r.expectGaveUp(r.request("GET", nil).WithContext(ctx), CapContext)
		if !errors.Is(gaveUp, context.Canceled) || !errors.Is(gaveUp, errRead) || gaveUp.Attempts != 1 {
			t.Errorf("%+v", gaveUp)
		}
	})

	virtual("the cause of a cancellation is passed on too", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, ok())
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("no longer wanted")
		r.transport.Base = roundTripper(func(*http.Request) (*http.Response, error) {
			cancel(cause)
			return nil, cause
		})
		if _, _, err := r.do(r.request("GET", nil).WithContext(ctx)); !errors.Is(err, cause) || errors.Is(err, ErrGaveUp) {
			t.Errorf("%v", err)
		}
	})

	virtual("MaxWait bounds the wait for the first turn", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 1, MaxWait: 10 * time.Second}, ok())
		r.expectOK(r.request("GET", nil))
		gaveUp := r.expectGaveUp(r.request("GET", nil), CapMaxWait)
		if gaveUp.Attempts != 0 {
			t.Errorf("%+v", gaveUp)
		}
		r.expectPassed(0)
	})
}

func TestCancellingAtEveryInstantGivesPlaceAndBodiesBack(t *testing.T) {
	steps := func() []step {
		slow := func(s step, chunks ...string) step {
			s.takes = time.Second
			if s.err == nil {
				s.body = &testBody{chunks: chunks, takes: 20 * time.Millisecond}
			}
			return s
		}
		return []step{
			slow(status(429, "Retry-After: 3"), "a"),
			slow(step{err: errDial}),
			slow(step{err: errRead}),
			slow(status(502), "a", "b"),
			slow(ok(), "he", "llo"),
			slow(ok(), "he", "llo"),
		}
	}
	cancelled := 0
	// 20 ms is the grain of everything that happens, so that many cancellations
	// coincide with an event; 10 ms lies between two.
	for after := time.Duration(0); ; after += 10 * time.Millisecond {
		done := false
		synctest.Test(t, func(t *testing.T) {
			retry := still
			retry.Attempts = 6
			r := newRig(t, &Transport{Limit: 3, Window: 10 * time.Second, MaxInFlight: 1, Retry: retry}, steps()...)
			ctx, cancel := context.WithCancel(t.Context())
			timer := time.AfterFunc(after, cancel)
			bodies := []*testBody{{chunks: []string{"x"}}, {chunks: []string{"x"}}}
			var err error
			for _, body := range bodies {
				// The second waits behind the first in time only.
				request := r.request("PUT", body).WithContext(ctx)
				request.GetBody = func() (io.ReadCloser, error) {
					return io.NopCloser(bytes.NewReader([]byte("x"))), nil
				}
				if _, _, err = r.do(request); err != nil {
					if body.closed == 0 {
						t.Errorf("after %v a request body is open", after)
					}
					break
				}
			}
			cancel()
			if err == nil {
				done = timer.Stop()
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("after %v: %v", after, err)
			}
			synctest.Wait()
			r.expectSettled()
			r.script.steps = []step{ok()}
			r.expectOK(r.request("GET", nil))
			r.expectSettled()
		})
		if done {
			break
		}
		cancelled++
	}
	if cancelled < 1000 {
		t.Errorf("only %d cancellations", cancelled)
	}
}

func TestKeys(t *testing.T) {
	virtual("requests are paced by key", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 1}, ok())
		r.expectOK(r.request("GET", nil, "X-API-Key: a"))
		r.expectOK(r.request("GET", nil, "X-API-Key: b"))
		r.expectPassed(0)
		r.expectOK(r.request("GET", nil, "X-API-Key: a"))
		r.expectPassed(time.Minute)
	})

	virtual("a key of one's own", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{
			Limit: 1, Key: func(*http.Request) string { return "all" },
		}, ok())
		r.expectOK(r.request("GET", nil, "X-API-Key: a"))
		r.expectOK(r.request("GET", nil, "X-API-Key: b"))
		r.expectPassed(time.Minute)
	})

	virtual("the server's limit is kept without any configured", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{}, status(200, "X-RateLimit-Limit: 2"))
		for range 3 {
			r.expectOK(r.request("GET", nil))
		}
		r.expectPassed(time.Minute)
	})

	virtual("OnLow is told the key and the quota, once", t, func(t *testing.T, _ time.Time) {
		var told []Status
		r := newRig(t, &Transport{
			Key:   func(*http.Request) string { return "k" },
			OnLow: func(s Status) { told = append(told, s) },
		}, status(200, "X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 3", "X-RateLimit-Reset: 9"))
		r.expectOK(r.request("GET", nil))
		r.expectOK(r.request("GET", nil))
		if len(told) != 1 || told[0].Key != "k" || told[0].Limit != 60 || told[0].Remaining != 3 ||
			!told[0].ResetAt.Equal(r.start.Add(9*time.Second)) {
			t.Errorf("%+v", told)
		}
		if r.transport.Queue(r.request("GET", nil)).Status() != told[0] {
			t.Error("the queue has another status")
		}
	})

	virtual("at most 1024 idle keys are kept", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Key: func(r *http.Request) string { return r.Header.Get("K") }}, ok())
		for i := range 3000 {
			r.expectOK(r.request("GET", nil, "K: "+time.Duration(i).String()))
			time.Sleep(time.Minute)
		}
		if n := len(r.transport.queues.entries); n != MostKeys {
			t.Errorf("%d keys", n)
		}
	})

	virtual("goroutines share one window", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{Limit: 5, MaxInFlight: 3}, ok())
		var group sync.WaitGroup
		for range 4 {
			group.Add(1)
			go func() {
				defer group.Done()
				for range 5 {
					r.expectOK(r.request("GET", nil))
				}
			}()
		}
		group.Wait()
		r.expectPassed(3 * time.Minute)
		r.expectSettled()
	})
}

func TestBodies(t *testing.T) {
	virtual("a response to be repeated is read and closed first", t, func(t *testing.T, _ time.Time) {
		failed := status(429)
		failed.body = &testBody{chunks: []string{"a", "b"}}
		r := newRig(t, &Transport{}, failed, ok())
		r.expectOK(r.request("GET", nil))
		if failed.body.read != 2 || failed.body.closed != 1 {
			t.Errorf("read %d, closed %d", failed.body.read, failed.body.closed)
		}
	})

	virtual("of a long body no more than 64 KiB are read", t, func(t *testing.T, _ time.Time) {
		failed := status(429)
		chunk := strings.Repeat("x", 16<<10)
		failed.body = &testBody{chunks: []string{chunk, chunk, chunk, chunk, chunk, chunk, chunk}}
		r := newRig(t, &Transport{}, failed, ok())
		r.expectOK(r.request("GET", nil))
		if failed.body.read != 4 || failed.body.closed != 1 {
			t.Errorf("read %d, closed %d", failed.body.read, failed.body.closed)
		}
	})

	virtual("a body that trickles does not hold up its caller", t, func(t *testing.T, _ time.Time) {
		failed := status(429, "Retry-After: 1")
		failed.body = &testBody{chunks: make([]string, 1000), takes: 30 * time.Millisecond}
		r := newRig(t, &Transport{}, failed, ok())
		r.expectOK(r.request("GET", nil))
		r.expectPassed(1120 * time.Millisecond)
		if failed.body.closed != 1 {
			t.Errorf("closed %d", failed.body.closed)
		}
	})

	virtual("a place in flight lasts until the body is closed", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{MaxInFlight: 1}, ok())
		response, err := r.client.Do(r.request("GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		queue := r.transport.Queue(r.request("GET", nil))
		if _, err := response.Body.Read(make([]byte, 2)); err != nil || queue.InFlight() != 1 {
			t.Errorf("%v, %d in flight", err, queue.InFlight())
		}
		_ = response.Body.Close()
		expectEmpty(t, queue)
	})

	virtual("a body read to its end gives the place back", t, func(t *testing.T, _ time.Time) {
		r := newRig(t, &Transport{MaxInFlight: 1}, ok())
		response, err := r.client.Do(r.request("GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(response.Body)
		expectEmpty(t, r.transport.Queue(r.request("GET", nil)))
		_ = response.Body.Close()
	})
}
