package client

import (
	"net/http"
	"sync/atomic"
	"time"
)

// Answer is what a response said to its caller's manners.
type Answer struct {
	Quota Quota
	// RetryAfter is meant if HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
	// Refused is 429: nothing was charged.
	Refused bool
	// Pause is for how long all requests of the key stop.
	Pause time.Duration
}

// readAnswer reads a response. It never panics on junk.
func readAnswer(status int, header http.Header, now time.Time) Answer {
	answer := Answer{
		Quota:   ParseQuota(header, now),
		Refused: status == http.StatusTooManyRequests,
	}
	answer.RetryAfter, answer.HasRetryAfter = ParseRetryAfter(header, now)
	// A Retry-After of a redirect says when to follow it, and no more.
	if answer.Refused || status == http.StatusServiceUnavailable {
		answer.Pause = answer.RetryAfter
	}
	return answer
}

// Slot is leave to send one request.
//
// After sending call Answered when the headers are here. Close gives the place
// in flight back. A slot closed without an answer counts as sent: the server
// may have charged it. If surely nothing was sent, call Cancel.
//
// Close and Cancel are idempotent. Safe for concurrent use.
type Slot struct {
	queue  *Queue
	ticket Ticket
	done   atomic.Bool
}

// Answered takes the answer in: quota, limits, a pause. Returns what it said.
func (s *Slot) Answered(status int, header http.Header) Answer {
	return s.queue.answered(s.ticket, status, header)
}

// Cancel says that nothing was sent: it gives the place back as if never taken.
func (s *Slot) Cancel() {
	if s.done.CompareAndSwap(false, true) {
		s.queue.cancel(s.ticket)
	}
}

// Close says that the request is no longer in flight.
func (s *Slot) Close() {
	if s.done.CompareAndSwap(false, true) {
		s.queue.close(s.ticket)
	}
}
