package mavera

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Plan has tiers, endpoints and known keys. Safe for concurrent use; it needs
// no closing.
type Plan struct {
	handle *planHandle
}

// planHandle owns the library's plan. Decisions keep it alive, for they name
// endpoints of it.
type planHandle struct {
	ptr       uintptr
	endpoints []capi.Endpoint
}

func (h *planHandle) name(path uint64) string {
	if h == nil || path == 0 {
		return ""
	}
	for i := range h.endpoints {
		if h.endpoints[i].Path == path {
			return h.endpoints[i].Name
		}
	}
	return ""
}

// DefaultPlan is the contract of Mavera's public API: Starter 60, Basic 120,
// Professional 240 and Enterprise 600 requests in any minute; at most 10
// requests in flight on /mave/chat, 5 on /focus-groups, 3 on /video-analyses.
func DefaultPlan() *Plan {
	plan, err := newPlan("")
	if err != nil {
		// There is no file, and no number is wrong.
		panic(err)
	}
	return plan
}

// LoadPlan reads a plan from a TOML file.
//
// Fails with [ErrPlan]; the message names file, line and key.
func LoadPlan(path string) (*Plan, error) {
	if path == "" {
		return nil, told(capi.EPLAN, "the plan's path is empty")
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, told(capi.EPLAN, fmt.Sprintf("the plan's path has a NUL in it: %q", path))
	}
	return newPlan(path)
}

func newPlan(path string) (*Plan, error) {
	ptr, code, why := capi.Plan(path)
	if code != 0 {
		return nil, told(code, why)
	}
	handle := &planHandle{ptr: ptr}
	for {
		endpoint, code := capi.PlanEndpointAt(ptr, len(handle.endpoints))
		if code != 0 {
			break
		}
		handle.endpoints = append(handle.endpoints, endpoint)
	}
	runtime.AddCleanup(handle, capi.PlanFree, ptr)
	return &Plan{handle}, nil
}

// Policy is what a tier may.
//
// Fails with [ErrUnknown].
func (p *Plan) Policy(tier string) (Policy, error) {
	var buf [nameCap]byte
	name, err := terminated(buf[:0], tier, "tier")
	if err != nil {
		return Policy{}, err
	}
	limit, window, code := capi.PlanPolicy(p.handle.ptr, name, "")
	runtime.KeepAlive(p.handle)
	if code != 0 {
		return Policy{}, failure(code, "tier %q", tier)
	}
	return Policy{Limit: int(limit), Window: duration(uint64(window))}, nil
}

// KeyPolicy is what a key of the plan's own list may.
//
// Fails with [ErrUnknown] and [ErrKey].
func (p *Plan) KeyPolicy(key string) (Policy, error) {
	if key == "" {
		return Policy{}, ErrKey
	}
	limit, window, code := capi.PlanPolicy(p.handle.ptr, nil, key)
	runtime.KeepAlive(p.handle)
	if code != 0 {
		// Which is a secret.
		return Policy{}, failure(code, "the plan does not list the key")
	}
	return Policy{Limit: int(limit), Window: duration(uint64(window))}, nil
}

// SetTier gives a tier other numbers, in this process and from now on. What
// its keys have spent is kept, unless the window changes.
//
// Fails with [ErrUnknown] and [ErrInvalid].
func (p *Plan) SetTier(tier string, policy Policy) error {
	limit, window, err := policy.numbers()
	if err != nil {
		return err
	}
	var buf [nameCap]byte
	name, err := terminated(buf[:0], tier, "tier")
	if err != nil {
		return err
	}
	code := capi.PlanSetTier(p.handle.ptr, name, limit, window)
	runtime.KeepAlive(p.handle)
	if code != 0 {
		return failure(code, "tier %q", tier)
	}
	return nil
}

// Class is what permits are counted under: an endpoint of a plan's, or a name
// of the caller's own. The zero value is none.
type Class struct {
	id, most uint32
	lease    uint32
	name     string
}

// NewClass is a class of the caller's own: at most most requests of a key in
// flight, from 1 to the region's permit cells.
func NewClass(name string, most int) Class {
	var buf [nameCap]byte
	terminatedName, err := terminated(buf[:0], name, "class")
	if err != nil || most < 0 {
		// No region has so many.
		return Class{name: name}
	}
	return Class{id: capi.ClassID(terminatedName), most: uint32(min(most, 1<<31)), name: name}
}

// WithLease is the class with a lease: a permit that was not released after so
// long, up to a day, may be taken by another.
func (c Class) WithLease(lease time.Duration) Class {
	c.lease = milliseconds(min(max(lease, 0), maxWindow-time.Millisecond))
	return c
}

// Name is the endpoint's pattern, or the caller's name.
func (c Class) Name() string { return c.name }

// Max is the most requests of a key in flight.
func (c Class) Max() int { return int(c.most) }

// Endpoint is the class that a request target falls under: of the longest
// pattern that is a prefix of its path, whole segments at a time. Query,
// percent-encoding, "//", ".", ".." and ";x" do not slip past.
func (p *Plan) Endpoint(target string) (Class, bool) {
	var buf [nameCap]byte
	name, err := terminated(buf[:0], target, "target")
	if err != nil {
		return Class{}, false
	}
	path, id, most, code := capi.PlanEndpoint(p.handle.ptr, name)
	if code != 0 {
		return Class{}, false
	}
	return Class{id: id, most: most, name: p.handle.name(path)}, true
}

// Endpoints are the plan's, in its order.
func (p *Plan) Endpoints() []Class {
	classes := make([]Class, 0, len(p.handle.endpoints))
	for _, endpoint := range p.handle.endpoints {
		classes = append(classes, Class{id: endpoint.Class, most: endpoint.Most, name: endpoint.Name})
	}
	return classes
}

// MaxWindow is the longest window of tiers and keys.
func (p *Plan) MaxWindow() time.Duration {
	window := capi.PlanMaxWindowMs(p.handle.ptr)
	runtime.KeepAlive(p.handle)
	return time.Duration(window) * time.Millisecond
}
