package mavera

import (
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Limiter is an exact sliding-window rate limiter. Safe for concurrent use; no
// method allocates but where that is said.
type Limiter struct {
	handle atomic.Pointer[handle]
	plan   *Plan
	now    func() time.Time
}

// handle owns the library's handle. Calls and permits that are under way keep
// it alive; when the last is gone the garbage collector lets go of it. A count
// of users would cost each check more than the check of a quiet key.
type handle struct {
	ptr uintptr
	// Without a pointer it would share 16 bytes with other small values, and
	// the library's handle would not be closed before all of those are gone.
	_ *byte
}

// Open opens the limiter of all processes that open path, which is best on
// /dev/shm; its file is made if there is none.
//
// Fails with [ErrInvalid], [ErrMismatch] (an option differs from what the
// region has), [ErrFormat], [ErrVersion], [ErrNoMemory], [ErrSystem]; the
// message names the path and the values at odds.
func Open(path string, options ...Option) (*Limiter, error) {
	if path == "" || strings.IndexByte(path, 0) >= 0 {
		return nil, failure(capi.EINVAL, "path is %q", path)
	}
	return open(path, options)
}

// New makes a limiter for this process alone.
//
// Fails with [ErrInvalid] and [ErrNoMemory].
func New(options ...Option) (*Limiter, error) { return open("", options) }

func open(path string, options []Option) (*Limiter, error) {
	var s settings
	for _, option := range options {
		option(&s)
	}
	if s.wrong != nil {
		return nil, s.wrong
	}
	if s.plan == nil {
		s.plan = DefaultPlan()
	}
	if longest := s.plan.MaxWindow(); s.region.MaxWindowMs == 0 && longest > time.Minute {
		s.region.MaxWindowMs = milliseconds(longest)
	}
	ptr, code, why := capi.Open(path, s.region)
	if code != 0 {
		return nil, told(code, why)
	}
	h := &handle{ptr: ptr}
	runtime.AddCleanup(h, capi.Close, ptr)
	limiter := &Limiter{plan: s.plan, now: s.now}
	limiter.handle.Store(h)
	return limiter, nil
}

// Close lets go of the region; what its file counts stays. Every later call
// fails with [ErrClosed], closing again does nothing. Permits stay valid until
// they are released; the memory is returned once no call and no permit uses it
// any more, by the garbage collector.
func (l *Limiter) Close() error {
	l.handle.Store(nil)
	return nil
}

// Plan is what [Limiter.Admit] goes by.
func (l *Limiter) Plan() *Plan { return l.plan }

// Check charges one unit to key if its policy admits it now.
//
// key: any bytes but none. It is hashed with a secret and not kept.
//
// Fails with [ErrKey], [ErrInvalid], [ErrCost] (the limit is 0), [ErrClosed].
func (l *Limiter) Check(key string, policy Policy) (decision Decision, err error) {
	err = l.check(key, policy, 1, &decision.raw)
	return
}

// CheckBytes is [Limiter.Check] of a key in bytes.
func (l *Limiter) CheckBytes(key []byte, policy Policy) (decision Decision, err error) {
	// Read during the call only.
	err = l.check(unsafe.String(unsafe.SliceData(key), len(key)), policy, 1, &decision.raw)
	return
}

// CheckN charges cost units, or none of them. A cost of 0 charges nothing,
// and is refused only if more than the limit is spent.
//
// Fails as [Limiter.Check]; with [ErrCost] if the cost exceeds the limit.
func (l *Limiter) CheckN(key string, policy Policy, cost int) (decision Decision, err error) {
	err = l.check(key, policy, cost, &decision.raw)
	return
}

// check writes its answer where the caller's result lies: a copy of it is a
// tenth of what a check costs.
func (l *Limiter) check(key string, policy Policy, cost int, to *capi.Decision) error {
	h := l.handle.Load()
	limit, window, err := policy.numbers()
	if h == nil || err != nil || key == "" || uint(cost) > MaxLimit {
		return l.refuse(h, key, cost, err)
	}
	code := capi.Check(h.ptr, key, limit, window, uint32(cost), l.millisecond(), to)
	runtime.KeepAlive(h)
	if code < 0 {
		*to = capi.Decision{}
		return failed(code, policy, cost)
	}
	return nil
}

// Peek says whether [Limiter.Check] would admit a unit now. It charges nothing.
//
// Fails as [Limiter.Check].
func (l *Limiter) Peek(key string, policy Policy) (Decision, error) {
	h := l.handle.Load()
	limit, window, err := policy.numbers()
	if h == nil || err != nil || key == "" {
		return Decision{}, l.refuse(h, key, 1, err)
	}
	var decision Decision
	code := capi.Peek(h.ptr, key, limit, window, 1, l.millisecond(), &decision.raw)
	runtime.KeepAlive(h)
	if code < 0 {
		return Decision{}, failed(code, policy, 1)
	}
	return decision, nil
}

// CheckMany is [Limiter.Check] of each of keys, in their order, with one call
// to the library; each stands for itself. It appends to decisions, and
// allocates; if an argument is wrong nothing is charged.
func (l *Limiter) CheckMany(decisions []Decision, keys []string, policy Policy) ([]Decision, error) {
	h := l.handle.Load()
	limit, window, err := policy.numbers()
	if h == nil || err != nil {
		return decisions, l.refuse(h, "key", 1, err)
	}
	size := 0
	for _, key := range keys {
		if key == "" {
			return decisions, ErrKey
		}
		size += len(key)
	}
	if len(keys) == 0 {
		return decisions, nil
	}
	text, lens := make([]byte, 0, size), make([]uint64, 0, len(keys))
	for _, key := range keys {
		text = append(text, key...)
		lens = append(lens, uint64(len(key)))
	}
	raw := make([]capi.Decision, len(keys))
	code := capi.CheckMany(h.ptr, text, lens, limit, window, 1, l.millisecond(), raw)
	runtime.KeepAlive(h)
	for _, one := range raw {
		if code == 0 && one.Outcome < 0 {
			code = int(one.Outcome)
		}
	}
	if code < 0 {
		return decisions, failed(code, policy, 1)
	}
	for _, one := range raw {
		decisions = append(decisions, Decision{raw: one})
	}
	return decisions, nil
}

// Stats is what a region is and has seen. Exact when nobody is writing.
type Stats struct {
	// KeysCapacity is how many records the table can hold.
	KeysCapacity uint64
	// KeysHeld is how many are given to keys and not taken back.
	KeysHeld uint64
	// Inserted is how many were ever given to a key, Evicted taken back.
	Inserted, Evicted uint64
	// Full is how many checks and permits found no room.
	Full uint64
	// PermitCapacity is how many keys and endpoints can have requests in flight.
	PermitCapacity uint64
	// PermitCells is the most requests in flight of a key on an endpoint.
	PermitCells int
	// Bytes is the region's size.
	Bytes uint64
	// Cells of a key's ring.
	Cells int
	// MaxWindow is the longest window.
	MaxWindow time.Duration
}

// Stats reads the region's counters.
func (l *Limiter) Stats() (Stats, error) {
	h := l.handle.Load()
	if h == nil {
		return Stats{}, ErrClosed
	}
	raw, code := capi.ReadStats(h.ptr)
	runtime.KeepAlive(h)
	if code != 0 {
		return Stats{}, failure(code, "")
	}
	return Stats{
		KeysCapacity:   raw.KeysCapacity,
		KeysHeld:       raw.KeysHeld,
		Inserted:       raw.Inserted,
		Evicted:        raw.Evicted,
		Full:           raw.Full,
		PermitCapacity: raw.PermitCapacity,
		PermitCells:    int(raw.PermitCells),
		Bytes:          raw.Bytes,
		Cells:          int(raw.Cells),
		MaxWindow:      time.Duration(raw.MaxWindowMs) * time.Millisecond,
	}, nil
}

// millisecond is the caller's time, or 0 for the region's own clock.
func (l *Limiter) millisecond() uint64 {
	if l.now == nil {
		return 0
	}
	// 0 would be the region's clock, which this region has not.
	return max(1, uint64(l.now().UnixMilli()))
}

// refuse says what is wrong with the arguments.
func (l *Limiter) refuse(h *handle, key string, cost int, err error) error {
	switch {
	case h == nil:
		return ErrClosed
	case key == "":
		return ErrKey
	case err != nil:
		return err
	}
	return failure(capi.EINVAL, "cost is %d, but must be from 0 to %d", cost, MaxLimit)
}

// failed says why the library did not answer.
func failed(code int, policy Policy, cost int) error {
	switch code {
	case capi.ECOST:
		return failure(code, "cost %d, limit %d", cost, policy.Limit)
	case capi.EINVAL:
		return failure(code, "limit %d in %v; is that longer than the region's longest window?",
			policy.Limit, policy.Window)
	}
	return failure(code, "")
}
