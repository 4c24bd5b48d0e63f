package client

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// mostBody is how much of a failed response is read so that its connection
	// can be used again.
	mostBody = 64 << 10
	// drainTime is how long that may take. A server that trickles its errors
	// loses the connection, and does not hold up its caller.
	drainTime = 100 * time.Millisecond
)

// drain reads a short body to its end and closes it.
func drain(body io.ReadCloser) {
	if body == nil {
		return
	}
	var once sync.Once
	closeBody := func() { once.Do(func() { _ = body.Close() }) }
	timer := time.AfterFunc(drainTime, closeBody)
	defer timer.Stop()
	defer closeBody()
	_, _ = io.CopyN(io.Discard, body, mostBody)
}

// watch makes the response give its place back when its body is closed or read
// to its end. A body that is a connection as well (after 101) stays one, and
// has its place until it is closed.
func watch(response *http.Response, slot *Slot) {
	body := response.Body
	if body == nil || body == http.NoBody {
		slot.Close()
		return
	}
	writer, ok := body.(io.Writer)
	if !ok {
		response.Body = &watchedBody{body, slot}
		return
	}
	conn := watchedConn{watchedCloser{body, slot}, body, writer}
	if half, ok := body.(closeWriter); ok {
		response.Body = struct {
			watchedConn
			closeWriter
		}{conn, half}
		return
	}
	response.Body = conn
}

type watchedBody struct {
	io.ReadCloser
	slot *Slot
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.slot.Close()
	}
	return n, err
}

func (b *watchedBody) Close() error {
	// Also if Close panics: nobody will close it again.
	defer b.slot.Close()
	return b.ReadCloser.Close()
}

type closeWriter interface{ CloseWrite() error }

type watchedConn struct {
	watchedCloser
	io.Reader
	io.Writer
}

type watchedCloser struct {
	closer io.Closer
	slot   *Slot
}

func (c watchedCloser) Close() error {
	defer c.slot.Close()
	return c.closer.Close()
}

// requestBody is the body of a request over all its tries. The body is closed
// in the end, whatever happens.
type requestBody struct {
	request *http.Request
	held    *heldBody // Of a body that cannot be read again.
	tried   bool
}

func newRequestBody(request *http.Request, repeats bool) *requestBody {
	b := &requestBody{request: request}
	if repeats && !b.replayable() {
		b.held = &heldBody{inner: request.Body}
	}
	return b
}

// replayable says whether the body can be read again.
func (b *requestBody) replayable() bool {
	body := b.request.Body
	return body == nil || body == http.NoBody || b.request.GetBody != nil
}

// untouched says whether nothing of the body was read.
func (b *requestBody) untouched() bool { return b.held != nil && b.held.untouched() }

// next is the request of the next try. The caller's own request is never
// changed.
func (b *requestBody) next() (*http.Request, error) {
	first := !b.tried
	if first && b.held == nil {
		b.tried = true
		return b.request, nil
	}
	body := b.request.Body
	switch {
	case b.held != nil:
		b.held.hold()
		body = b.held
	case body != nil && body != http.NoBody:
		again, err := b.request.GetBody()
		if err != nil {
			return nil, err
		}
		body = again
	}
	b.tried = true
	next := b.request.WithContext(b.request.Context())
	next.Body = body
	return next, nil
}

// settle: there will be no other try.
func (b *requestBody) settle() {
	switch {
	case b.held != nil:
		b.held.settle(!b.tried)
	case !b.tried && b.request.Body != nil:
		_ = b.request.Body.Close()
	}
}

// heldBody keeps a body open that nobody has read from, so that it can be sent
// after a connection that was never made.
type heldBody struct {
	inner io.ReadCloser

	mu      sync.Mutex
	read    bool
	closed  bool // What the last try did.
	settled bool
}

func (h *heldBody) Read(p []byte) (int, error) {
	h.mu.Lock()
	closed := h.closed
	h.read = h.read || !closed
	h.mu.Unlock()
	if closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return h.inner.Read(p)
}

func (h *heldBody) Close() error {
	h.mu.Lock()
	h.closed = true
	pass := h.read || h.settled
	h.mu.Unlock()
	if pass {
		return h.inner.Close()
	}
	return nil
}

func (h *heldBody) untouched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.read
}

func (h *heldBody) hold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = false
}

func (h *heldBody) settle(unsent bool) {
	h.mu.Lock()
	overdue := !h.read && (h.closed || unsent)
	h.settled = true
	h.mu.Unlock()
	if overdue {
		_ = h.inner.Close()
	}
}
