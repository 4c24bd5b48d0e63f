package mavera_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// childEnv says which story of children (processes_test.go) this process tells.
const childEnv = "MAVERA_TEST_CHILD"

func TestMain(m *testing.M) {
	if story, ok := os.LookupEnv(childEnv); ok {
		child(story)
		return
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	// Fuzzing leaves a goroutine of its own, for signals.
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if code == 0 && !fuzzing && !goroutinesAreBackTo(before) {
		all := make([]byte, 1<<20)
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", all[:runtime.Stack(all, true)])
		code = 1
	}
	os.Exit(code)
}

// goroutinesAreBackTo gives those that are ending a second for it.
func goroutinesAreBackTo(before int) bool {
	for end := time.Now().Add(time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// manual is a clock that stands until it is moved.
type manual struct{ ms atomic.Int64 }

// The wall time at which a manual clock begins.
const beginning = 1_700_000_000_000

func (m *manual) now() time.Time          { return time.UnixMilli(m.ms.Load()) }
func (m *manual) advance(d time.Duration) { m.ms.Add(d.Milliseconds()) }

// standing makes a limiter whose time stands until the clock is moved.
func standing(t testing.TB, options ...mavera.Option) (*mavera.Limiter, *manual) {
	t.Helper()
	clock := &manual{}
	clock.ms.Store(beginning)
	base := []mavera.Option{mavera.WithKeys(100), mavera.WithNow(clock.now)}
	limiter, err := mavera.New(append(base, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close() })
	return limiter, clock
}

// running makes a limiter that goes by the clock of the host.
func running(t testing.TB, options ...mavera.Option) *mavera.Limiter {
	t.Helper()
	limiter, err := mavera.New(append([]mavera.Option{mavera.WithKeys(100)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close() })
	return limiter
}

// sharedPath is a path for a region, of this test alone.
func sharedPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mavera-go-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "limits")
}

func open(t testing.TB, path string, options ...mavera.Option) *mavera.Limiter {
	t.Helper()
	limiter, err := mavera.Open(path, append([]mavera.Option{mavera.WithKeys(100)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limiter.Close() })
	return limiter
}

// planOf is a plan from a TOML file with this text.
func planOf(t testing.TB, text string) *mavera.Plan {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := mavera.LoadPlan(path)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// bounded is a context for what does not take long, or fails.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, limiter *mavera.Limiter, key string, policy mavera.Policy) mavera.Decision {
	t.Helper()
	decision, err := limiter.Check(key, policy)
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

func peek(t testing.TB, limiter *mavera.Limiter, key string, policy mavera.Policy) mavera.Decision {
	t.Helper()
	decision, err := limiter.Peek(key, policy)
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

func acquire(t testing.TB, limiter *mavera.Limiter, key string, class mavera.Class) mavera.Permit {
	t.Helper()
	permit, err := limiter.TryAcquire(key, class)
	if err != nil {
		t.Fatal(err)
	}
	if !permit.Held() {
		t.Fatal("the permit holds nothing")
	}
	return permit
}

func inFlight(t testing.TB, limiter *mavera.Limiter, key string, class mavera.Class) int {
	t.Helper()
	held, err := limiter.InFlight(key, class)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// fails asserts an error's kind, and that its message names all of words.
func fails(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got error %v, want %v", err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}
