package mavera_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func admit(t testing.TB, limiter *mavera.Limiter, key, tier, target string) mavera.Admission {
	t.Helper()
	admission, err := limiter.Admit(key, tier, target)
	if err != nil {
		t.Fatal(err)
	}
	return admission
}

var (
	chat  = mavera.NewClass("/mave/chat", 10)
	video = mavera.NewClass("/video-analyses", 3)
)

func TestAnAdmissionHasPermitAndQuota(t *testing.T) {
	limiter, _ := standing(t)
	admission := admit(t, limiter, "a", "starter", "/mave/chat?stream=1")
	equal(t, "outcome", admission.Outcome(), mavera.Allowed)
	equal(t, "limit", admission.Limit(), 60)
	equal(t, "used", admission.Used(), 1)
	equal(t, "in flight", admission.InFlight(), 1)
	equal(t, "most", admission.MaxInFlight(), 10)
	equal(t, "endpoint", admission.Endpoint(), "/mave/chat")
	equal(t, "held", admission.Permit.Held(), true)
	equal(t, "in flight", inFlight(t, limiter, "a", chat), 1)
	equal(t, "released", admission.Permit.Release(), true)
	equal(t, "in flight", inFlight(t, limiter, "a", chat), 0)
	equal(t, "what was spent is spent", peek(t, limiter, "a", mavera.PerMinute(60)).Used(), 1)
}

func TestElsewhereAnAdmissionIsQuotaAlone(t *testing.T) {
	limiter, _ := standing(t)
	for _, target := range []string{"/", "/billing", "/mave/chatter", "", "*"} {
		admission := admit(t, limiter, "a", "basic", target)
		equal(t, "outcome", admission.Outcome(), mavera.Allowed)
		equal(t, "limit", admission.Limit(), 120)
		equal(t, "held", admission.Permit.Held(), false)
		equal(t, "released", admission.Permit.Release(), false)
		equal(t, "most", admission.MaxInFlight(), 0)
		equal(t, "endpoint", admission.Endpoint(), "")
	}
}

func TestRefusedForWhatIsInFlightItChargesNothing(t *testing.T) {
	limiter, _ := standing(t)
	var permits []mavera.Permit
	for range 3 {
		permits = append(permits, admit(t, limiter, "a", "starter", "/video-analyses").Permit)
	}
	for range 5 {
		refused := admit(t, limiter, "a", "starter", "/video-analyses")
		equal(t, "outcome", refused.Outcome(), mavera.Busy)
		equal(t, "held", refused.Permit.Held(), false)
		equal(t, "in flight", refused.InFlight(), 3)
		equal(t, "most", refused.MaxInFlight(), 3)
		equal(t, "endpoint", refused.Endpoint(), "/video-analyses")
		if refused.RetryAfterSeconds() < 1 {
			t.Error("a refusal without a time to retry")
		}
	}
	equal(t, "used", peek(t, limiter, "a", mavera.PerMinute(60)).Used(), 3)
	equal(t, "elsewhere", admit(t, limiter, "a", "starter", "/focus-groups").Outcome(), mavera.Allowed)
	permits[0].Release()
	equal(t, "when one is back", admit(t, limiter, "a", "starter", "/video-analyses").Outcome(), mavera.Allowed)
}

func TestRefusedForItsQuotaItHoldsNothing(t *testing.T) {
	limiter, clock := standing(t)
	spend := mavera.PerMinute(60)
	if _, err := limiter.CheckN("a", spend, 60); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		refused := admit(t, limiter, "a", "starter", "/mave/chat")
		equal(t, "outcome", refused.Outcome(), mavera.Limited)
		equal(t, "held", refused.Permit.Held(), false)
		equal(t, "retry after", refused.RetryAfter(), time.Minute)
	}
	equal(t, "in flight", inFlight(t, limiter, "a", chat), 0)
	clock.advance(time.Minute)
	equal(t, "outcome", admit(t, limiter, "a", "starter", "/mave/chat").Outcome(), mavera.Allowed)
}

func TestANegotiatedPolicyNeedNotStandInThePlan(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.Policy{Limit: 4, Window: 10 * time.Second}
	for used := 1; used <= 3; used++ {
		admission, err := limiter.AdmitPolicy("a", policy, "/video-analyses")
		equal(t, "error", err, nil)
		equal(t, "limit", admission.Limit(), 4)
		equal(t, "window", admission.Window(), 10*time.Second)
		equal(t, "used", admission.Used(), used)
		equal(t, "in flight", admission.InFlight(), used)
	}
	busy, err := limiter.AdmitPolicy("a", policy, "/video-analyses")
	equal(t, "error", err, nil)
	equal(t, "outcome", busy.Outcome(), mavera.Busy)
	admission, _ := limiter.AdmitPolicy("a", policy, "/")
	equal(t, "used", admission.Used(), 4)
	limited, _ := limiter.AdmitPolicy("a", policy, "/focus-groups")
	equal(t, "outcome", limited.Outcome(), mavera.Limited)
	equal(t, "in flight", inFlight(t, limiter, "a", mavera.NewClass("/focus-groups", 5)), 0)
}

func TestATierAndAPolicyOfOneWindowSpendTheSameQuota(t *testing.T) {
	limiter, _ := standing(t)
	admit(t, limiter, "a", "starter", "/")
	check(t, limiter, "a", mavera.PerMinute(7))
	admission, err := limiter.AdmitPolicy("a", mavera.PerMinute(100), "/")
	equal(t, "error", err, nil)
	equal(t, "used", admission.Used(), 3)
}

func TestAnotherSpellingOfAPathDoesNotSlipPast(t *testing.T) {
	limiter, _ := standing(t)
	for i, target := range []string{
		"/mave/chat", "/mave/chat/", "/mave/chat/7", "/mave/chat?x", "/mave/chat#x", "//mave//chat",
		"/./mave/chat", "/x/../mave/chat", "/%6dave/chat", "/mave%2Fchat", "/mave;v=1/chat;x",
		"/x/%2e%2e/mave/chat", "http://host/mave/chat", "HTTPS://user@[::1]:8443/mave/chat?x", "mave/chat",
	} {
		key := fmt.Sprint("key ", i)
		equal(t, target, admit(t, limiter, key, "starter", target).Endpoint(), "/mave/chat")
		equal(t, target, inFlight(t, limiter, key, chat), 1)
	}
	for _, target := range []string{"/mave/chatter", "/mave", "/Mave/chat", "/v1/mave/chat", "/x?/mave/chat"} {
		equal(t, target, admit(t, limiter, "b", "starter", target).Endpoint(), "")
	}
}

func TestATargetOfAnyLengthIsReadToItsEnd(t *testing.T) {
	limiter, _ := standing(t)
	for _, size := range []int{510, 511, 512, 513, 600, 1 << 16} {
		key := fmt.Sprint("key ", size)
		// The end decides where it leads.
		target := "/" + strings.Repeat("x", size-len("//../video-analyses")) + "/../video-analyses"
		equal(t, "size", len(target), size)
		equal(t, fmt.Sprint(size), admit(t, limiter, key, "starter", target).Endpoint(), "/video-analyses")
		equal(t, fmt.Sprint(size), admit(t, limiter, key, "starter", target+"x").Endpoint(), "")
		query := "/video-analyses?" + strings.Repeat("q", size)
		equal(t, fmt.Sprint(size), admit(t, limiter, key, "starter", query).InFlight(), 2)
	}
}

func TestATierOfAnyLengthIsReadToItsEnd(t *testing.T) {
	for _, size := range []int{62, 63, 64, 65, 1000} {
		name := strings.Repeat("t", size)
		limiter, _ := standing(t, mavera.WithPlan(planOf(t, fmt.Sprintf("[tiers]\n%s = 7\n", name))))
		equal(t, fmt.Sprint(size), admit(t, limiter, "a", name, "/").Limit(), 7)
		_, err := limiter.Admit("a", name+"t", "/")
		fails(t, err, mavera.ErrUnknown, name+"t")
		_, err = limiter.Admit("a", name[1:], "/")
		fails(t, err, mavera.ErrUnknown)
	}
}

func TestAnAdmissionThatIsWrongChargesNothing(t *testing.T) {
	limiter, _ := standing(t)
	for _, wrong := range []struct {
		key, tier, target string
		kind              error
		words             []string
	}{
		{"a", "gold", "/mave/chat", mavera.ErrUnknown, []string{`tier "gold"`}},
		{"a", "Starter", "/mave/chat", mavera.ErrUnknown, []string{`tier "Starter"`}},
		{"a", "", "/mave/chat", mavera.ErrUnknown, []string{"does not list the key"}},
		{"a", "starter\x00", "/mave/chat", mavera.ErrInvalid, []string{"tier", "NUL"}},
		{"a", "starter\x00x", "/mave/chat", mavera.ErrInvalid, []string{"tier", "NUL"}},
		{"a", "\x00", "/mave/chat", mavera.ErrInvalid, []string{"tier", "NUL"}},
		{"a", "starter", "/mave/chat\x00", mavera.ErrInvalid, []string{"target", "NUL"}},
		{"a", "starter", "/\x00/mave/chat", mavera.ErrInvalid, []string{"target", "NUL"}},
		{"a", "starter", "/mave/chat/" + strings.Repeat("x", 600) + "\x00", mavera.ErrInvalid, []string{"target"}},
		{"", "starter", "/mave/chat", mavera.ErrKey, nil},
	} {
		admission, err := limiter.Admit(wrong.key, wrong.tier, wrong.target)
		fails(t, err, wrong.kind, wrong.words...)
		equal(t, "admission", admission, mavera.Admission{})
	}
	for _, wrong := range []struct {
		key    string
		policy mavera.Policy
		target string
		kind   error
		words  []string
	}{
		{"a", mavera.PerMinute(-1), "/mave/chat", mavera.ErrInvalid, []string{"limit is -1"}},
		{"a", mavera.PerMinute(0), "/mave/chat", mavera.ErrCost, []string{"limit 0 in 1m0s"}},
		{"a", mavera.PerMinute(1), "/mave/chat\x00", mavera.ErrInvalid, []string{"target", "NUL"}},
		{"", mavera.PerMinute(1), "/mave/chat", mavera.ErrKey, nil},
	} {
		admission, err := limiter.AdmitPolicy(wrong.key, wrong.policy, wrong.target)
		fails(t, err, wrong.kind, wrong.words...)
		equal(t, "admission", admission, mavera.Admission{})
	}
	equal(t, "used", peek(t, limiter, "a", mavera.PerMinute(60)).Used(), 0)
	equal(t, "in flight", inFlight(t, limiter, "a", chat), 0)
}

func TestAnErrorDoesNotTellTheKey(t *testing.T) {
	limiter, _ := standing(t)
	_, err := limiter.Admit("my-secret", "", "/")
	fails(t, err, mavera.ErrUnknown)
	_, other := limiter.Check("my-secret", mavera.PerMinute(-1))
	if strings.Contains(fmt.Sprint(err, other), "my-secret") {
		t.Errorf("%v, %v", err, other)
	}
}

func TestAKeyIsAnyBytesForPermitsToo(t *testing.T) {
	limiter, _ := standing(t)
	long := strings.Repeat("k", 1<<20)
	for _, key := range []string{"a", "a\x00", "\x00", "\xff", long, long[1:]} {
		for held := 1; held <= 3; held++ {
			equal(t, "in flight", admit(t, limiter, key, "starter", "/video-analyses").InFlight(), held)
		}
		equal(t, "outcome", admit(t, limiter, key, "starter", "/video-analyses").Outcome(), mavera.Busy)
		equal(t, "in flight", inFlight(t, limiter, key, video), 3)
	}
}

func TestAnEndpointWithMoreThanTheRegionsCellsIsNamed(t *testing.T) {
	plan := planOf(t, "[endpoints]\n\"/mave/chat\" = 9\n")
	limiter, _ := standing(t, mavera.WithPlan(plan), mavera.WithPermitCells(8))
	_, err := limiter.Admit("a", "starter", "/mave/chat")
	fails(t, err, mavera.ErrInvalid, `tier "starter"`, "permit cells")
	equal(t, "elsewhere", admit(t, limiter, "a", "starter", "/").Used(), 1)
}

func TestADecisionNamesItsEndpointWhenItsLimiterIsGone(t *testing.T) {
	decision := func() mavera.Decision {
		limiter, err := mavera.New(mavera.WithKeys(1), mavera.WithPlan(planOf(t, aPlan)))
		if err != nil {
			t.Fatal(err)
		}
		defer limiter.Close()
		admission := admit(t, limiter, "a", "starter", "/video-analyses")
		defer admission.Permit.Release()
		return admit(t, limiter, "a", "starter", "/video-analyses").Decision
	}()
	settle()
	equal(t, "endpoint", decision.Endpoint(), "/video-analyses")
	if body := string(decision.Body()); !strings.Contains(body, "in flight on /video-analyses") {
		t.Errorf("%s", body)
	}
}
