package mavera_test

import (
	"net/http"
	"testing"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestAnAPIKeyIsInEitherOfTwoHeaders(t *testing.T) {
	for _, want := range []struct {
		key     string
		headers []string
	}{
		{"", nil},
		{"a", []string{"X-API-Key", "a"}},
		{"a", []string{"x-api-key", "a"}},
		{"a b", []string{"X-API-Key", " \ta b\t "}},
		{"", []string{"X-API-Key", " \t"}},
		{"a", []string{"Authorization", "Bearer a"}},
		{"a", []string{"Authorization", "bearer a"}},
		{"a", []string{"Authorization", "bEARER  \ta "}},
		{"", []string{"Authorization", "Bearer"}},
		{"", []string{"Authorization", "Bearer "}},
		{"", []string{"Authorization", "Bearer  \t"}},
		{"", []string{"Authorization", "Bearera"}},
		{"", []string{"Authorization", "Basic dXNlcjpwYXNz"}},
		{"", []string{"Authorization", "a"}},
		{"", []string{"Authorization", ""}},
		{"Bearer a", []string{"Authorization", "Bearer Bearer a"}},
		// X-API-Key says more of what it is.
		{"a", []string{"X-API-Key", "a", "Authorization", "Bearer b"}},
		{"b", []string{"X-API-Key", " ", "Authorization", "Bearer b"}},
		// The first, as for all of net/http.
		{"a", []string{"X-API-Key", "a", "X-API-Key", "b"}},
	} {
		request := &http.Request{Header: http.Header{}}
		for i := 0; i < len(want.headers); i += 2 {
			request.Header.Add(want.headers[i], want.headers[i+1])
		}
		equal(t, "key", mavera.APIKey(request), want.key)
	}
}

func TestAClientsAddressIsItsPeersAndNotWhatItClaims(t *testing.T) {
	for remote, address := range map[string]string{
		"192.0.2.1:1234":           "192.0.2.1",
		"[2001:db8::1]:1234":       "2001:db8::1",
		"[fe80::1%eth0]:1234":      "fe80::1%eth0",
		"192.0.2.1":                "192.0.2.1",
		"@":                        "@",
		"":                         "",
		"[::ffff:192.0.2.1]:65535": "::ffff:192.0.2.1",
	} {
		request := &http.Request{RemoteAddr: remote, Header: http.Header{}}
		for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP"} {
			request.Header.Set(name, "203.0.113.9")
		}
		equal(t, remote, mavera.ClientAddress(request), address)
	}
}

func TestAClientThatClaimsAnotherAddressSpendsItsOwnQuota(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, hello, mavera.KeyFrom(mavera.ClientAddress))
	for i := range 61 {
		request := newRequest("/")
		request.Header.Set("X-Forwarded-For", string(rune('a'+i)))
		answer := record(handler, request)
		want := http.StatusOK
		if i == 60 {
			want = http.StatusTooManyRequests
		}
		equal(t, "status", answer.Code, want)
	}
}

func TestACallerIsWhomeverTheApplicationSays(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, hello, mavera.KeyFrom(func(r *http.Request) string {
		return r.URL.Query().Get("key")
	}))
	has(t, serve(handler, "GET", "/?key=a", "x").Header(), "X-RateLimit-Remaining", "59")
	has(t, serve(handler, "GET", "/?key=a", "y").Header(), "X-RateLimit-Remaining", "58")
	has(t, serve(handler, "GET", "/?key=b", "x").Header(), "X-RateLimit-Remaining", "59")
	equal(t, "nobody", serve(handler, "GET", "/", "x").Code, http.StatusUnauthorized)
}

func TestWithoutAKeyARequestIsUnauthorized(t *testing.T) {
	limiter, _ := standing(t)
	answer := serve(starter(limiter, http.NotFoundHandler()), "GET", "/", "")
	equal(t, "status", answer.Code, http.StatusUnauthorized)
	equal(t, "body", answer.Body.String(),
		`{"error":{"message":"No API key. Send it as X-API-Key or Authorization: Bearer.",`+
			`"type":"authentication_error","code":"invalid_api_key","param":null}}`)
	has(t, answer.Header(), "WWW-Authenticate", "Bearer", "Content-Type", "application/json")
	sameStrings(t, "headers", names(answer.Header()), "Content-Length", "Content-Type", "Www-Authenticate")
}

func TestWithoutAKeyARequestMayPass(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, hello, mavera.PassWithoutKey())
	for range 100 {
		answer := serve(handler, "GET", "/", "")
		equal(t, "status", answer.Code, http.StatusOK)
		equal(t, "limit", answer.Header().Get("X-RateLimit-Limit"), "")
	}
	has(t, serve(handler, "GET", "/", "a").Header(), "X-RateLimit-Remaining", "59")
}

func TestAKeyThatThePlanDoesNotListIsUnauthorized(t *testing.T) {
	limiter, _ := standing(t, mavera.WithPlan(planOf(t, aPlan)))
	never := mavera.OnError(func(_ http.ResponseWriter, _ *http.Request, err error) bool {
		t.Errorf("an error: %v", err)
		return true
	})
	byThePlan := func(*http.Request, string) string { return "" }
	negotiated := func(*http.Request, string) (mavera.Policy, bool) { return mavera.Policy{}, false }
	for _, options := range [][]mavera.MiddlewareOption{
		{never},
		{never, mavera.PassWithoutKey()},
		{never, mavera.TierFrom(byThePlan)},
		{never, mavera.PolicyFrom(negotiated)},
	} {
		handler := limiter.Middleware(options...)(hello)
		answer := serve(handler, "GET", "/mave/chat", "unknown")
		equal(t, "status", answer.Code, http.StatusUnauthorized)
		equal(t, "body", answer.Body.String(),
			`{"error":{"message":"Invalid API key.","type":"authentication_error",`+
				`"code":"invalid_api_key","param":null}}`)
		has(t, answer.Header(), "WWW-Authenticate", "Bearer", "Content-Type", "application/json",
			"X-RateLimit-Limit", "")
		has(t, serve(handler, "GET", "/", "key-one").Header(), "X-RateLimit-Limit", "3")
	}
}

func TestATierIsWhatTheApplicationSaysOfRequestAndKey(t *testing.T) {
	limiter, _ := standing(t, mavera.WithPlan(planOf(t, aPlan)))
	handler := limiter.Middleware(mavera.TierFrom(func(r *http.Request, key string) string {
		equal(t, "key", key, r.Header.Get("X-API-Key"))
		return r.URL.Query().Get("tier")
	}))(hello)
	has(t, serve(handler, "GET", "/?tier=trial", "a").Header(), "X-RateLimit-Limit", "5")
	has(t, serve(handler, "GET", "/?tier=starter", "a").Header(), "X-RateLimit-Limit", "3")
	has(t, serve(handler, "GET", "/", "key-two").Header(), "X-RateLimit-Limit", "50")
	// That tier is the application's mistake, and not the caller's.
	equal(t, "status", serve(handler, "GET", "/?tier=gold", "a").Code, http.StatusServiceUnavailable)
}

func TestANegotiatedPolicyComesBeforeTheTier(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, hello, mavera.PolicyFrom(func(_ *http.Request, key string) (mavera.Policy, bool) {
		return mavera.PerMinute(1), key == "big"
	}))
	has(t, serve(handler, "GET", "/", "a").Header(), "X-RateLimit-Limit", "60")
	has(t, serve(handler, "GET", "/", "big").Header(), "X-RateLimit-Limit", "1")
	equal(t, "status", serve(handler, "GET", "/", "big").Code, http.StatusTooManyRequests)
}
