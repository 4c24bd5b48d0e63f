//go:build !race

package mavera_test

import (
	"strings"
	"testing"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestNothingIsAllocated(t *testing.T) {
	limiter := running(t)
	policy, class := mavera.PerMinute(mavera.MaxLimit), mavera.NewClass("work", 4)
	key := []byte("a")
	spent := mavera.PerMinute(1)
	check(t, limiter, "spent", spent)
	full := mavera.NewClass("full", 1)
	acquire(t, limiter, "a", full)
	if err := limiter.Plan().SetTier("starter", policy); err != nil {
		t.Fatal(err)
	}
	target := "/mave/chat?" + strings.Repeat("x", 500)
	tier := strings.Repeat("t", 63)
	listed := running(t, mavera.WithPlan(planOf(t,
		"[tiers]\n"+tier+" = 8388608\n[keys]\na = \""+tier+"\"\n")))
	for name, call := range map[string]func(){
		"Check":           func() { _, _ = limiter.Check("a", policy) },
		"Check, refused":  func() { _, _ = limiter.Check("spent", spent) },
		"CheckN":          func() { _, _ = limiter.CheckN("a", policy, 2) },
		"CheckBytes":      func() { _, _ = limiter.CheckBytes(key, policy) },
		"Peek":            func() { _, _ = limiter.Peek("a", policy) },
		"InFlight":        func() { _, _ = limiter.InFlight("a", class) },
		"TryAcquire,busy": func() { _, _ = limiter.TryAcquire("a", full) },
		"TryAcquire": func() {
			permit, _ := limiter.TryAcquire("a", class)
			if !permit.Release() {
				t.Error("not given back")
			}
		},
		"Admit": func() {
			admission, _ := limiter.Admit("a", "starter", target)
			if !admission.Permit.Release() {
				t.Error("not given back")
			}
		},
		"Admit, listed": func() {
			admission, _ := listed.Admit("a", "", "/mave/chat")
			admission.Permit.Release()
		},
		"Admit, long tier": func() { _, _ = listed.Admit("a", tier, "/") },
		"AdmitPolicy": func() {
			admission, _ := limiter.AdmitPolicy("a", policy, "/mave/chat")
			admission.Permit.Release()
		},
		"Policy":    func() { _, _ = limiter.Plan().Policy("starter") },
		"KeyPolicy": func() { _, _ = listed.Plan().KeyPolicy("a") },
		"Endpoint":  func() { _, _ = limiter.Plan().Endpoint("/mave/chat") },
		"Decision": func() {
			admission, _ := limiter.Admit("a", "starter", "/")
			if !admission.Allowed() || admission.Remaining() == 0 || admission.Endpoint() != "" {
				t.Error("refused")
			}
		},
	} {
		if allocations := testing.AllocsPerRun(200, call); allocations != 0 {
			t.Errorf("%s allocates %v times", name, allocations)
		}
	}
}
