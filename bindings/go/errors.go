package mavera

import (
	"errors"
	"fmt"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Error says why a call could not be answered. A refusal is no error: it is a
// [Decision]. Compare with [errors.Is] and the variables below.
type Error struct {
	code    int
	message string
}

// What a call fails with, for [errors.Is].
var (
	// ErrClosed: the limiter was closed.
	ErrClosed = errors.New("mavera: the limiter is closed")
	// ErrBusy: as many requests of the key are in flight as may be.
	ErrBusy = errors.New("mavera: as many requests are in flight as may be")
	// ErrFull: the table has no room for the key, and its policy is to deny.
	ErrFull = errors.New("mavera: the table has no room for the key")
	// ErrKey: the key is empty.
	ErrKey = errors.New("mavera: the key is empty")
	// ErrInvalid: an argument or an option is out of its range.
	ErrInvalid = sentinel(capi.EINVAL)
	// ErrCost: the cost exceeds the limit, so that no wait would be enough.
	ErrCost = sentinel(capi.ECOST)
	// ErrClock: the region's time is supplied by its callers, or is not.
	ErrClock = sentinel(capi.ECLOCK)
	// ErrNoMemory: no memory, or no room in the file system.
	ErrNoMemory = sentinel(capi.ENOMEM)
	// ErrSystem: the system refused: not found, no permission.
	ErrSystem = sentinel(capi.ESYS)
	// ErrFormat: the file is no region, or a damaged one.
	ErrFormat = sentinel(capi.EFORMAT)
	// ErrVersion: the file is a region of another layout version.
	ErrVersion = sentinel(capi.EVERSION)
	// ErrMismatch: an option differs from what the region has.
	ErrMismatch = sentinel(capi.EMISMATCH)
	// ErrPlan: the plan's file cannot be read or has a fault.
	ErrPlan = sentinel(capi.EPLAN)
	// ErrUnknown: the plan has no such tier, key or endpoint.
	ErrUnknown = sentinel(capi.ENOENT)
	// ErrSlots: this process cannot register with the region.
	ErrSlots = sentinel(capi.ESLOTS)
	// ErrInternal: a defect of the library was caught.
	ErrInternal = sentinel(capi.EINTERNAL)
)

func sentinel(code int) error { return &Error{code, capi.Strerror(code)} }

func (e *Error) Error() string { return "mavera: " + e.message }

// Is reports whether target is the same kind of error.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.code == e.code
}

// failure is an error with the values that are at odds.
func failure(code int, format string, values ...any) error {
	message := capi.Strerror(code)
	if format != "" {
		message = fmt.Sprintf("%s: %s", message, fmt.Sprintf(format, values...))
	}
	return &Error{code, message}
}

// told is an error that the library has described itself.
func told(code int, why string) error {
	if why == "" {
		why = capi.Strerror(code)
	}
	return &Error{code, why}
}
