package mavera

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Longer names are put on the heap.
const (
	nameCap   = 64
	targetCap = 512
)

// Admission is a decision, with the request's permit if it holds one.
type Admission struct {
	Decision
	// Permit is to be released when the request's response is finished. It
	// holds nothing if the request was refused, or is under no such limit.
	Permit Permit
}

// Admit asks for permit and quota of a request in one call: one unit of its
// tier's quota, and, where target (path, with query or without) falls under an
// endpoint of the plan's, a permit for it. Refused for one of them, nothing of
// the other is spent.
//
// tier: its name; "" is what the plan's own list says of the key.
//
// Fails with [ErrUnknown] if the plan has no such tier or key; as
// [Limiter.Check] and [Limiter.TryAcquire], but never with [ErrBusy]. Allocates
// only for targets of more than 511 bytes.
func (l *Limiter) Admit(key, tier, target string) (Admission, error) {
	h := l.handle.Load()
	if h == nil || key == "" {
		return Admission{}, l.refuse(h, key, 1, nil)
	}
	if tier == "" {
		return l.admit(h, key, nil, -1, 0, target)
	}
	var buf [nameCap]byte
	name, err := terminated(buf[:0], tier, "tier")
	if err != nil {
		return Admission{}, err
	}
	return l.admit(h, key, name, -1, 0, target)
}

// AdmitPolicy is [Limiter.Admit] by a policy that the caller knows: what was
// negotiated need not stand in the plan.
func (l *Limiter) AdmitPolicy(key string, policy Policy, target string) (Admission, error) {
	h := l.handle.Load()
	limit, window, err := policy.numbers()
	if h == nil || err != nil || key == "" {
		return Admission{}, l.refuse(h, key, 1, err)
	}
	return l.admit(h, key, nil, int64(limit), window, target)
}

func (l *Limiter) admit(h *handle, key string, tier []byte, limit int64, window uint32, target string) (Admission, error) {
	var buf [targetCap]byte
	path, err := terminated(buf[:0], target, "target")
	if err != nil {
		return Admission{}, err
	}
	plan := l.plan.handle
	admission := Admission{
		Decision: Decision{plan: plan},
		Permit:   Permit{handle: h},
	}
	code := capi.Admit(h.ptr, plan.ptr, key, tier, limit, window, path, l.millisecond(),
		&admission.raw, &admission.Permit.raw)
	runtime.KeepAlive(h)
	runtime.KeepAlive(plan)
	if code < 0 {
		return Admission{}, unanswered(code, tier, limit, window)
	}
	return admission, nil
}

// unanswered says by what numbers the library could not answer.
func unanswered(code int, tier []byte, limit int64, windowMs uint32) error {
	asked := "by the plan's entry of the key"
	switch {
	case tier != nil:
		asked = fmt.Sprintf("tier %q", strings.TrimSuffix(string(tier), "\x00"))
	case limit >= 0:
		asked = fmt.Sprintf("limit %d in %v", limit, duration(uint64(windowMs)))
	case code == capi.ENOENT:
		asked = "the plan does not list the key"
	}
	if code == capi.EINVAL {
		asked += "; is the window longer than the region's longest," +
			" or the endpoint's limit above its permit cells?"
	}
	return failure(code, "%s", asked)
}

// terminated appends text and a NUL. Text with a NUL in it would be read as
// less than it is.
func terminated(buf []byte, text, what string) ([]byte, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, failure(capi.EINVAL, "the %s has a NUL in it", what)
	}
	return append(append(buf, text...), 0), nil
}
