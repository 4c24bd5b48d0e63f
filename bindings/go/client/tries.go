package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// tries counts the tries of one request and says how they go on. Pure: time is
// an argument. Of one goroutine.
type tries struct {
	retry   *Retry
	sent    int
	started time.Time

	// Of the last try.
	retryAfter time.Duration
	status     int
	header     http.Header
	err        error
}

func (t *tries) elapsed(now time.Time) time.Duration {
	if t.sent == 0 {
		return 0
	}
	return now.Sub(t.started)
}

// turn is how the next try waits. The first waits maxWait, or any time if that
// is 0; MaxTotal begins with it, and for the others it is what remains.
func (t *tries) turn(now time.Time, maxWait time.Duration) turn {
	next := turn{patience: t.retry.MaxTotal, front: t.sent > 0}
	switch {
	case t.sent > 0:
		next.until, next.cap = t.started.Add(t.retry.MaxTotal), CapMaxTotal
	case maxWait > 0:
		next.until, next.cap = now.Add(maxWait), CapMaxWait
	}
	return next
}

// begin: a try is about to be sent.
func (t *tries) begin(now time.Time) {
	if t.sent == 0 {
		t.started = now
	}
	t.sent++
	t.retryAfter, t.status, t.header, t.err = 0, 0, nil, nil
}

// wait is how long until the next try, or the cap that forbids it.
func (t *tries) wait(now time.Time) (time.Duration, Cap) {
	wait := t.retry.wait(t.sent, t.retryAfter)
	return wait, t.retry.cap(t.sent, t.elapsed(now), wait)
}

func (t *tries) gaveUp(now time.Time, cap Cap) *GaveUpError {
	return &GaveUpError{
		Attempts:   t.sent,
		Elapsed:    t.elapsed(now),
		RetryAfter: t.retryAfter,
		Cap:        cap,
		StatusCode: t.status,
		Header:     t.header,
		Err:        t.err,
	}
}

// late: the turn does not come in time.
func (t *tries) late(now time.Time, late *QueueTimeoutError) *GaveUpError {
	gaveUp := t.gaveUp(now, late.cap)
	if t.sent == 0 {
		gaveUp.RetryAfter = late.Paused
	}
	gaveUp.Err = joined(late, t.err)
	return gaveUp
}

// ended: the context ends before the wait does.
func (t *tries) ended(now time.Time, ended error) *GaveUpError {
	gaveUp := t.gaveUp(now, CapContext)
	gaveUp.Err = joined(ended, t.err)
	return gaveUp
}

func joined(why, last error) error {
	if last == nil {
		return why
	}
	return fmt.Errorf("%w (the last try: %w)", why, last)
}

// contextError is the context's error and, where it differs, its cause.
func contextError(ctx context.Context) error {
	err := ctx.Err()
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// isContextError says whether an error is that of a context which has ended.
func isContextError(ctx context.Context, err error) bool {
	return ctx.Err() != nil &&
		(errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// sleep waits, or returns the context's error: at once if its deadline comes
// first.
func sleep(ctx context.Context, wait time.Duration) error {
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}
