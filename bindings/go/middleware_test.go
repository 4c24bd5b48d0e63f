package mavera_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func newRequest(target string) *http.Request { return httptest.NewRequest("GET", target, nil) }

func record(handler http.Handler, request *http.Request) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func TestTheHeadersAreThereBeforeTheHandlerWrites(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		has(t, w.Header(),
			"X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "59", "X-RateLimit-Reset", "1700000060")
		sameStrings(t, "headers", names(w.Header()),
			"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset")
		// It may say otherwise.
		w.Header().Set("X-RateLimit-Limit", "many")
		w.WriteHeader(http.StatusTeapot)
	}))
	answer := serve(handler, "GET", "/", "a")
	equal(t, "status", answer.Code, http.StatusTeapot)
	has(t, answer.Result().Header, "X-RateLimit-Limit", "many", "X-RateLimit-Remaining", "59")
}

func TestARefusalIsAnsweredAndDoesNotReachTheHandler(t *testing.T) {
	limiter, clock := standing(t)
	reached := 0
	handler := starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		hello(w, r)
	}))
	for range 60 {
		equal(t, "status", serve(handler, "GET", "/", "a").Code, http.StatusOK)
	}
	clock.advance(500 * time.Millisecond)
	answer := serve(handler, "GET", "/", "a")
	equal(t, "status", answer.Code, http.StatusTooManyRequests)
	equal(t, "body", answer.Body.String(),
		`{"error":{"message":"Rate limit exceeded. Please retry after 60 seconds.",`+
			`"type":"rate_limit_error","code":"rate_limit_exceeded","param":null}}`)
	has(t, answer.Header(), "Retry-After", "60", "X-RateLimit-Limit", "60", "X-RateLimit-Remaining", "0",
		"Content-Type", "application/json", "Content-Length", strconv.Itoa(answer.Body.Len()))
	equal(t, "reached", reached, 60)
	equal(t, "another key", serve(handler, "GET", "/", "b").Code, http.StatusOK)
	clock.advance(59*time.Second + 499*time.Millisecond)
	equal(t, "a millisecond early", serve(handler, "GET", "/", "a").Code, http.StatusTooManyRequests)
	clock.advance(time.Millisecond)
	equal(t, "in time", serve(handler, "GET", "/", "a").Code, http.StatusOK)
}

func TestARefusalForWhatIsInFlightNamesTheEndpoint(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, hello)
	for range 3 {
		acquire(t, limiter, "a", video)
	}
	answer := serve(handler, "GET", "/video-analyses", "a")
	equal(t, "status", answer.Code, http.StatusTooManyRequests)
	equal(t, "body", answer.Body.String(),
		`{"error":{"message":"Too many requests in flight on /video-analyses: at most 3 at a time. `+
			`Please retry after 1 seconds.","type":"rate_limit_error",`+
			`"code":"concurrency_limit_exceeded","param":null}}`)
	has(t, answer.Header(), "Retry-After", "1", "X-RateLimit-Remaining", "60")
	equal(t, "elsewhere", serve(handler, "GET", "/", "a").Code, http.StatusOK)
}

func TestAFullTableIsARefusal(t *testing.T) {
	limiter, _ := standing(t, mavera.WithKeys(10))
	fill(t, limiter)
	answer := serve(starter(limiter, hello), "GET", "/", "new")
	equal(t, "status", answer.Code, http.StatusTooManyRequests)
	if answer.Body.Len() == 0 || answer.Header().Get("Retry-After") == "" {
		t.Errorf("%v %s", answer.Header(), answer.Body)
	}
}

func TestTheHeadersAreThoseThatWereAskedFor(t *testing.T) {
	spent := func(options ...mavera.MiddlewareOption) (allowed, refused http.Header) {
		limiter, _ := standing(t)
		handler := starter(limiter, hello, options...)
		allowed = serve(handler, "GET", "/", "a").Header()
		if _, err := limiter.CheckN("a", mavera.PerMinute(60), 59); err != nil {
			t.Fatal(err)
		}
		return allowed, serve(handler, "GET", "/", "a").Header()
	}
	allowed, refused := spent(mavera.WithHeaders(mavera.IETF))
	has(t, allowed, "RateLimit-Policy", `"default";q=60;w=60`, "RateLimit", `"default";r=59;t=60`,
		"X-RateLimit-Limit", "", "Retry-After", "")
	has(t, refused, "RateLimit", `"default";r=0;t=60`, "X-RateLimit-Limit", "", "Retry-After", "60")

	allowed, refused = spent(mavera.WithHeaders(mavera.LegacyAndIETF))
	has(t, allowed, "RateLimit", `"default";r=59;t=60`, "X-RateLimit-Remaining", "59")
	has(t, refused, "RateLimit", `"default";r=0;t=60`, "X-RateLimit-Remaining", "0", "Retry-After", "60")

	allowed, refused = spent(mavera.WithoutHeaders())
	sameStrings(t, "headers", names(allowed), "Content-Type")
	sameStrings(t, "headers", names(refused), "Content-Length", "Content-Type", "Retry-After")
	has(t, refused, "Retry-After", "60")
}

func TestALimiterThatCannotAnswerIsUnavailable(t *testing.T) {
	limiter, _ := standing(t)
	limiter.Close()
	answer := serve(starter(limiter, http.NotFoundHandler()), "GET", "/", "a")
	equal(t, "status", answer.Code, http.StatusServiceUnavailable)
	equal(t, "body", answer.Body.String(),
		`{"error":{"message":"The service is unavailable. Please retry later.",`+
			`"type":"api_error","code":"service_unavailable","param":null}}`)
	sameStrings(t, "headers", names(answer.Header()), "Content-Length", "Content-Type")
}

func TestOnErrorLetsARequestPassOrAnswersItself(t *testing.T) {
	limiter, _ := standing(t)
	var heard error
	handler := starter(limiter, hello, mavera.OnError(
		func(w http.ResponseWriter, r *http.Request, err error) bool {
			heard = err
			if r.URL.Path == "/pass" {
				return true
			}
			w.WriteHeader(http.StatusTeapot)
			return false
		}))
	equal(t, "status", serve(handler, "GET", "/", "a").Code, http.StatusOK)
	equal(t, "error", heard, nil)
	limiter.Close()
	answer := serve(handler, "GET", "/pass", "a")
	equal(t, "status", answer.Code, http.StatusOK)
	equal(t, "body", answer.Body.String(), "hello")
	equal(t, "headers", answer.Header().Get("X-RateLimit-Limit"), "")
	fails(t, heard, mavera.ErrClosed)
	answer = serve(handler, "GET", "/", "a")
	equal(t, "status", answer.Code, http.StatusTeapot)
	equal(t, "body", answer.Body.String(), "")
}

func TestOnErrorHearsWhatIsWrong(t *testing.T) {
	limiter, _ := standing(t)
	var heard error
	hear := mavera.OnError(func(_ http.ResponseWriter, _ *http.Request, err error) bool {
		heard = err
		return true
	})
	serve(limiter.Middleware(mavera.Tier("gold"), hear)(hello), "GET", "/", "a")
	fails(t, heard, mavera.ErrUnknown, `"gold"`)
	serve(limiter.Middleware(hear, mavera.PolicyFrom(func(*http.Request, string) (mavera.Policy, bool) {
		return mavera.PerMinute(-1), true
	}))(hello), "GET", "/", "a")
	fails(t, heard, mavera.ErrInvalid, "limit is -1")
}

func TestAPermitIsHeldUntilTheHandlerReturns(t *testing.T) {
	limiter, _ := standing(t)
	var handler http.Handler
	depth := 0
	handler = starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		depth++
		equal(t, "in flight", inFlight(t, limiter, "a", video), depth)
		hello(w, r)
		if depth < 3 {
			equal(t, "within", serve(handler, "GET", "/video-analyses", "a").Code, http.StatusOK)
		} else {
			equal(t, "beyond", serve(handler, "GET", "/video-analyses", "a").Code, http.StatusTooManyRequests)
		}
	}))
	equal(t, "status", serve(handler, "GET", "/video-analyses", "a").Code, http.StatusOK)
	equal(t, "in flight", inFlight(t, limiter, "a", video), 0)
	equal(t, "a refusal is not charged", peek(t, limiter, "a", mavera.PerMinute(60)).Used(), 3)
}

func TestAPermitIsGivenBackWhenTheHandlerPanics(t *testing.T) {
	limiter, _ := standing(t)
	for _, reason := range []error{http.ErrAbortHandler, errors.New("a defect")} {
		handler := starter(limiter, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			equal(t, "in flight", inFlight(t, limiter, "a", video), 1)
			panic(reason)
		}))
		func() {
			// The panic is the server's to see.
			defer func() { equal(t, "panic", recover(), any(reason)) }()
			serve(handler, "GET", "/video-analyses", "a")
		}()
		equal(t, "in flight", inFlight(t, limiter, "a", video), 0)
	}
}

func TestAPermitOutlivesAClose(t *testing.T) {
	path := sharedPath(t)
	limiter, witness := open(t, path), open(t, path)
	handler := starter(limiter, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		limiter.Close()
		settle()
		equal(t, "in flight", inFlight(t, witness, "a", video), 1)
	}))
	serve(handler, "GET", "/video-analyses", "a")
	equal(t, "in flight", inFlight(t, witness, "a", video), 0)
}

func TestTheHandlerGetsTheWriterAndTheRequestAsTheyAre(t *testing.T) {
	limiter, _ := standing(t)
	recorder, request := httptest.NewRecorder(), newRequest("/video-analyses")
	request.Header.Set("X-API-Key", "a")
	reached := false
	starter(limiter, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached = true
		equal(t, "writer", w, http.ResponseWriter(recorder))
		equal(t, "request", r, request)
	})).ServeHTTP(recorder, request)
	equal(t, "reached", reached, true)
}

func TestThePathThatTheClientSentDecides(t *testing.T) {
	limiter, _ := standing(t, mavera.WithPlan(planOf(t,
		"[endpoints]\n\"/api/slow\" = 1\n\"/slow\" = 2\n")))
	slow, stripped := mavera.NewClass("/api/slow", 1), mavera.NewClass("/slow", 2)
	handler := http.StripPrefix("/api", starter(limiter, http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) {
			equal(t, "path", r.URL.Path, "/slow")
			equal(t, "in flight", inFlight(t, limiter, "a", slow), 1)
			equal(t, "in flight", inFlight(t, limiter, "a", stripped), 0)
		})))
	equal(t, "status", serve(handler, "GET", "/api/slow", "a").Code, http.StatusOK)
	acquire(t, limiter, "a", slow)
	equal(t, "status", serve(handler, "GET", "/api/slow", "a").Code, http.StatusTooManyRequests)
}

func TestARequestThatNoServerHasReadHasThePathOfItsURL(t *testing.T) {
	limiter, _ := standing(t)
	handler := starter(limiter, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		equal(t, "in flight", inFlight(t, limiter, "a", video), 1)
	}))
	for _, where := range []*url.URL{
		{Path: "/video-analyses"},
		{Scheme: "http", Host: "host", Path: "/video-analyses", RawQuery: "x=y"},
		{Path: "/video-analyses/\x00"},
	} {
		request := &http.Request{Method: "GET", URL: where, Header: http.Header{"X-Api-Key": {"a"}}}
		equal(t, where.String(), record(handler, request).Code, http.StatusOK)
	}
}
