package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Retry says whether, and when, a request may be sent again. In every number
// 0 stands for the default; the zero value is all defaults.
//
// What may be repeated depends on what is known of the last try:
//
//   - refused (429: the server did nothing): any method;
//   - unsent (no connection was ever made): any method;
//   - uncertain (502, 504, 503 with Retry-After, an error after the request was,
//     or may have been, sent): idempotent methods, requests with an
//     Idempotency-Key, and those Safe tells.
//
// A body that cannot be read again (neither nil, http.NoBody nor with GetBody)
// ends the tries, unless no connection was made and nothing was read yet. A 503
// without Retry-After is no invitation and is passed on. So are certificates
// that do not verify and requests that net/http finds malformed.
//
// The wait before a try is never shorter than Retry-After. MaxBackoff caps this
// package's own backoff only: a cap over both would come back too early.
type Retry struct {
	// Attempts is the most tries in all, 5 by default. With 1 nothing is
	// repeated, and every response and error is passed on as it is.
	Attempts int
	// MaxTotal is the time from the start of the first try in which the last
	// try has to begin, 2 minutes by default. A wait that would end later is
	// not begun.
	MaxTotal time.Duration
	// Backoff is the wait before the first repetition, 500 ms by default;
	// negative: none.
	Backoff time.Duration
	// Factor is by what the backoff grows each time, >= 1, 2 by default.
	Factor float64
	// MaxBackoff is the most backoff, 30 s by default. Does not shorten
	// Retry-After.
	MaxBackoff time.Duration
	// Jitter lengthens a wait by a random share of itself up to this, 0.1 by
	// default; negative: none.
	Jitter float64
	// Statuses are repeated; by default 429, 502, 503 and 504. Those added here
	// count as uncertain.
	Statuses []int
	// Safe tells of a request that it may be repeated whatever its method.
	Safe func(*http.Request) bool
	// Random is uniform in [0, 1) and safe for concurrent use; math/rand/v2 by
	// default.
	Random func() float64
}

var defaultStatuses = []int{
	http.StatusTooManyRequests,
	http.StatusBadGateway,
	http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
}

func (r Retry) checked() (Retry, error) {
	setDefault(&r.Attempts, 5)
	setDefault(&r.MaxTotal, 2*time.Minute)
	setDefault(&r.Backoff, 500*time.Millisecond)
	setDefault(&r.Factor, 2)
	setDefault(&r.MaxBackoff, 30*time.Second)
	setDefault(&r.Jitter, 0.1)
	r.Backoff = max(r.Backoff, 0)
	// So that no sum of instants and waits overflows; no wait is longer.
	r.MaxTotal = min(r.MaxTotal, 2*Longest)
	r.Statuses = slices.Clone(r.Statuses)
	if r.Statuses == nil {
		r.Statuses = defaultStatuses
	}
	if r.Random == nil {
		r.Random = rand.Float64
	}
	switch {
	case r.Attempts < 0:
		return r, fmt.Errorf("%w: Retry.Attempts must be >= 0: %d", ErrOption, r.Attempts)
	case r.MaxTotal < 0:
		return r, fmt.Errorf("%w: Retry.MaxTotal must be >= 0: %v", ErrOption, r.MaxTotal)
	case !(r.Factor >= 1): // This way round NaN is refused too.
		return r, fmt.Errorf("%w: Retry.Factor must be >= 1: %v", ErrOption, r.Factor)
	case r.MaxBackoff < 0:
		return r, fmt.Errorf("%w: Retry.MaxBackoff must be >= 0: %v", ErrOption, r.MaxBackoff)
	case r.Jitter != r.Jitter:
		return r, fmt.Errorf("%w: Retry.Jitter must be a number", ErrOption)
	}
	r.Jitter = max(r.Jitter, 0)
	return r, nil
}

func setDefault[T int | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// failure is what is known of a try that failed.
type failure int

const (
	// succeeded: the response or the error is the caller's.
	succeeded failure = iota
	refused
	unsent
	uncertain
)

// ofStatus says what a status means.
func (r *Retry) ofStatus(status int, hasRetryAfter bool) failure {
	switch {
	case !slices.Contains(r.Statuses, status):
		return succeeded
	case status == http.StatusTooManyRequests:
		return refused
	case status == http.StatusServiceUnavailable && !hasRetryAfter:
		return succeeded
	}
	return uncertain
}

// mayRepeat says whether the request may be sent again at all. Safe: repeating
// does no harm. Replayable: its body can be read again.
func (r *Retry) mayRepeat(failed failure, safe, replayable bool) bool {
	switch {
	case r.Attempts == 1 || failed == succeeded || !replayable:
		return false
	case failed == uncertain:
		return safe
	}
	return true
}

// wait is how long to wait after the failed try attempt (1 is the first). Never
// less than retryAfter.
func (r *Retry) wait(attempt int, retryAfter time.Duration) time.Duration {
	own := float64(r.Backoff)
	for i := 1; i < attempt && own > 0 && own < float64(r.MaxBackoff); i++ {
		own *= r.Factor
	}
	backoff := r.MaxBackoff
	if own < float64(r.MaxBackoff) {
		backoff = time.Duration(own)
	}
	wait := max(retryAfter, backoff)
	// Added, not multiplied: what a float rounds away must not shorten the wait.
	extra := r.Jitter * r.Random() * float64(wait)
	if !(extra > 0) {
		return wait
	}
	return wait + time.Duration(min(extra, float64(Longest)))
}

// cap is the cap that forbids another try after a wait, if any.
func (r *Retry) cap(attempt int, elapsed, wait time.Duration) Cap {
	switch {
	case attempt >= r.Attempts:
		return CapAttempts
	case wait > r.MaxTotal-elapsed:
		return CapMaxTotal
	}
	return ""
}

// isSafe says whether repeating does no more than once, by method (RFC 9110,
// 9.2.2), by header, or because Safe tells. net/http knows both headers.
func (r *Retry) isSafe(request *http.Request) bool {
	switch strings.ToUpper(request.Method) {
	case "", "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	for name := range request.Header {
		if strings.EqualFold(name, "Idempotency-Key") ||
			strings.EqualFold(name, "X-Idempotency-Key") {
			return true
		}
	}
	return r.Safe != nil && r.Safe(request)
}

// ofError says what an error of a RoundTripper means.
func ofError(err error) failure {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		// A proxy that cannot be reached has been sent nothing either.
		op, ok := inner.(*net.OpError)
		if ok && (op.Op == "dial" || op.Op == "proxyconnect") {
			return unsent
		}
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) || malformed(err) {
		return succeeded
	}
	return uncertain
}

// malformed recognises what net/http says of a request that it will never
// send. It has no types for that.
func malformed(err error) bool {
	text := err.Error()
	for _, start := range []string{
		"unsupported protocol scheme",
		"http: nil Request",
		"http: no Host in request URL",
		"net/http: invalid ",
	} {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return false
}
