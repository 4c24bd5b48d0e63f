package mavera

import (
	"context"
	"runtime"
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Permit is a request in flight, until it is released or its process dies,
// however it dies. A plain value: copies are the same permit. The zero value is
// none.
type Permit struct {
	handle *handle
	raw    capi.Permit
}

// Release gives the permit back, and reports whether that freed it. It does
// not if it had been released, if its lease has ended and somebody has it, or
// if another process took it. Never blocks.
func (p Permit) Release() bool {
	if p.handle == nil || p.raw == (capi.Permit{}) {
		return false
	}
	code := capi.Release(p.handle.ptr, p.raw)
	runtime.KeepAlive(p.handle)
	return code == 0
}

// Held reports whether there is anything to release.
func (p Permit) Held() bool { return p.raw != (capi.Permit{}) }

// TryAcquire takes a permit alone, without asking for quota.
//
// Fails with [ErrBusy] if as many are held, [ErrFull], [ErrKey], [ErrInvalid]
// (the class has more than the region's permit cells, or none, or a lease of
// more than a day, or one by [WithNow]), [ErrSlots] (this
// process cannot be registered with the region), [ErrClosed].
func (l *Limiter) TryAcquire(key string, class Class) (Permit, error) {
	h := l.handle.Load()
	if h == nil || key == "" {
		return Permit{}, l.refuse(h, key, 1, nil)
	}
	permit := Permit{handle: h}
	code := capi.Acquire(h.ptr, key, class.id, class.most, class.lease, &permit.raw)
	runtime.KeepAlive(h)
	switch {
	case code == 0:
		return permit, nil
	case code == capi.Busy:
		return Permit{}, ErrBusy
	case code == capi.Full:
		return Permit{}, ErrFull
	}
	return Permit{}, failure(code, "class %q with at most %d and a lease of %v",
		class.name, class.most, duration(uint64(class.lease)))
}

// Acquire is [Limiter.TryAcquire] that waits until there is one. A permit may
// be given back by any process, which nobody is told of, so it asks again
// after 1 ms, and then ever more seldom, up to every 50 ms.
//
// Fails as TryAcquire, but with ctx's error instead of [ErrBusy].
func (l *Limiter) Acquire(ctx context.Context, key string, class Class) (Permit, error) {
	const first, last = time.Millisecond, 50 * time.Millisecond
	var timer *time.Timer
	for pause := first; ; pause = min(2*pause, last) {
		if err := ctx.Err(); err != nil {
			return Permit{}, err
		}
		permit, err := l.TryAcquire(key, class)
		if err != ErrBusy {
			return permit, err
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-ctx.Done():
			return Permit{}, ctx.Err()
		case <-timer.C:
		}
	}
}

// InFlight is how many requests of key are in flight, on the whole host.
func (l *Limiter) InFlight(key string, class Class) (int, error) {
	h := l.handle.Load()
	if h == nil || key == "" {
		return 0, l.refuse(h, key, 1, nil)
	}
	held, code := capi.InFlight(h.ptr, key, class.id)
	runtime.KeepAlive(h)
	if code != 0 {
		return 0, failure(code, "")
	}
	return int(held), nil
}
