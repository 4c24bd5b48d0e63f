package mavera_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestTheHeadersOfADecisionAreByTheirFlavour(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 2, Window: 10 * time.Second}
	check(t, limiter, "a", policy)
	clock.advance(1500 * time.Millisecond)
	allowed := check(t, limiter, "a", policy)
	refused := check(t, limiter, "a", policy)
	legacy := []string{
		"X-RateLimit-Limit", "2", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "1700000010",
	}
	ietf := []string{"RateLimit-Policy", `"default";q=2;w=10`, "RateLimit", `"default";r=0;t=9`}
	for _, want := range []struct {
		which mavera.Headers
		pairs []string
	}{
		{mavera.Legacy, slices.Clone(legacy)},
		{mavera.IETF, ietf},
		{mavera.LegacyAndIETF, slices.Concat(legacy, ietf)},
	} {
		header := http.Header{}
		allowed.SetHeaders(header, want.which)
		has(t, header, want.pairs...)
		equal(t, "how many", len(header), len(want.pairs)/2)
		header = http.Header{}
		refused.SetHeaders(header, want.which)
		// A refusal is reset when its Retry-After is over.
		if want.which != mavera.IETF {
			want.pairs[5] = "1700000011"
		}
		has(t, header, append(want.pairs, "Retry-After", "9")...)
		equal(t, "how many", len(header), len(want.pairs)/2+1)
	}
}

func TestTheHeadersTellOfWhatIsInFlight(t *testing.T) {
	limiter, _ := standing(t)
	header := http.Header{}
	admit(t, limiter, "a", "starter", "/video-analyses").SetHeaders(header, mavera.IETF)
	has(t, header,
		"RateLimit-Policy", `"default";q=60;w=60, "in-flight";q=3;qu="concurrent-requests"`,
		"RateLimit", `"default";r=59;t=60, "in-flight";r=2`)
}

func TestHeadersReplaceWhatWasThereAndLeaveTheOthers(t *testing.T) {
	limiter, _ := standing(t)
	header := http.Header{}
	header.Add("X-RateLimit-Limit", "one")
	header.Add("X-RateLimit-Limit", "two")
	header.Set("Content-Type", "text/plain")
	check(t, limiter, "a", mavera.PerMinute(5)).SetHeaders(header, mavera.Legacy)
	sameStrings(t, "limit", header.Values("X-RateLimit-Limit"), "5")
	has(t, header, "Content-Type", "text/plain")
}

func TestAHeaderThatIsAddedToLeavesItsNeighbours(t *testing.T) {
	limiter, _ := standing(t)
	header := http.Header{}
	check(t, limiter, "a", mavera.PerMinute(5)).SetHeaders(header, mavera.LegacyAndIETF)
	header.Add("X-RateLimit-Limit", "more")
	header.Add("RateLimit-Policy", "more")
	has(t, header, "X-RateLimit-Remaining", "4", "RateLimit", `"default";r=4;t=60`)
	sameStrings(t, "limit", header.Values("X-RateLimit-Limit"), "5", "more")
}

func TestTheBodyOfARefusalIsTheContracts(t *testing.T) {
	limiter, _ := standing(t)
	allowed := check(t, limiter, "a", mavera.PerMinute(1))
	if body := allowed.Body(); body != nil {
		t.Errorf("allowed: %s", body)
	}
	equal(t, "limited", string(check(t, limiter, "a", mavera.PerMinute(1)).Body()),
		`{"error":{"message":"Rate limit exceeded. Please retry after 60 seconds.",`+
			`"type":"rate_limit_error","code":"rate_limit_exceeded","param":null}}`)
	for range 3 {
		admit(t, limiter, "b", "starter", "/video-analyses")
	}
	equal(t, "busy", string(admit(t, limiter, "b", "starter", "/video-analyses").Body()),
		`{"error":{"message":"Too many requests in flight on /video-analyses: at most 3 at a time. `+
			`Please retry after 1 seconds.","type":"rate_limit_error",`+
			`"code":"concurrency_limit_exceeded","param":null}}`)
}

func TestABodyIsWholeHoweverLongItsEndpointIs(t *testing.T) {
	for _, size := range []int{100, 200, 300, 330, 331, 340, 400, 1000, 3000} {
		name := "/"
		for len(name) < size {
			name += "x"
		}
		limiter, _ := standing(t, mavera.WithPlan(planOf(t, "[endpoints]\n\""+name+"\" = 1\n")))
		admit(t, limiter, "a", "starter", name)
		var body struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal(admit(t, limiter, "a", "starter", name).Body(), &body); err != nil {
			t.Errorf("%d: %v", size, err)
		}
		equal(t, "code", body.Error.Code, "concurrency_limit_exceeded")
	}
}
