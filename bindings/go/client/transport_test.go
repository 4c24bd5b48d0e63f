package client

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// roundTripper is a function as one.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error {
	c.closed++
	return nil
}

func get(t *testing.T, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequest("GET", "http://api.test/", body)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func answering(response *http.Response) roundTripper {
	return func(*http.Request) (*http.Response, error) { return response, nil }
}

func TestAnOptionOutOfRangeIsToldByTheFirstRequestAndClosesItsBody(t *testing.T) {
	for _, transport := range []*Transport{
		{Limit: -1}, {Retry: Retry{Attempts: -1}},
	} {
		for range 2 {
			body := &closeCounter{Reader: strings.NewReader("x")}
			_, err := transport.RoundTrip(get(t, body))
			if !errors.Is(err, ErrOption) || body.closed != 1 {
				t.Errorf("%v, closed %d times", err, body.closed)
			}
		}
		if transport.Queue(get(t, nil)) != nil {
			t.Error("it has a queue")
		}
	}
}

func TestAResponseWithoutABodyGivesThePlaceBack(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		transport := &Transport{Base: answering(&http.Response{StatusCode: 204, Body: body})}
		response, err := transport.RoundTrip(get(t, nil))
		if err != nil || response.Body != body {
			t.Errorf("%v, %v", response, err)
		}
		if n := transport.Queue(get(t, nil)).InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
	}
}

type rawConn struct {
	closeCounter
	written     strings.Builder
	writeClosed bool
}

func (c *rawConn) Write(p []byte) (int, error) { return c.written.Write(p) }

type halfConn struct{ rawConn }

func (c *halfConn) CloseWrite() error {
	c.writeClosed = true
	return nil
}

func TestAnUpgradedConnectionStaysOneAndHasItsPlaceUntilItIsClosed(t *testing.T) {
	raw := &rawConn{closeCounter: closeCounter{Reader: strings.NewReader("in")}}
	half := &halfConn{rawConn{closeCounter: closeCounter{Reader: strings.NewReader("in")}}}
	for _, test := range []struct {
		body io.ReadCloser
		conn *rawConn
		half bool
	}{{raw, raw, false}, {half, &half.rawConn, true}} {
		transport := &Transport{Base: answering(&http.Response{StatusCode: 101, Body: test.body})}
		response, err := transport.RoundTrip(get(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		conn, ok := response.Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatalf("%T is no connection", response.Body)
		}
		if _, err := io.WriteString(conn, "out"); err != nil || test.conn.written.String() != "out" {
			t.Errorf("%v, %q", err, &test.conn.written)
		}
		if in, err := io.ReadAll(conn); err != nil || string(in) != "in" {
			t.Errorf("%q, %v", in, err)
		}
		closer, ok := conn.(interface{ CloseWrite() error })
		if ok != test.half {
			t.Errorf("CloseWrite: %v, want %v", ok, test.half)
		}
		if ok && (closer.CloseWrite() != nil || !test.conn.writeClosed) {
			t.Error("it is not half closed")
		}
		queue := transport.Queue(get(t, nil))
		if n := queue.InFlight(); n != 1 {
			t.Errorf("%d in flight", n)
		}
		_ = conn.Close()
		if n := queue.InFlight(); n != 0 || test.conn.closed != 1 {
			t.Errorf("%d in flight, closed %d times", n, test.conn.closed)
		}
	}
}

func TestTheRequestIsNeverChanged(t *testing.T) {
	request, _ := http.NewRequest("POST", "http://api.test/", strings.NewReader("x"))
	before := *request
	tries := 0
	transport := &Transport{
		Retry: Retry{Backoff: -1, Jitter: -1},
		Base: roundTripper(func(r *http.Request) (*http.Response, error) {
			tries++
			body, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if string(body) != "x" || r.Context() != request.Context() {
				t.Errorf("try %d has body %q", tries, body)
			}
			if tries > 1 && r == request {
				t.Error("the caller's request is sent again")
			}
			status := 429
			if tries == 3 {
				status = 200
			}
			return &http.Response{StatusCode: status, Body: http.NoBody, Request: r}, nil
		}),
	}
	response, err := transport.RoundTrip(request)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%v, %v", response, err)
	}
	if request.Body != before.Body || len(request.Header) != 0 || request.URL != before.URL {
		t.Errorf("it became %+v", request)
	}
	if response.Request != request {
		t.Error("the response names another request")
	}
}

func TestAPanicOfTheCallersFunctionsLeavesNothingOpen(t *testing.T) {
	for name, transport := range map[string]*Transport{
		"OnLow": {OnLow: func(Status) { panic("oops") }},
		"Safe":  {Retry: Retry{Safe: func(*http.Request) bool { panic("oops") }}},
	} {
		answer := &closeCounter{Reader: strings.NewReader("x")}
		transport.Base = answering(&http.Response{
			StatusCode: 502, Body: answer, Header: header("X-RateLimit-Remaining: 1"),
		})
		request := get(t, nil)
		request.Method = "POST"
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			_, _ = transport.RoundTrip(request)
		}()
		if n := transport.Queue(request).InFlight(); n != 0 || answer.closed != 1 {
			t.Errorf("%s: %d in flight, closed %d times", name, n, answer.closed)
		}
	}
}

func TestARoundTripperThatReturnsNothingLeavesNoPlaceTaken(t *testing.T) {
	transport := &Transport{Base: answering(nil)}
	if response, err := transport.RoundTrip(get(t, nil)); response != nil || err != nil {
		t.Errorf("%v, %v", response, err)
	}
	if n := transport.Queue(get(t, nil)).InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

type idleCloser struct {
	http.RoundTripper
	closed int
}

func (c *idleCloser) CloseIdleConnections() { c.closed++ }

func TestCloseIdleConnectionsIsPassedOn(t *testing.T) {
	base := &idleCloser{}
	(&http.Client{Transport: &Transport{Base: base}}).CloseIdleConnections()
	if base.closed != 1 {
		t.Errorf("called %d times", base.closed)
	}
	(&Transport{Base: answering(nil)}).CloseIdleConnections()
	(&Transport{}).CloseIdleConnections()
}
