// Package capi is the thin layer over include/mavera_rl.h: the only place with
// cgo. It gives numbers and addresses; package mavera gives them their meaning.
//
// What a check needs is passed as numbers, and its answer is written into a
// mirror of the library's struct that has no pointers, so that cgo has nothing to
// inspect and nothing escapes.
package capi

/*
#cgo !mavera_dynamic CFLAGS: -I${SRCDIR}/../../../../include
#cgo !mavera_dynamic LDFLAGS: -L${SRCDIR}/../../../../target/release -l:libmavera_rl.a -lgcc_s -lutil -lrt -lpthread -lm -ldl
#cgo mavera_dynamic pkg-config: mavera_rl
#cgo CFLAGS: -O2

#cgo noescape mrl_check
#cgo nocallback mrl_check
#cgo noescape mrl_peek
#cgo nocallback mrl_peek
#cgo noescape mrl_check_many
#cgo nocallback mrl_check_many
#cgo noescape mrl_acquire
#cgo nocallback mrl_acquire
#cgo noescape mrl_release
#cgo nocallback mrl_release
#cgo noescape mrl_in_flight
#cgo nocallback mrl_in_flight
#cgo noescape mrl_admit
#cgo nocallback mrl_admit
#cgo noescape mrl_class_id
#cgo nocallback mrl_class_id
#cgo noescape mrl_plan_policy
#cgo nocallback mrl_plan_policy
#cgo noescape mrl_plan_endpoint
#cgo nocallback mrl_plan_endpoint
#cgo noescape mrl_headers
#cgo nocallback mrl_headers
#cgo noescape mrl_body
#cgo nocallback mrl_body
#cgo noescape mrl_empty
#cgo nocallback mrl_empty

#include <mavera_rl.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t place;
    uint64_t word;
} mrl_permit;

// Go's mirror of a decision, which has no pointers: cgo then looks for none.
typedef uint64_t mrl_decision;

static inline mavera_rl_decision *mrl_sized(mrl_decision *mirror)
{
    mavera_rl_decision *d = (mavera_rl_decision *) (void *) mirror;

    d->size = sizeof(*d);
    return d;
}

// The clock of the caller is chosen by now_ms: 0 for the region's own.

static inline int mrl_check(uintptr_t rl, const char *key, size_t key_len,
    uint32_t limit, uint32_t window_ms, uint32_t cost, uint64_t now_ms,
    mrl_decision *out)
{
    mavera_rl_policy    policy = {sizeof(policy), limit, window_ms};
    mavera_rl_decision *d = mrl_sized(out);

    return now_ms == 0
        ? mavera_rl_check((mavera_rl *) rl, key, key_len, &policy, cost, d)
        : mavera_rl_check_at((mavera_rl *) rl, key, key_len, &policy, cost,
              now_ms, d);
}

static inline int mrl_peek(uintptr_t rl, const char *key, size_t key_len,
    uint32_t limit, uint32_t window_ms, uint32_t cost, uint64_t now_ms,
    mrl_decision *out)
{
    mavera_rl_policy    policy = {sizeof(policy), limit, window_ms};
    mavera_rl_decision *d = mrl_sized(out);

    return now_ms == 0
        ? mavera_rl_peek((mavera_rl *) rl, key, key_len, &policy, cost, d)
        : mavera_rl_peek_at((mavera_rl *) rl, key, key_len, &policy, cost,
              now_ms, d);
}

// As many as the library asks the memory of at once.
enum { MRL_BATCH = 16 };

static inline int mrl_check_many(uintptr_t rl, const char *keys,
    const uint64_t *lens, size_t count, uint32_t limit, uint32_t window_ms,
    uint32_t cost, uint64_t now_ms, mrl_decision *out)
{
    mavera_rl_policy    policy = {sizeof(policy), limit, window_ms};
    mavera_rl_request   requests[MRL_BATCH];
    mavera_rl_decision *d = (mavera_rl_decision *) (void *) out;
    size_t              done, n, i;
    int                 code;

    for (done = 0; done < count; done += n) {
        n = count - done < MRL_BATCH ? count - done : MRL_BATCH;
        for (i = 0; i < n; i++) {
            memset(&requests[i], 0, sizeof(requests[i]));
            requests[i].size = sizeof(requests[i]);
            requests[i].key = keys;
            requests[i].key_len = lens[done + i];
            requests[i].policy = &policy;
            requests[i].cost = cost;
            d[done + i].size = sizeof(*d);
            keys += lens[done + i];
        }
        code = now_ms == 0
            ? mavera_rl_check_many((mavera_rl *) rl, requests, n, d + done)
            : mavera_rl_check_many_at((mavera_rl *) rl, requests, n,
                  now_ms, d + done);
        if (code != 0) {
            return code;
        }
    }
    return 0;
}

static inline int mrl_acquire(uintptr_t rl, const char *key, size_t key_len,
    uint32_t class_id, uint32_t max, uint32_t lease_ms, mrl_permit *out)
{
    mavera_rl_permit permit;
    int              code = mavera_rl_acquire((mavera_rl *) rl, key, key_len,
        class_id, max, lease_ms, &permit);

    if (code == 0) {
        out->place = permit.place;
        out->word = permit.word;
    }
    return code;
}

static inline int mrl_release(uintptr_t rl, uint64_t place, uint64_t word)
{
    mavera_rl_permit permit = {place, word};

    return mavera_rl_release((mavera_rl *) rl, permit);
}

static inline int mrl_in_flight(uintptr_t rl, const char *key, size_t key_len,
    uint32_t class_id, uint32_t *out)
{
    return mavera_rl_in_flight((mavera_rl *) rl, key, key_len, class_id, out);
}

// tier: NUL-terminated; NULL: by the key's own entry, or with limit >= 0 by
// numbers.
static inline int mrl_admit(uintptr_t rl, uintptr_t plan, const char *key,
    size_t key_len, const char *tier, int64_t limit, uint32_t window_ms,
    const char *path, uint64_t now_ms, mrl_decision *out, mrl_permit *permit)
{
    mavera_rl_policy    policy = {sizeof(policy), (uint32_t) limit, window_ms};
    mavera_rl_decision *d = mrl_sized(out);
    mavera_rl_permit    held = {0, 0};
    int                 code;

    if (limit >= 0) {
        code = now_ms == 0
            ? mavera_rl_admit_policy((mavera_rl *) rl, (mavera_rl_plan *) plan,
                  key, key_len, &policy, path, d, &held)
            : mavera_rl_admit_policy_at((mavera_rl *) rl,
                  (mavera_rl_plan *) plan, key, key_len, &policy, path, now_ms,
                  d, &held);
    } else {
        code = now_ms == 0
            ? mavera_rl_admit((mavera_rl *) rl, (mavera_rl_plan *) plan, key,
                  key_len, tier, path, d, &held)
            : mavera_rl_admit_at((mavera_rl *) rl, (mavera_rl_plan *) plan, key,
                  key_len, tier, path, now_ms, d, &held);
    }
    permit->place = held.place;
    permit->word = held.word;
    return code;
}

static inline int mrl_plan_policy(uintptr_t plan, const char *tier,
    const char *key, size_t key_len, uint32_t *limit, uint32_t *window_ms)
{
    mavera_rl_policy policy;
    int              code;

    policy.size = sizeof(policy);
    code = tier != NULL
        ? mavera_rl_plan_policy((mavera_rl_plan *) plan, tier, &policy)
        : mavera_rl_plan_key_policy((mavera_rl_plan *) plan, key, key_len,
              &policy);
    if (code == 0) {
        *limit = policy.limit;
        *window_ms = policy.window_ms;
    }
    return code;
}

static inline uint32_t mrl_class_id(const char *name)
{
    return mavera_rl_class_id(name);
}

static inline int mrl_plan_endpoint(uintptr_t plan, const char *target,
    uint64_t *path, uint32_t *class_id, uint32_t *max)
{
    mavera_rl_endpoint endpoint;
    int                code;

    endpoint.size = sizeof(endpoint);
    code = mavera_rl_plan_endpoint((mavera_rl_plan *) plan, target, &endpoint);
    if (code == 0) {
        *path = (uint64_t) (uintptr_t) endpoint.path;
        *class_id = endpoint.class_id;
        *max = endpoint.max_in_flight;
    }
    return code;
}

static inline size_t mrl_headers(mrl_decision *d, uint32_t flavour, char *buf,
    size_t cap)
{
    return mavera_rl_format_headers(mrl_sized(d), flavour, buf, cap);
}

static inline size_t mrl_body(mrl_decision *d, char *buf, size_t cap)
{
    return mavera_rl_format_body(mrl_sized(d), buf, cap);
}

static inline void mrl_empty(void)
{
}

// What failed is told by the thread that failed, so both in one call.

static int mrl_open(const char *path, const mavera_rl_options *options,
    uintptr_t *out, char *why, size_t cap)
{
    mavera_rl *rl = NULL;
    int        code = mavera_rl_open(path, options, &rl);

    if (code != 0) {
        mavera_rl_last_error(why, cap);
    }
    *out = (uintptr_t) rl;
    return code;
}

static int mrl_plan(const char *path, uintptr_t *out, char *why, size_t cap)
{
    mavera_rl_plan *plan = NULL;
    int             code = path == NULL ? mavera_rl_plan_default(&plan)
                                        : mavera_rl_plan_load(path, &plan);

    if (code != 0) {
        mavera_rl_last_error(why, cap);
    }
    *out = (uintptr_t) plan;
    return code;
}

static void mrl_close(uintptr_t rl)
{
    mavera_rl_close((mavera_rl *) rl);
}

static void mrl_plan_free(uintptr_t plan)
{
    mavera_rl_plan_free((mavera_rl_plan *) plan);
}

static int mrl_plan_set_tier(uintptr_t plan, const char *tier, uint32_t limit,
    uint32_t window_ms)
{
    return mavera_rl_plan_set_tier((mavera_rl_plan *) plan, tier, limit,
        window_ms);
}

static uint32_t mrl_plan_window(uintptr_t plan)
{
    return mavera_rl_plan_max_window_ms((mavera_rl_plan *) plan);
}

static int mrl_plan_endpoint_at(uintptr_t plan, size_t index, uint64_t *path,
    uint32_t *class_id, uint32_t *max)
{
    mavera_rl_endpoint endpoint;
    int                code;

    endpoint.size = sizeof(endpoint);
    code = mavera_rl_plan_endpoint_at((mavera_rl_plan *) plan, index, &endpoint);
    if (code == 0) {
        *path = (uint64_t) (uintptr_t) endpoint.path;
        *class_id = endpoint.class_id;
        *max = endpoint.max_in_flight;
    }
    return code;
}

static int mrl_stats(uintptr_t rl, mavera_rl_stats_t *out)
{
    out->size = sizeof(*out);
    return mavera_rl_stats((mavera_rl *) rl, out);
}
*/
import "C"

import (
	"strings"
	"unsafe"
)

// The codes of mavera_rl.h.
const (
	Allowed   = C.MAVERA_RL_ALLOWED
	Limited   = C.MAVERA_RL_LIMITED
	Busy      = C.MAVERA_RL_BUSY
	Full      = C.MAVERA_RL_FULL
	NotHeld   = C.MAVERA_RL_NOT_HELD
	EINVAL    = C.MAVERA_RL_EINVAL
	ECOST     = C.MAVERA_RL_ECOST
	ECLOCK    = C.MAVERA_RL_ECLOCK
	ENOMEM    = C.MAVERA_RL_ENOMEM
	ESYS      = C.MAVERA_RL_ESYS
	EFORMAT   = C.MAVERA_RL_EFORMAT
	EVERSION  = C.MAVERA_RL_EVERSION
	EMISMATCH = C.MAVERA_RL_EMISMATCH
	EPLAN     = C.MAVERA_RL_EPLAN
	ENOENT    = C.MAVERA_RL_ENOENT
	EINTERNAL = C.MAVERA_RL_EINTERNAL
	ESLOTS    = C.MAVERA_RL_ESLOTS

	ClockPrecise = C.MAVERA_RL_CLOCK_PRECISE
	ClockCoarse  = C.MAVERA_RL_CLOCK_COARSE
	ClockCaller  = C.MAVERA_RL_CLOCK_CALLER

	OnFullDeny  = C.MAVERA_RL_ON_FULL_DENY
	OnFullAllow = C.MAVERA_RL_ON_FULL_ALLOW

	Legacy = C.MAVERA_RL_HEADERS_LEGACY
	IETF   = C.MAVERA_RL_HEADERS_IETF
	Both   = C.MAVERA_RL_HEADERS_BOTH
)

// whyCap is room for the longest message: a path may be 4096 bytes.
const whyCap = 6144

// Options of a region; zero is "not said".
type Options struct {
	Keys, PermitKeys                                     uint64
	Cells, MaxWindowMs, Clock, OnFull, Mode, PermitCells uint32
}

// Decision mirrors mavera_rl_decision. Endpoint is an address in the plan.
type Decision struct {
	size                                          uint64
	Outcome                                       int32
	Limit, Used, Remaining, WindowMs, RetryAfterS uint32
	RetryAfterMs, ResetAfterMs, ResetUnixMs       uint64
	Untracked, InFlight, MaxInFlight, _           uint32
	Endpoint                                      uint64
}

// Permit mirrors mavera_rl_permit; zero is none.
type Permit struct{ Place, Word uint64 }

// A mirror that is not one does not compile.
var (
	_ [unsafe.Sizeof(Decision{})]byte                = [C.sizeof_mavera_rl_decision]byte{}
	_ [unsafe.Offsetof(Decision{}.Outcome)]byte      = [unsafe.Offsetof(C.mavera_rl_decision{}.outcome)]byte{}
	_ [unsafe.Offsetof(Decision{}.Limit)]byte        = [unsafe.Offsetof(C.mavera_rl_decision{}.limit)]byte{}
	_ [unsafe.Offsetof(Decision{}.Used)]byte         = [unsafe.Offsetof(C.mavera_rl_decision{}.used)]byte{}
	_ [unsafe.Offsetof(Decision{}.Remaining)]byte    = [unsafe.Offsetof(C.mavera_rl_decision{}.remaining)]byte{}
	_ [unsafe.Offsetof(Decision{}.WindowMs)]byte     = [unsafe.Offsetof(C.mavera_rl_decision{}.window_ms)]byte{}
	_ [unsafe.Offsetof(Decision{}.RetryAfterS)]byte  = [unsafe.Offsetof(C.mavera_rl_decision{}.retry_after_s)]byte{}
	_ [unsafe.Offsetof(Decision{}.RetryAfterMs)]byte = [unsafe.Offsetof(C.mavera_rl_decision{}.retry_after_ms)]byte{}
	_ [unsafe.Offsetof(Decision{}.ResetAfterMs)]byte = [unsafe.Offsetof(C.mavera_rl_decision{}.reset_after_ms)]byte{}
	_ [unsafe.Offsetof(Decision{}.ResetUnixMs)]byte  = [unsafe.Offsetof(C.mavera_rl_decision{}.reset_unix_ms)]byte{}
	_ [unsafe.Offsetof(Decision{}.Untracked)]byte    = [unsafe.Offsetof(C.mavera_rl_decision{}.untracked)]byte{}
	_ [unsafe.Offsetof(Decision{}.InFlight)]byte     = [unsafe.Offsetof(C.mavera_rl_decision{}.in_flight)]byte{}
	_ [unsafe.Offsetof(Decision{}.MaxInFlight)]byte  = [unsafe.Offsetof(C.mavera_rl_decision{}.max_in_flight)]byte{}
	_ [unsafe.Offsetof(Decision{}.Endpoint)]byte     = [unsafe.Offsetof(C.mavera_rl_decision{}.endpoint)]byte{}
	_ [unsafe.Sizeof(Permit{})]byte                  = [C.sizeof_mrl_permit]byte{}
)

func (d *Decision) c() *C.mrl_decision { return (*C.mrl_decision)(unsafe.Pointer(d)) }

func chars(b []byte) *C.char { return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))) }

func bytesOf(key string) *C.char { return (*C.char)(unsafe.Pointer(unsafe.StringData(key))) }

func said(why []byte) string {
	text, _, _ := strings.Cut(string(why), "\x00")
	return text
}

// Empty calls C and nothing else: what a benchmark is measured against.
func Empty() { C.mrl_empty() }

// Strerror says what a code means.
func Strerror(code int) string { return C.GoString(C.mavera_rl_strerror(C.int(code))) }

// Version of the library.
func Version() string { return C.GoString(C.mavera_rl_version()) }

// ABIVersion of the library, and the one this package was compiled for.
func ABIVersion() (library, header uint32) {
	return uint32(C.mavera_rl_abi_version()), C.MAVERA_RL_ABI_VERSION
}

// Open opens a region; an empty path is private memory.
func Open(path string, o Options) (handle uintptr, code int, why string) {
	options := C.mavera_rl_options{
		size:          C.sizeof_mavera_rl_options,
		keys:          C.uint64_t(o.Keys),
		cells:         C.uint32_t(o.Cells),
		max_window_ms: C.uint32_t(o.MaxWindowMs),
		clock:         C.uint32_t(o.Clock),
		on_full:       C.uint32_t(o.OnFull),
		mode:          C.uint32_t(o.Mode),
		permit_keys:   C.uint64_t(o.PermitKeys),
		permit_cells:  C.uint32_t(o.PermitCells),
	}
	var name *C.char
	if path != "" {
		name = C.CString(path)
		defer C.free(unsafe.Pointer(name))
	}
	var out C.uintptr_t
	buf := make([]byte, whyCap)
	code = int(C.mrl_open(name, &options, &out, chars(buf), whyCap))
	return uintptr(out), code, said(buf)
}

// Close closes a handle that nobody uses any more.
func Close(handle uintptr) { C.mrl_close(C.uintptr_t(handle)) }

// Check charges; now is 0 for the region's own clock.
func Check(handle uintptr, key string, limit, windowMs, cost uint32, now uint64, d *Decision) int {
	return int(C.mrl_check(C.uintptr_t(handle), bytesOf(key), C.size_t(len(key)),
		C.uint32_t(limit), C.uint32_t(windowMs), C.uint32_t(cost), C.uint64_t(now), d.c()))
}

// Peek asks without charging.
func Peek(handle uintptr, key string, limit, windowMs, cost uint32, now uint64, d *Decision) int {
	return int(C.mrl_peek(C.uintptr_t(handle), bytesOf(key), C.size_t(len(key)),
		C.uint32_t(limit), C.uint32_t(windowMs), C.uint32_t(cost), C.uint64_t(now), d.c()))
}

// CheckMany checks keys that lie one after the other in text. At least one.
func CheckMany(handle uintptr, text []byte, lens []uint64, limit, windowMs, cost uint32, now uint64, out []Decision) int {
	return int(C.mrl_check_many(C.uintptr_t(handle), chars(text),
		(*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(lens))), C.size_t(len(lens)),
		C.uint32_t(limit), C.uint32_t(windowMs), C.uint32_t(cost), C.uint64_t(now),
		unsafe.SliceData(out).c()))
}

// Acquire takes a permit.
func Acquire(handle uintptr, key string, class, most, leaseMs uint32, p *Permit) int {
	return int(C.mrl_acquire(C.uintptr_t(handle), bytesOf(key), C.size_t(len(key)),
		C.uint32_t(class), C.uint32_t(most), C.uint32_t(leaseMs), (*C.mrl_permit)(unsafe.Pointer(p))))
}

// Release gives a permit back.
func Release(handle uintptr, p Permit) int {
	return int(C.mrl_release(C.uintptr_t(handle), C.uint64_t(p.Place), C.uint64_t(p.Word)))
}

// InFlight counts permits.
func InFlight(handle uintptr, key string, class uint32) (held uint32, code int) {
	var out C.uint32_t
	code = int(C.mrl_in_flight(C.uintptr_t(handle), bytesOf(key), C.size_t(len(key)), C.uint32_t(class), &out))
	return uint32(out), code
}

// Admit asks for permit and quota. Tier and path end with a NUL; tier is nil
// for the key's own entry or, with a limit from 0, for numbers.
func Admit(handle, plan uintptr, key string, tier []byte, limit int64, windowMs uint32, path []byte, now uint64, d *Decision, p *Permit) int {
	return int(C.mrl_admit(C.uintptr_t(handle), C.uintptr_t(plan), bytesOf(key), C.size_t(len(key)),
		chars(tier), C.int64_t(limit), C.uint32_t(windowMs), chars(path), C.uint64_t(now),
		d.c(), (*C.mrl_permit)(unsafe.Pointer(p))))
}

// Stats of a region.
type Stats struct {
	KeysCapacity, KeysHeld, Inserted, Evicted, Full, Bytes, PermitCapacity uint64
	Cells, MaxWindowMs, PermitCells                                        uint32
}

// ReadStats reads a region's counters.
func ReadStats(handle uintptr) (Stats, int) {
	var out C.mavera_rl_stats_t
	code := int(C.mrl_stats(C.uintptr_t(handle), &out))
	return Stats{
		KeysCapacity: uint64(out.keys_capacity), KeysHeld: uint64(out.keys_held),
		Inserted: uint64(out.inserted), Evicted: uint64(out.evicted), Full: uint64(out.full),
		Bytes: uint64(out.bytes), PermitCapacity: uint64(out.permit_capacity),
		Cells: uint32(out.cells), MaxWindowMs: uint32(out.max_window_ms), PermitCells: uint32(out.permit_cells),
	}, code
}

// Plan opens the built-in plan, or a file.
func Plan(path string) (plan uintptr, code int, why string) {
	var name *C.char
	if path != "" {
		name = C.CString(path)
		defer C.free(unsafe.Pointer(name))
	}
	var out C.uintptr_t
	buf := make([]byte, whyCap)
	code = int(C.mrl_plan(name, &out, chars(buf), whyCap))
	return uintptr(out), code, said(buf)
}

// PlanFree frees a plan that nobody uses any more.
func PlanFree(plan uintptr) { C.mrl_plan_free(C.uintptr_t(plan)) }

// PlanPolicy is a tier's (its name ends with a NUL) or, without one, a key's.
func PlanPolicy(plan uintptr, tier []byte, key string) (limit, windowMs uint32, code int) {
	var l, w C.uint32_t
	code = int(C.mrl_plan_policy(C.uintptr_t(plan), chars(tier), bytesOf(key), C.size_t(len(key)), &l, &w))
	return uint32(l), uint32(w), code
}

// PlanSetTier gives a tier other numbers; its name ends with a NUL.
func PlanSetTier(plan uintptr, tier []byte, limit, windowMs uint32) int {
	return int(C.mrl_plan_set_tier(C.uintptr_t(plan), chars(tier), C.uint32_t(limit), C.uint32_t(windowMs)))
}

// PlanMaxWindowMs is the longest window.
func PlanMaxWindowMs(plan uintptr) uint32 { return uint32(C.mrl_plan_window(C.uintptr_t(plan))) }

// Endpoint of a plan; Path is its address there.
type Endpoint struct {
	Path        uint64
	Name        string
	Class, Most uint32
}

// PlanEndpointAt is the plan's index-th endpoint.
func PlanEndpointAt(plan uintptr, index int) (Endpoint, int) {
	var path C.uint64_t
	var class, most C.uint32_t
	code := int(C.mrl_plan_endpoint_at(C.uintptr_t(plan), C.size_t(index), &path, &class, &most))
	if code != 0 {
		return Endpoint{}, code
	}
	// The plan owns the string; it is no memory of Go's.
	name := C.GoString((*C.char)(*(*unsafe.Pointer)(unsafe.Pointer(&path))))
	return Endpoint{uint64(path), name, uint32(class), uint32(most)}, 0
}

// PlanEndpoint finds a target's endpoint; target ends with a NUL.
func PlanEndpoint(plan uintptr, target []byte) (path uint64, class, most uint32, code int) {
	var p C.uint64_t
	var c, m C.uint32_t
	code = int(C.mrl_plan_endpoint(C.uintptr_t(plan), chars(target), &p, &c, &m))
	return uint64(p), uint32(c), uint32(m), code
}

// ClassID of a name that ends with a NUL.
func ClassID(name []byte) uint32 { return uint32(C.mrl_class_id(chars(name))) }

// Headers writes all header lines, and returns how long they are in all.
func Headers(d *Decision, flavour uint32, buf []byte) int {
	return int(C.mrl_headers(d.c(), C.uint32_t(flavour), chars(buf), C.size_t(len(buf))))
}

// Body writes the JSON error, and returns how long it is in all.
func Body(d *Decision, buf []byte) int {
	return int(C.mrl_body(d.c(), chars(buf), C.size_t(len(buf))))
}
