package mavera_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func FuzzAdmit(f *testing.F) {
	for _, seed := range []struct{ key, tier, target string }{
		{"a", "starter", "/mave/chat"},
		{"a", "starter", "http://host/x/%2e%2e/video-analyses?x#y"},
		{"a", "", "/"},
		{"", "starter", "/"},
		{"\x00", "starter\x00", "/\x00"},
		{"\xff\xfe", "gold", "%"},
		{"a", "starter", "/mave/chat\x00"},
		{"a", strings.Repeat("t", 64), strings.Repeat("/..", 200)},
		{strings.Repeat("k", 5000), "basic", strings.Repeat("%2F", 171) + "x"},
		{"a", "enterprise", "//;/%%%2/\xff/../?"},
	} {
		f.Add(seed.key, seed.tier, seed.target)
	}
	limiter, clock := standing(f, mavera.WithKeys(1000))
	f.Fuzz(func(t *testing.T, key, tier, target string) {
		// What was spent is over, so that there is room: limits above the cells
		// count it a little longer than their window.
		clock.advance(2 * time.Minute)
		admission, err := limiter.Admit(key, tier, target)
		if key == "" {
			fails(t, err, mavera.ErrKey)
			return
		}
		endpoint, found := limiter.Plan().Endpoint(target)
		used := peek(t, limiter, key, mavera.PerMinute(60)).Used()
		if err != nil {
			if !errors.Is(err, mavera.ErrUnknown) && !errors.Is(err, mavera.ErrInvalid) {
				t.Errorf("unexpected: %v", err)
			}
			equal(t, "admission", admission, mavera.Admission{})
			equal(t, "used", used, 0)
			for _, class := range limiter.Plan().Endpoints() {
				equal(t, "in flight", inFlight(t, limiter, key, class), 0)
			}
			return
		}
		equal(t, "outcome", admission.Outcome(), mavera.Allowed)
		equal(t, "used", used, 1)
		equal(t, "held", admission.Permit.Held(), found)
		equal(t, "endpoint", admission.Endpoint(), endpoint.Name())
		equal(t, "released", admission.Permit.Release(), found)
	})
}
