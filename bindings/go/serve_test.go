package mavera_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// serve is a request as a handler gets it, and its answer.
func serve(handler http.Handler, method, target, key string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, target, nil)
	if key != "" {
		request.Header.Set("X-API-Key", key)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

// hello is an application that says so.
var hello = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = w.Write([]byte("hello"))
})

// names are the headers of an answer, sorted.
func names(header http.Header) []string {
	var all []string
	for name := range header {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func sameStrings(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// has asserts headers, given as name and value in turns. "" is none.
func has(t testing.TB, header http.Header, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		equal(t, pairs[i], header.Get(pairs[i]), pairs[i+1])
	}
}

// starter limits an application as all of its callers had that tier.
func starter(limiter *mavera.Limiter, next http.Handler, options ...mavera.MiddlewareOption) http.Handler {
	return limiter.Middleware(append([]mavera.MiddlewareOption{mavera.Tier("starter")}, options...)...)(next)
}
