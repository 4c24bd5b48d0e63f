package mavera

import (
	"fmt"
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Outcome says whether a request may go on, and if not, why.
type Outcome int32

const (
	// Allowed: it may, and was charged.
	Allowed Outcome = capi.Allowed
	// Limited: the quota is spent. Nothing was charged.
	Limited Outcome = capi.Limited
	// Busy: as many requests are in flight as may be. Nothing was charged.
	Busy Outcome = capi.Busy
	// Full: the table has no room for the key, and its policy is to deny.
	Full Outcome = capi.Full
)

// String is "allowed", or why not: for logs.
func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case Limited:
		return "rate_limit_exceeded"
	case Busy:
		return "concurrency_limit_exceeded"
	case Full:
		return "table_full"
	}
	return fmt.Sprintf("Outcome(%d)", int32(o))
}

// Decision is the answer to a check, all of it from the same atomic step. A
// plain value.
type Decision struct {
	raw  capi.Decision
	plan *planHandle
}

// Outcome says whether the request may go on.
func (d Decision) Outcome() Outcome { return Outcome(d.raw.Outcome) }

// Allowed reports whether the request may go on.
func (d Decision) Allowed() bool { return d.raw.Outcome == capi.Allowed }

// Limit is the policy's.
func (d Decision) Limit() int { return int(d.raw.Limit) }

// Window is the policy's.
func (d Decision) Window() time.Duration { return duration(uint64(d.raw.WindowMs)) }

// Used is how many units the window holds, this call's included. After a limit
// was lowered it may exceed the limit.
func (d Decision) Used() int { return int(d.raw.Used) }

// Remaining is how many units may still be spent now.
func (d Decision) Remaining() int { return int(d.raw.Remaining) }

// RetryAfter is how long to wait, 0 if allowed. If nobody else spends, waiting
// so long is enough, and a millisecond less is not.
func (d Decision) RetryAfter() time.Duration { return duration(d.raw.RetryAfterMs) }

// RetryAfterSeconds is the same for the header Retry-After: rounded up, at
// least 1; 0 if allowed.
func (d Decision) RetryAfterSeconds() int { return int(d.raw.RetryAfterS) }

// ResetAfter is how long until the oldest unit leaves the window, or until the
// retry of a refusal.
func (d Decision) ResetAfter() time.Duration { return duration(d.raw.ResetAfterMs) }

// Reset is the same as wall time.
func (d Decision) Reset() time.Time { return time.UnixMilli(int64(d.raw.ResetUnixMs)) }

// InFlight is how many requests of the key are in flight on the endpoint, this
// one included if it was allowed; 0 where no permit was asked for.
func (d Decision) InFlight() int { return int(d.raw.InFlight) }

// MaxInFlight is how many there may be; 0 where no permit was asked for.
func (d Decision) MaxInFlight() int { return int(d.raw.MaxInFlight) }

// Endpoint is the plan's, by its pattern; "" where no permit was asked for.
func (d Decision) Endpoint() string { return d.plan.name(d.raw.Endpoint) }

// Untracked reports whether the request was allowed without being counted,
// because the table was full and its policy is to allow.
func (d Decision) Untracked() bool { return d.raw.Untracked != 0 }

// String is for people.
func (d Decision) String() string {
	text := fmt.Sprintf("%v, %d of %d remaining", d.Outcome(), d.Remaining(), d.Limit())
	if !d.Allowed() {
		text += fmt.Sprintf(", retry after %v", d.RetryAfter())
	}
	if d.MaxInFlight() > 0 {
		text += fmt.Sprintf(", %d of %d in flight on %s", d.InFlight(), d.MaxInFlight(), d.Endpoint())
	}
	return text
}

func duration(ms uint64) time.Duration { return time.Duration(ms) * time.Millisecond }
