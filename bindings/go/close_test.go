package mavera_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// collect runs the garbage collector until done, or for some rounds.
func collect(done func() bool) bool {
	for range 50 {
		runtime.GC()
		if done() {
			return true
		}
		// Cleanups run in goroutines of the runtime.
		time.Sleep(100 * time.Microsecond)
	}
	return done()
}

// settle lets the garbage collector take what nobody uses.
func settle() {
	rounds := 0
	collect(func() bool { rounds++; return rounds > 5 })
}

// mapped counts this process's mappings of the file at path. By its number: the
// file had no name when it was mapped.
func mapped(t *testing.T, path string) func() int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(" %d ", info.Sys().(*syscall.Stat_t).Ino)
	return func() int {
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(maps), inode)
	}
}

// calls are all methods that use the region. Each says by its error or answer
// whether it was answered.
func calls(limiter *mavera.Limiter) map[string]func() error {
	class := mavera.NewClass("work", 4)
	policy := mavera.PerMinute(5)
	// Whoever waits has something to wait for, and does not.
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return map[string]func() error{
		"Check":      func() error { _, err := limiter.Check("a", policy); return err },
		"CheckBytes": func() error { _, err := limiter.CheckBytes([]byte("a"), policy); return err },
		"CheckN":     func() error { _, err := limiter.CheckN("a", policy, 2); return err },
		"Peek":       func() error { _, err := limiter.Peek("a", policy); return err },
		"CheckMany": func() error {
			_, err := limiter.CheckMany(nil, []string{"a", "b", "c"}, policy)
			return err
		},
		"TryAcquire": func() error {
			permit, err := limiter.TryAcquire("a", class)
			if err == nil && !permit.Release() {
				return errors.New("the permit was not given back")
			}
			if err == mavera.ErrBusy {
				return nil
			}
			return err
		},
		"Acquire": func() error {
			_, err := limiter.Acquire(ended, "a", class)
			if err == context.Canceled {
				return nil
			}
			return err
		},
		"InFlight": func() error { _, err := limiter.InFlight("a", class); return err },
		"Admit": func() error {
			admission, err := limiter.Admit("a", "starter", "/mave/chat")
			if admission.Permit.Held() && !admission.Permit.Release() {
				return errors.New("the permit was not given back")
			}
			return err
		},
		"AdmitPolicy": func() error {
			admission, err := limiter.AdmitPolicy("a", policy, "/mave/chat")
			if admission.Permit.Held() && !admission.Permit.Release() {
				return errors.New("the permit was not given back")
			}
			return err
		},
		"Wait": func() error {
			_, err := limiter.Wait(ended, "a", policy)
			if err == context.Canceled {
				return nil
			}
			return err
		},
		"Stats": func() error { _, err := limiter.Stats(); return err },
	}
}

func TestAfterCloseEveryCallSaysSo(t *testing.T) {
	limiter := running(t)
	for name, call := range calls(limiter) {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "closed", limiter.Close(), nil)
	for name, call := range calls(limiter) {
		if name == "Acquire" || name == "Wait" {
			continue
		}
		if err := call(); err != mavera.ErrClosed {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := limiter.Acquire(bounded(t), "a", mavera.NewClass("work", 1))
	fails(t, err, mavera.ErrClosed)
	_, err = limiter.Wait(bounded(t), "a", mavera.PerMinute(1))
	fails(t, err, mavera.ErrClosed)
	// That it is closed comes before what else is wrong.
	_, err = limiter.Check("", mavera.PerMinute(-1))
	fails(t, err, mavera.ErrClosed)
	_, err = limiter.Admit("", "\x00", "\x00")
	fails(t, err, mavera.ErrClosed)
	_, err = limiter.AdmitPolicy("", mavera.PerMinute(-1), "\x00")
	fails(t, err, mavera.ErrClosed)
	equal(t, "closed again", limiter.Close(), nil)
	equal(t, "the plan is no part of it", limiter.Plan().MaxWindow(), time.Minute)
}

func TestWhoeverWaitsHearsOfAClose(t *testing.T) {
	limiter := running(t)
	class, policy := mavera.NewClass("work", 1), mavera.Policy{Limit: 1, Window: 40 * time.Millisecond}
	permit := acquire(t, limiter, "a", class)
	check(t, limiter, "a", policy)
	heard := make(chan error, 2)
	go func() { _, err := limiter.Acquire(bounded(t), "a", class); heard <- err }()
	go func() { _, err := limiter.Wait(bounded(t), "a", policy); heard <- err }()
	time.Sleep(5 * time.Millisecond)
	limiter.Close()
	fails(t, <-heard, mavera.ErrClosed)
	fails(t, <-heard, mavera.ErrClosed)
	equal(t, "released", permit.Release(), true)
}

func TestAPermitThatWasTakenBeforeCloseIsGivenBackAfterIt(t *testing.T) {
	path := sharedPath(t)
	limiter, other := open(t, path), open(t, path)
	permit := acquire(t, limiter, "a", chat)
	admission := admit(t, limiter, "a", "starter", "/mave/chat")
	limiter.Close()
	settle()
	equal(t, "in flight", inFlight(t, other, "a", chat), 2)
	equal(t, "released", permit.Release(), true)
	equal(t, "released twice", permit.Release(), false)
	equal(t, "in flight", inFlight(t, other, "a", chat), 1)
	equal(t, "released", admission.Permit.Release(), true)
	equal(t, "in flight", inFlight(t, other, "a", chat), 0)
}

func TestCloseDuringCallsIsHeardOrNot(t *testing.T) {
	path := sharedPath(t)
	witness := open(t, path)
	for range 20 {
		limiter := open(t, path)
		held := acquire(t, limiter, "held", chat)
		var ready, all sync.WaitGroup
		for range 8 {
			ready.Add(1)
			all.Add(1)
			go func() {
				defer all.Done()
				ready.Done()
				for closed := false; !closed; {
					for name, call := range calls(limiter) {
						err := call()
						if err == mavera.ErrClosed {
							closed = true
						} else if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
					}
				}
			}()
		}
		ready.Wait()
		limiter.Close()
		runtime.GC()
		all.Wait()
		equal(t, "a permit from before", held.Release(), true)
	}
	for _, class := range []mavera.Class{chat, mavera.NewClass("work", 4)} {
		equal(t, "in flight", inFlight(t, witness, "a", class), 0)
	}
}

func TestMemoryIsReturnedAfterClose(t *testing.T) {
	path := sharedPath(t)
	// Small values keep the memory beside them in use.
	var beside []*int32
	for range 16 {
		beside = append(beside, new(int32))
		limiter := open(t, path)
		beside = append(beside, new(int32))
		check(t, limiter, "a", mavera.PerMinute(5))
		limiter.Close()
	}
	count := mapped(t, path)
	if !collect(func() bool { return count() == 0 }) {
		t.Errorf("%d mappings are left", count())
	}
	runtime.KeepAlive(beside)
}

func TestMemoryIsReturnedWhenALimiterIsForgotten(t *testing.T) {
	path := sharedPath(t)
	limiter, err := mavera.Open(path, mavera.WithKeys(10))
	if err != nil {
		t.Fatal(err)
	}
	count := mapped(t, path)
	settle()
	equal(t, "mappings in use", count(), 1)
	runtime.KeepAlive(limiter)
	if !collect(func() bool { return count() == 0 }) {
		t.Errorf("%d mappings are left", count())
	}
}

func TestAPermitKeepsTheMemoryItLiesIn(t *testing.T) {
	path := sharedPath(t)
	limiter := open(t, path)
	permit := acquire(t, limiter, "a", chat)
	limiter.Close()
	count := mapped(t, path)
	settle()
	equal(t, "mappings in use", count(), 1)
	equal(t, "released", permit.Release(), true)
	if !collect(func() bool { return count() == 0 }) {
		t.Errorf("%d mappings are left", count())
	}
}

func TestAMiddlewareOfAClosedLimiterAnswers(t *testing.T) {
	limiter, _ := standing(t)
	handler := limiter.Middleware(mavera.Tier("starter"))(http.NotFoundHandler())
	limiter.Close()
	equal(t, "status", serve(handler, "GET", "/", "a").Code, http.StatusServiceUnavailable)
}
