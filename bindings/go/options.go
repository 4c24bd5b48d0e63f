package mavera

import (
	"io/fs"
	"math"
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Option of a limiter. What is not given has its default in a new region, and
// is whatever an existing region has; what is given must agree with it.
type Option func(*settings)

type settings struct {
	region capi.Options
	plan   *Plan
	now    func() time.Time
	wrong  error
}

func (s *settings) number(name string, value, most int) uint64 {
	if value < 1 || value > most {
		s.wrong = failure(capi.EINVAL, "%s is %d, but must be from 1 to %d", name, value, most)
		return 0
	}
	return uint64(value)
}

// WithKeys: keys active within one window, 1 to 2^32; 100 000 if not given.
// Memory is reserved at once, about 700 bytes a key at 64 cells.
func WithKeys(keys int) Option {
	return func(s *settings) { s.region.Keys = s.number("keys", keys, 1<<32) }
}

// WithCells: of a key's ring, a power of two from 8 to 1024; 64 if not given.
// Limits up to cells - 4 are exact to the millisecond, greater ones to about
// window / cells, always on the strict side.
func WithCells(cells int) Option {
	return func(s *settings) { s.region.Cells = uint32(s.number("cells", cells, math.MaxUint32)) }
}

// WithMaxWindow: the longest window of any policy; a minute if not given, or
// the plan's longest if that is longer.
func WithMaxWindow(window time.Duration) Option {
	return func(s *settings) {
		if window <= 0 || window > maxWindow {
			s.wrong = failure(capi.EINVAL, "max window is %v, but must be from 1ms to %v", window, maxWindow)
			return
		}
		s.region.MaxWindowMs = milliseconds(window)
	}
}

// WithCoarseClock reads a clock that costs less, and answers up to 15 ms later.
func WithCoarseClock() Option {
	return func(s *settings) { s.region.Clock = capi.ClockCoarse }
}

// WithNow makes a region that goes by a clock of the caller's, which must be
// the same for all who open it: for tests. It must be safe for concurrent use.
func WithNow(now func() time.Time) Option {
	return func(s *settings) {
		if now == nil {
			s.wrong = failure(capi.EINVAL, "the clock of WithNow is nil")
			return
		}
		s.now = now
		s.region.Clock = capi.ClockCaller
	}
}

// WithAllowWhenFull allows, without counting them, keys that the table has no
// room for; otherwise they hear [Full].
func WithAllowWhenFull() Option {
	return func(s *settings) { s.region.OnFull = capi.OnFullAllow }
}

// WithMode: the permission bits of a new file; 0600 if not given.
func WithMode(mode fs.FileMode) Option {
	return func(s *settings) { s.region.Mode = uint32(mode) }
}

// WithPermitKeys: keys and endpoints with requests in flight at one time; 4096
// if not given, or the number of keys if that is less.
func WithPermitKeys(keys int) Option {
	return func(s *settings) { s.region.PermitKeys = s.number("permit keys", keys, 1<<32) }
}

// WithPermitCells: most requests in flight of a key on an endpoint, a multiple
// of 8 from 8 to 256; 16 if not given.
func WithPermitCells(cells int) Option {
	return func(s *settings) {
		s.region.PermitCells = uint32(s.number("permit cells", cells, math.MaxUint32))
	}
}

// WithPlan: the tiers and endpoints that [Limiter.Admit] goes by; the contract
// if not given.
func WithPlan(plan *Plan) Option {
	return func(s *settings) { s.plan = plan }
}
