package mavera

import (
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// MaxLimit is the greatest limit, 2^23 units.
const MaxLimit = 1 << 23

const maxWindow = (1<<32 - 1) * time.Millisecond

// Policy is a limit: at most Limit units in any span of Window.
//
// It is passed with every call: a key's tier changes by passing another, and
// what the key has spent is kept. A key under two windows is two keys.
type Policy struct {
	// Limit is in units, 0 to [MaxLimit].
	Limit int
	// Window is rounded up to milliseconds, up to the region's longest; 0 is a
	// minute.
	Window time.Duration
}

// PerMinute is a policy of so many units in any minute.
func PerMinute(limit int) Policy { return Policy{Limit: limit} }

// numbers gives limit and window as the library takes them.
func (p Policy) numbers() (limit, windowMs uint32, err error) {
	const minuteMs = 60_000
	if uint(p.Limit) > MaxLimit {
		return 0, 0, failure(capi.EINVAL, "limit is %d, but must be from 0 to %d", p.Limit, MaxLimit)
	}
	if p.Window == 0 {
		return uint32(p.Limit), minuteMs, nil
	}
	if p.Window < 0 || p.Window > maxWindow {
		return 0, 0, failure(capi.EINVAL, "window is %v, but must be from 1ms to %v", p.Window, maxWindow)
	}
	return uint32(p.Limit), milliseconds(p.Window), nil
}

// milliseconds rounds up what is in their range.
func milliseconds(d time.Duration) uint32 {
	return uint32((d + time.Millisecond - 1) / time.Millisecond)
}
