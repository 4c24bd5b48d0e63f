package mavera_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

const aPlan = `window = "10s"
[tiers]
starter = 3
trial = { limit = 5, window = "500ms" }
"größer" = 7
[endpoints]
"/mave/chat" = { in_flight = 2, also = ["/*/mave/chat"] }
"/video-analyses" = 1
[keys]
"key-one" = "starter"
"key-two" = { tier = "trial", limit = 50 }
`

func TestTheBuiltInPlanIsTheContract(t *testing.T) {
	plan := mavera.DefaultPlan()
	for tier, limit := range map[string]int{
		"starter": 60, "basic": 120, "professional": 240, "enterprise": 600,
	} {
		policy, err := plan.Policy(tier)
		equal(t, "error", err, nil)
		equal(t, tier, policy, mavera.Policy{Limit: limit, Window: time.Minute})
	}
	most := map[string]int{"/mave/chat": 10, "/focus-groups": 5, "/video-analyses": 3}
	endpoints := plan.Endpoints()
	equal(t, "endpoints", len(endpoints), len(most))
	for _, endpoint := range endpoints {
		equal(t, endpoint.Name(), endpoint.Max(), most[endpoint.Name()])
		found, ok := plan.Endpoint(endpoint.Name() + "/1?x=y")
		equal(t, "found", ok, true)
		equal(t, endpoint.Name(), found, endpoint)
	}
	equal(t, "longest window", plan.MaxWindow(), time.Minute)
	limiter, _ := standing(t)
	policy, err := limiter.Plan().Policy("starter")
	equal(t, "error", err, nil)
	equal(t, "the limiter's", policy.Limit, 60)
}

func TestAPlanIsReadFromAFile(t *testing.T) {
	plan := planOf(t, aPlan)
	for tier, want := range map[string]mavera.Policy{
		"starter": {Limit: 3, Window: 10 * time.Second},
		"trial":   {Limit: 5, Window: 500 * time.Millisecond},
		"größer":  {Limit: 7, Window: 10 * time.Second},
	} {
		policy, err := plan.Policy(tier)
		equal(t, "error", err, nil)
		equal(t, tier, policy, want)
	}
	for key, want := range map[string]mavera.Policy{
		"key-one": {Limit: 3, Window: 10 * time.Second},
		"key-two": {Limit: 50, Window: 500 * time.Millisecond},
	} {
		policy, err := plan.KeyPolicy(key)
		equal(t, "error", err, nil)
		equal(t, key, policy, want)
	}
	equal(t, "longest window", plan.MaxWindow(), 10*time.Second)
	equal(t, "endpoints", len(plan.Endpoints()), 2)
	class, ok := plan.Endpoint("/v1/mave/chat")
	equal(t, "found", ok, true)
	equal(t, "most", class.Max(), 2)
	equal(t, "name", class.Name(), "/mave/chat")

	limiter, _ := standing(t, mavera.WithPlan(plan))
	equal(t, "the limiter's", limiter.Plan(), plan)
	for _, want := range []struct {
		key, tier string
		limit     int
	}{{"key-one", "", 3}, {"key-two", "", 50}, {"key-two", "starter", 3}, {"any", "trial", 5}} {
		admission, err := limiter.Admit(want.key, want.tier, "/")
		equal(t, "error", err, nil)
		equal(t, want.key, admission.Limit(), want.limit)
	}
}

func TestAFaultOfAPlanIsNamedByItsLine(t *testing.T) {
	for text, words := range map[string][]string{
		"[tiers]\nstarter = -1\n":                              {":2:", "starter"},
		"[tiers]\n\nstarter = \"many\"\n":                      {":3:", "starter"},
		"[tiers]\nstarter = 60\nstarter = 70\n":                {":3:", "starter"},
		"window = \"1 fortnight\"\n":                           {":1:", "window"},
		"[endpoints]\n\"/a\" = 0\n":                            {":2:", "/a"},
		"[tiers]\nbasic = 1\n[keys]\n\"secret-one\" = \"x\"\n": {":4:"},
		"[tears]\nbasic = 1\n":                                 {":1:", "tears"},
		"[tiers\n":                                             {":1:"},
	} {
		path := filepath.Join(t.TempDir(), "plan.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		plan, err := mavera.LoadPlan(path)
		fails(t, err, mavera.ErrPlan, append(words, path)...)
		if plan != nil {
			t.Errorf("%q made a plan", text)
		}
	}
}

func TestAPlanThatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	_, err := mavera.LoadPlan(filepath.Join(dir, "none.toml"))
	fails(t, err, mavera.ErrPlan, dir, "none.toml", "No such file")
	_, err = mavera.LoadPlan(dir)
	fails(t, err, mavera.ErrPlan, dir)
	_, err = mavera.LoadPlan("")
	fails(t, err, mavera.ErrPlan, "path is empty")
}

func TestANULEndsNoName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.toml")
	if err := os.WriteFile(path, []byte(aPlan), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := mavera.LoadPlan(path + "\x00.bak")
	fails(t, err, mavera.ErrPlan, "NUL")

	plan := mavera.DefaultPlan()
	fails(t, plan.SetTier("starter\x00x", mavera.PerMinute(1)), mavera.ErrInvalid, "tier", "NUL")
	_, err = plan.Policy("starter\x00x")
	fails(t, err, mavera.ErrInvalid, "tier", "NUL")
	policy, err := plan.Policy("starter")
	equal(t, "error", err, nil)
	equal(t, "limit", policy.Limit, 60)
	_, ok := plan.Endpoint("/mave/chat\x00")
	equal(t, "found", ok, false)
}

func TestWhatThePlanDoesNotHaveIsUnknown(t *testing.T) {
	plan := mavera.DefaultPlan()
	for _, tier := range []string{"gold", "", "Starter", "starter ", strings.Repeat("long", 100)} {
		_, err := plan.Policy(tier)
		fails(t, err, mavera.ErrUnknown, fmt.Sprintf("%q", tier))
		fails(t, plan.SetTier(tier, mavera.PerMinute(1)), mavera.ErrUnknown, fmt.Sprintf("%q", tier))
	}
	_, err := plan.KeyPolicy("my-secret")
	fails(t, err, mavera.ErrUnknown, "does not list the key")
	if strings.Contains(err.Error(), "my-secret") {
		t.Errorf("%q tells the key", err)
	}
	_, err = plan.KeyPolicy("")
	fails(t, err, mavera.ErrKey)
	for _, target := range []string{"", "/", "/mave", "/mave/chatter", strings.Repeat("/x", 500)} {
		class, ok := plan.Endpoint(target)
		equal(t, target, ok, false)
		equal(t, target, class, mavera.Class{})
	}
}

func TestAKeyOfAnyBytesIsLookedUpAsItIs(t *testing.T) {
	plan := planOf(t, "[keys]\n\"a\" = \"starter\"\n")
	for _, key := range []string{"a\x00", "a ", "A", "\x00a", "\xff"} {
		_, err := plan.KeyPolicy(key)
		fails(t, err, mavera.ErrUnknown)
	}
}

func TestATierGetsOtherNumbersAndItsKeysKeepWhatTheySpent(t *testing.T) {
	limiter, clock := standing(t)
	admit := func() mavera.Admission {
		t.Helper()
		admission, err := limiter.Admit("a", "starter", "/")
		if err != nil {
			t.Fatal(err)
		}
		return admission
	}
	for range 4 {
		admit()
	}
	if err := limiter.Plan().SetTier("starter", mavera.PerMinute(4)); err != nil {
		t.Fatal(err)
	}
	equal(t, "outcome", admit().Outcome(), mavera.Limited)
	policy, _ := limiter.Plan().Policy("starter")
	equal(t, "policy", policy, mavera.Policy{Limit: 4, Window: time.Minute})
	if err := limiter.Plan().SetTier("starter", mavera.PerMinute(5)); err != nil {
		t.Fatal(err)
	}
	equal(t, "used", admit().Used(), 5)
	// Another window begins anew.
	if err := limiter.Plan().SetTier("starter", mavera.Policy{Limit: 5, Window: time.Second}); err != nil {
		t.Fatal(err)
	}
	equal(t, "used", admit().Used(), 1)
	clock.advance(time.Second)
	equal(t, "used", admit().Used(), 1)
}

func TestATiersNewNumbersOutOfRangeChangeNothing(t *testing.T) {
	plan := mavera.DefaultPlan()
	fails(t, plan.SetTier("starter", mavera.PerMinute(-1)), mavera.ErrInvalid, "limit is -1")
	fails(t, plan.SetTier("starter", mavera.PerMinute(mavera.MaxLimit+1)), mavera.ErrInvalid, "limit is 8388609")
	fails(t, plan.SetTier("starter", mavera.Policy{Limit: 1, Window: -1}), mavera.ErrInvalid, "window is -1ns")
	policy, _ := plan.Policy("starter")
	equal(t, "policy", policy, mavera.Policy{Limit: 60, Window: time.Minute})
	other, _ := mavera.DefaultPlan().Policy("starter")
	equal(t, "another plan", other, policy)
}

func TestARegionHasRoomForTheLongestWindowOfItsPlan(t *testing.T) {
	plan := planOf(t, "[tiers]\nhourly = { limit = 2, window = \"1h\" }\n")
	equal(t, "longest window", plan.MaxWindow(), time.Hour)
	limiter, clock := standing(t, mavera.WithPlan(plan))
	stats, _ := limiter.Stats()
	equal(t, "longest window", stats.MaxWindow, time.Hour)
	for range 2 {
		if _, err := limiter.Admit("a", "hourly", "/"); err != nil {
			t.Fatal(err)
		}
	}
	clock.advance(time.Hour - time.Millisecond)
	admission, _ := limiter.Admit("a", "hourly", "/")
	equal(t, "outcome", admission.Outcome(), mavera.Limited)
	clock.advance(time.Millisecond)
	admission, _ = limiter.Admit("a", "hourly", "/")
	equal(t, "outcome", admission.Outcome(), mavera.Allowed)
}

func TestAWindowThatIsLongerThanTheRegionsIsNamed(t *testing.T) {
	plan := planOf(t, "[tiers]\nhourly = { limit = 2, window = \"1h\" }\n")
	limiter, _ := standing(t, mavera.WithPlan(plan), mavera.WithMaxWindow(time.Minute))
	_, err := limiter.Admit("a", "hourly", "/mave/chat")
	fails(t, err, mavera.ErrInvalid, `tier "hourly"`, "longest")
	_, err = limiter.AdmitPolicy("a", mavera.Policy{Limit: 9, Window: 2 * time.Hour}, "/mave/chat")
	fails(t, err, mavera.ErrInvalid, "limit 9 in 2h0m0s", "longest")
	equal(t, "in flight", inFlight(t, limiter, "a", mavera.NewClass("/mave/chat", 1)), 0)
}

func TestAPlanWithShortWindowsLeavesAMinute(t *testing.T) {
	limiter, _ := standing(t, mavera.WithPlan(planOf(t, "window = \"1s\"\n[tiers]\nx = 1\n")))
	stats, _ := limiter.Stats()
	equal(t, "longest window", stats.MaxWindow, time.Minute)
}

func TestAPlanOfManyGoroutinesIsWhole(t *testing.T) {
	plan := mavera.DefaultPlan()
	one, other := mavera.PerMinute(1), mavera.Policy{Limit: 2, Window: time.Second}
	var all sync.WaitGroup
	for i := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 1000 {
				if err := plan.SetTier("starter", []mavera.Policy{one, other}[i%2]); err != nil {
					t.Error(err)
				}
				policy, err := plan.Policy("starter")
				if err != nil || policy.Limit == 1 != (policy.Window == time.Minute) {
					t.Errorf("%v, %v", policy, err)
				}
			}
		}()
	}
	all.Wait()
}
