package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/quick"
	"time"
)

func policy(t testing.TB, r Retry) *Retry {
	t.Helper()
	checked, err := r.checked()
	if err != nil {
		t.Fatal(err)
	}
	return &checked
}

func TestAWaitIsNeverShorterThanRetryAfter(t *testing.T) {
	check := func(attempt uint16, after, backoff, most uint32, factor, jitter uint8, luck float64) bool {
		retry := policy(t, Retry{
			Backoff:    time.Duration(backoff) * time.Millisecond,
			Factor:     1 + float64(factor)/16,
			MaxBackoff: time.Duration(most) * time.Microsecond,
			Jitter:     float64(jitter) / 64,
			Random:     func() float64 { return luck },
		})
		asked := time.Duration(after)*time.Millisecond + time.Duration(attempt)
		return retry.wait(int(attempt), asked) >= asked &&
			retry.wait(int(attempt), Longest) >= Longest
	}
	// Any float at all for luck: infinities and NaN too.
	lucks := []float64{0, 0.5, math.Nextafter(1, 0), math.NaN(), math.Inf(1), math.Inf(-1), -5}
	config := &quick.Config{MaxCount: 3000, Rand: rand.New(rand.NewSource(1))}
	if err := quick.Check(check, config); err != nil {
		t.Error(err)
	}
	for _, luck := range lucks {
		if !check(3, 40_000, 500, 1000, 2, 64, luck) {
			t.Errorf("luck %v", luck)
		}
	}
}

// httpx-retries applied its cap to both and came back too early.
func TestTheBackoffCapDoesNotRetryEarlierThanRetryAfter(t *testing.T) {
	retry := policy(t, Retry{MaxBackoff: time.Second, Jitter: -1})
	if wait := retry.wait(1, time.Minute); wait != time.Minute {
		t.Errorf("waits %v", wait)
	}
}

func TestTheBackoffGrowsByItsFactorUpToItsCap(t *testing.T) {
	retry := policy(t, Retry{
		Backoff: time.Second, Factor: 3, MaxBackoff: 10 * time.Second, Jitter: -1,
	})
	for i, want := range []time.Duration{1, 3, 9, 10, 10} {
		if wait := retry.wait(i+1, 0); wait != want*time.Second {
			t.Errorf("after %d tries %v, want %v s", i+1, wait, want)
		}
	}
	if wait := retry.wait(math.MaxInt, 0); wait != 10*time.Second {
		t.Errorf("after very many %v", wait)
	}
}

func TestNegativeIsNoneAndZeroIsTheDefault(t *testing.T) {
	if wait := policy(t, Retry{Backoff: -1}).wait(3, 0); wait != 0 {
		t.Errorf("waits %v", wait)
	}
	if wait := policy(t, Retry{Jitter: -1}).wait(1, 0); wait != 500*time.Millisecond {
		t.Errorf("waits %v", wait)
	}
}

func TestJitterOnlyLengthens(t *testing.T) {
	retry := policy(t, Retry{
		Backoff: time.Second, Jitter: 0.5, Random: func() float64 { return 0.999 },
	})
	if wait := retry.wait(1, 0); wait < 1400*time.Millisecond || wait > 1500*time.Millisecond {
		t.Errorf("waits %v", wait)
	}
}

func TestAStatusTellsWhatHappened(t *testing.T) {
	retry := policy(t, Retry{})
	for _, test := range []struct {
		status        int
		hasRetryAfter bool
		want          failure
	}{
		{200, false, succeeded},
		{429, false, refused},
		{429, true, refused},
		{503, true, uncertain},
		{503, false, succeeded},
		{502, false, uncertain},
		{504, false, uncertain},
		{500, true, succeeded},
	} {
		if got := retry.ofStatus(test.status, test.hasRetryAfter); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if got := policy(t, Retry{Statuses: []int{418}}).ofStatus(418, false); got != uncertain {
		t.Errorf("an added status: %v", got)
	}
	if got := policy(t, Retry{Statuses: []int{}}).ofStatus(429, true); got != succeeded {
		t.Errorf("no status at all: %v", got)
	}
}

func TestOnlyWhatDoesNoHarmIsRepeated(t *testing.T) {
	retry := policy(t, Retry{})
	for _, test := range []struct {
		failed           failure
		safe, replayable bool
		want             bool
	}{
		{succeeded, true, true, false},
		{refused, false, true, true},
		{refused, true, false, false},
		{unsent, false, true, true},
		{unsent, true, false, false},
		{uncertain, false, true, false},
		{uncertain, true, true, true},
		{uncertain, true, false, false},
	} {
		if got := retry.mayRepeat(test.failed, test.safe, test.replayable); got != test.want {
			t.Errorf("%+v", test)
		}
	}
}

func TestASingleAttemptPassesEverythingOn(t *testing.T) {
	if policy(t, Retry{Attempts: 1}).mayRepeat(unsent, true, true) {
		t.Error("it is repeated")
	}
}

func TestMethodsAndTheIdempotencyKeyMakeARequestSafe(t *testing.T) {
	retry := policy(t, Retry{})
	ask := func(method string, header http.Header) bool {
		return retry.isSafe(&http.Request{Method: method, Header: header})
	}
	for _, method := range []string{"", "GET", "head", "OPTIONS", "TRACE", "PUT", "DELETE"} {
		if !ask(method, nil) {
			t.Errorf("%q is not safe", method)
		}
	}
	for _, method := range []string{"POST", "PATCH", "CONNECT"} {
		if ask(method, nil) {
			t.Errorf("%q is safe", method)
		}
		for _, name := range []string{"Idempotency-Key", "idempotency-KEY", "X-Idempotency-Key"} {
			if !ask(method, http.Header{name: {"1"}}) {
				t.Errorf("%q with %s is not safe", method, name)
			}
		}
	}
}

func TestEachCapIsNamed(t *testing.T) {
	retry := policy(t, Retry{Attempts: 3, MaxTotal: 10 * time.Second})
	for _, test := range []struct {
		attempt       int
		elapsed, wait time.Duration
		want          Cap
	}{
		{1, 0, 10 * time.Second, ""},
		{1, 0, 10*time.Second + 1, CapMaxTotal},
		{1, 1, 10 * time.Second, CapMaxTotal},
		{3, 0, 0, CapAttempts},
		{1, Longest, math.MaxInt64, CapMaxTotal},
	} {
		if got := retry.cap(test.attempt, test.elapsed, test.wait); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

func TestAPolicyOutOfRangeIsRefused(t *testing.T) {
	for _, retry := range []Retry{
		{Attempts: -1},
		{MaxTotal: -1},
		{Factor: 0.5},
		{Factor: math.NaN()},
		{MaxBackoff: -1},
		{Jitter: math.NaN()},
	} {
		if _, err := retry.checked(); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", retry, err)
		}
	}
}

func TestAnErrorTellsWhetherTheRequestWasSent(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, test := range []struct {
		err  error
		want failure
	}{
		{dial, unsent},
		{&url.Error{Op: "Get", Err: fmt.Errorf("wrapped: %w", dial)}, unsent},
		{&net.OpError{Op: "proxyconnect", Err: dial}, unsent},
		{&net.OpError{Op: "read", Err: io.EOF}, uncertain},
		{io.ErrUnexpectedEOF, uncertain},
		{errors.New("anything"), uncertain},
		{&tls.CertificateVerificationError{Err: errors.New("unknown")}, succeeded},
	} {
		if got := ofError(test.err); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestWhatNetHTTPWillNeverSendIsRecognised(t *testing.T) {
	base := &http.Transport{}
	header := http.Header{}
	for _, request := range []*http.Request{
		{Header: header},
		{URL: &url.URL{Scheme: "foo", Host: "a"}, Header: header},
		{URL: &url.URL{Scheme: "http"}, Header: header},
		{URL: &url.URL{Scheme: "http", Host: "a"}},
		{URL: &url.URL{Scheme: "http", Host: "a"}, Header: header, Method: "a b"},
		{URL: &url.URL{Scheme: "http", Host: "a"}, Header: http.Header{"a\n": {"b"}}},
		{URL: &url.URL{Scheme: "http", Host: "a"}, Header: http.Header{"A": {"b\n"}}},
	} {
		response, err := base.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
			t.Fatalf("%+v was sent", request)
		}
		if ofError(err) != succeeded {
			t.Errorf("%v is repeated", err)
		}
	}
}

func TestAGaveUpErrorWorksWithIsAndAs(t *testing.T) {
	err := error(&url.Error{Op: "Get", Err: &GaveUpError{
		Attempts: 2, Elapsed: 1500 * time.Millisecond, RetryAfter: 40 * time.Second,
		Cap: CapContext, StatusCode: 429, Err: context.DeadlineExceeded,
	}})
	var gaveUp *GaveUpError
	if !errors.Is(err, ErrGaveUp) || !errors.Is(err, context.DeadlineExceeded) ||
		!errors.As(err, &gaveUp) {
		t.Errorf("%v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error("it is everything")
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Error("it is no timeout")
	}
	want := "mavera-rl: gave up after 2 attempts in 1.500 s (Retry-After 40s): " +
		"the cap is context, the last status 429: context deadline exceeded"
	if gaveUp.Error() != want {
		t.Errorf("%q", gaveUp)
	}
	if (&GaveUpError{Cap: CapAttempts}).Timeout() {
		t.Error("a cap on attempts is a timeout")
	}
}
