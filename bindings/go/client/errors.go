package client

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrGaveUp is what every [*GaveUpError] is, for errors.Is.
var ErrGaveUp = errors.New("mavera-rl: gave up")

// Cap names what ended the tries.
type Cap string

const (
	// CapAttempts is [Retry].Attempts.
	CapAttempts Cap = "attempts"
	// CapMaxTotal is [Retry].MaxTotal.
	CapMaxTotal Cap = "max_total"
	// CapMaxWait is [Transport].MaxWait.
	CapMaxWait Cap = "max_wait"
	// CapContext is the request's context: it ended during a wait, or its
	// deadline comes before the wait would end.
	CapContext Cap = "context"
)

// GaveUpError says that a request was tried as often, or for as long, as
// allowed. errors.Is finds [ErrGaveUp] and what Err wraps.
type GaveUpError struct {
	// Attempts is how often the request was sent.
	Attempts int
	// Elapsed is the time since its first try began.
	Elapsed time.Duration
	// RetryAfter is how long the last answer asked to wait; 0 if it did not. If
	// nothing was sent, it is what is left of a pause asked for before.
	RetryAfter time.Duration
	// Cap is the cap that was hit.
	Cap Cap
	// StatusCode is that of the last response; 0 if the last try brought none.
	StatusCode int
	// Header is that of the last response.
	Header http.Header
	// Err is the error of the last try, of the context, or of the queue; nil
	// if the last try brought a response and a cap forbids another.
	Err error
}

func (e *GaveUpError) Error() string {
	asked := "no Retry-After"
	if e.RetryAfter > 0 {
		asked = fmt.Sprintf("Retry-After %v", e.RetryAfter)
	}
	tries := "1 attempt"
	if e.Attempts != 1 {
		tries = fmt.Sprintf("%d attempts", e.Attempts)
	}
	text := fmt.Sprintf("%v after %s in %.3f s (%s): the cap is %s",
		ErrGaveUp, tries, e.Elapsed.Seconds(), asked, e.Cap)
	if e.StatusCode != 0 {
		text += fmt.Sprintf(", the last status %d", e.StatusCode)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Is makes errors.Is find [ErrGaveUp].
func (e *GaveUpError) Is(target error) bool { return target == ErrGaveUp }

// Unwrap is Err.
func (e *GaveUpError) Unwrap() error { return e.Err }

// Timeout says whether time ran out, as net.Error has it.
func (e *GaveUpError) Timeout() bool {
	var timeout interface{ Timeout() bool }
	return errors.As(e.Err, &timeout) && timeout.Timeout()
}

// QueueTimeoutError says that the turn did not, or will surely not, come in
// time. Nothing was sent.
type QueueTimeoutError struct {
	// Wait is how long it is at least until the turn; 0 if that is not known.
	Wait time.Duration
	// Paused is what is left of a pause the server asked for, if that is why.
	Paused time.Duration
	// Err is the context's, if that is why.
	Err error

	cap Cap
}

func (e *QueueTimeoutError) Error() string {
	text := "mavera-rl: the turn did not come in time"
	switch {
	case e.Paused > 0:
		text = fmt.Sprintf("mavera-rl: the server asked for a pause of another %v", e.Paused)
	case e.Wait > 0:
		text = fmt.Sprintf("mavera-rl: the turn comes in %v at the earliest", e.Wait)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap is Err.
func (e *QueueTimeoutError) Unwrap() error { return e.Err }

// Timeout is true unless the context was cancelled, as net.Error has it.
func (e *QueueTimeoutError) Timeout() bool {
	var timeout interface{ Timeout() bool }
	return e.Err == nil || errors.As(e.Err, &timeout) && timeout.Timeout()
}
