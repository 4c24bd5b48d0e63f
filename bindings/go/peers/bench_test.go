package peers_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
	"golang.org/x/time/rate"
)

const (
	key    = "0123456789abcdef0123456789abcdef"
	plenty = 8_000_000
)

func limiter(b *testing.B) *mavera.Limiter {
	b.Helper()
	l, err := mavera.New(mavera.WithKeys(100_000))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	return l
}

// A call to C and back: no Go program that links the library can do with less.
func BenchmarkEmptyCall(b *testing.B) {
	for b.Loop() {
		capi.Empty()
	}
}

func BenchmarkCheck(b *testing.B) {
	l, policy := limiter(b), mavera.PerMinute(plenty)
	for b.Loop() {
		l.Check(key, policy)
	}
}

func BenchmarkCheckDenied(b *testing.B) {
	l, policy := limiter(b), mavera.PerMinute(1)
	l.Check(key, policy)
	for b.Loop() {
		l.Check(key, policy)
	}
}

func BenchmarkCheckParallel(b *testing.B) {
	l, policy := limiter(b), mavera.PerMinute(plenty)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Check(key, policy)
		}
	})
}

func BenchmarkCheckMany(b *testing.B) {
	l, policy := limiter(b), mavera.PerMinute(plenty)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = "key-" + strconv.Itoa(i)
	}
	var decisions []mavera.Decision
	n := 0
	for b.Loop() {
		if n%len(keys) == 0 {
			decisions, _ = l.CheckMany(decisions[:0], keys, policy)
		}
		n++
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	l := limiter(b)
	class, _ := l.Plan().Endpoint("/mave/chat")
	for b.Loop() {
		permit, _ := l.TryAcquire(key, class)
		permit.Release()
	}
}

func BenchmarkAdmitRelease(b *testing.B) {
	l, policy := limiter(b), mavera.PerMinute(plenty)
	for b.Loop() {
		admission, _ := l.AdmitPolicy(key, policy, "/mave/chat")
		admission.Permit.Release()
	}
}

// golang.org/x/time/rate for each key: a token bucket, which admits up to
// twice its limit in some window, in one process.
func BenchmarkPeerRateInSyncMap(b *testing.B) {
	var limiters sync.Map
	b.ReportAllocs()
	for b.Loop() {
		one, ok := limiters.Load(key)
		if !ok {
			one, _ = limiters.LoadOrStore(key, rate.NewLimiter(plenty/60, plenty))
		}
		one.(*rate.Limiter).Allow()
	}
}

// ring is an exact log of one key: what strictness costs in plain Go.
type ring struct {
	mu   sync.Mutex
	at   []time.Time
	next int
}

func (r *ring) allow(now time.Time, window time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := r.at[r.next]; !oldest.IsZero() && now.Sub(oldest) < window {
		return false
	}
	r.at[r.next] = now
	if r.next++; r.next == len(r.at) {
		r.next = 0
	}
	return true
}

func BenchmarkPeerExactRing(b *testing.B) {
	const limit = 60
	// A window so short that the ring never refuses.
	const window = time.Nanosecond
	var mu sync.Mutex
	rings := map[string]*ring{}
	b.ReportAllocs()
	for b.Loop() {
		mu.Lock()
		one := rings[key]
		if one == nil {
			one = &ring{at: make([]time.Time, limit)}
			rings[key] = one
		}
		mu.Unlock()
		one.allow(time.Now(), window)
	}
}

// writer is as little as a handler can write to.
type writer struct{ header http.Header }

func (w *writer) Header() http.Header         { return w.header }
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }
func (w *writer) WriteHeader(int)             {}

func serve(b *testing.B, handler http.Handler) {
	request, err := http.NewRequest(http.MethodGet, "http://localhost/mave/chat", nil)
	if err != nil {
		b.Fatal(err)
	}
	request.RequestURI = "/mave/chat"
	request.Header.Set("X-API-Key", key)
	w := &writer{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		handler.ServeHTTP(w, request)
	}
}

var bare = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Write([]byte("ok"))
})

func BenchmarkHandlerBare(b *testing.B) { serve(b, bare) }

func BenchmarkHandlerWithMiddleware(b *testing.B) {
	l := limiter(b)
	policy := mavera.PerMinute(plenty)
	serve(b, l.Middleware(mavera.PolicyFrom(
		func(*http.Request, string) (mavera.Policy, bool) { return policy, true },
	))(bare))
}
