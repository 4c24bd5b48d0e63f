package peers_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// api is an application behind the middleware: 5 requests of a key in any
// second. It counts what it has served and refused.
func api(t *testing.T) (server *httptest.Server, served, refused *atomic.Int64) {
	t.Helper()
	limiter, err := mavera.New(mavera.WithKeys(10))
	if err != nil {
		t.Fatal(err)
	}
	served, refused = new(atomic.Int64), new(atomic.Int64)
	limit := limiter.Middleware(mavera.PolicyFrom(
		func(*http.Request, string) (mavera.Policy, bool) {
			return mavera.Policy{Limit: 5, Window: time.Second}, true
		}))
	limited := limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What a network takes. Stamps are rounded up to the millisecond, and
		// Retry-After never says more than the window: after a burst in one
		// millisecond a client as near as this could come one too early.
		time.Sleep(2 * time.Millisecond)
		before := served.Load()
		limited.ServeHTTP(w, r)
		// One request at a time, so that nobody else has been served.
		if served.Load() == before {
			refused.Add(1)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		_ = limiter.Close()
	})
	return server, served, refused
}

func post(t *testing.T, client *retryablehttp.Client, url string) *http.Response {
	t.Helper()
	request, err := retryablehttp.NewRequest("POST", url+"/mave/chat", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-API-Key", "a")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK && string(body) != "hello" {
		t.Errorf("body %q", body)
	}
	return response
}

func TestARetryingClientSucceedsByObeyingRetryAfter(t *testing.T) {
	server, served, refused := api(t)
	client := retryablehttp.NewClient()
	client.Logger = nil
	// A wait as long as the server says is enough, so that one retry is. What
	// the client would wait by itself would not be.
	client.RetryMax = 1
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 2*time.Millisecond

	began := time.Now()
	for i := range 20 {
		if response := post(t, client, server.URL); response.StatusCode != http.StatusOK {
			t.Errorf("request %d: %s", i, response.Status)
		}
	}
	took := time.Since(began)
	if served.Load() != 20 {
		t.Errorf("%d are served", served.Load())
	}
	// 5 at once, and then 5 after each wait of a second.
	if refused.Load() != 3 {
		t.Errorf("%d are refused", refused.Load())
	}
	if took < 3*time.Second-3*time.Millisecond {
		t.Errorf("20 requests at 5 a second took %v", took)
	}
}

func TestAClientThatDoesNotObeyRetryAfterIsRefused(t *testing.T) {
	server, served, _ := api(t)
	client := retryablehttp.NewClient()
	client.Logger = nil
	client.RetryMax = 3
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	client.Backoff = func(_, _ time.Duration, _ int, response *http.Response) time.Duration {
		if got := response.Header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After: %q", got)
		}
		return time.Millisecond
	}
	for range 5 {
		post(t, client, server.URL)
	}
	if response := post(t, client, server.URL); response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the sixth: %s", response.Status)
	}
	if served.Load() != 5 {
		t.Errorf("%d are served", served.Load())
	}
}
