package mavera_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// together runs work in 8 goroutines that begin at once.
func together(work func(worker int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for worker := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			<-begin
			work(worker)
		}()
	}
	close(begin)
	all.Wait()
}

func TestGoroutinesSpendExactlyTheLimit(t *testing.T) {
	for _, limit := range []int{1, 7, 60, 61, 1000, 20_000} {
		limiter, _ := standing(t)
		policy := mavera.PerMinute(limit)
		var allowed, limited atomic.Int64
		together(func(int) {
			for range limit/8 + 100 {
				decision, err := limiter.Check("a", policy)
				switch {
				case err != nil:
					t.Error(err)
				case decision.Allowed():
					allowed.Add(1)
				default:
					limited.Add(1)
				}
			}
		})
		equal(t, fmt.Sprintf("allowed of %d", limit), allowed.Load(), int64(limit))
		equal(t, "all are answered", allowed.Load()+limited.Load(), int64(8*(limit/8+100)))
		equal(t, "used", peek(t, limiter, "a", policy).Used(), limit)
	}
}

func TestGoroutinesSpendExactlyTheLimitByCostsAndBatches(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.PerMinute(60)
	var units atomic.Int64
	together(func(worker int) {
		for range 100 {
			if worker%2 == 0 {
				if decision, err := limiter.CheckN("a", policy, 3); err == nil && decision.Allowed() {
					units.Add(3)
				}
				continue
			}
			decisions, err := limiter.CheckMany(nil, []string{"a", "b", "a"}, policy)
			if err != nil {
				t.Error(err)
			}
			for i, decision := range decisions {
				if i != 1 && decision.Allowed() {
					units.Add(1)
				}
			}
		}
	})
	equal(t, "units", units.Load(), 60)
	equal(t, "used", peek(t, limiter, "a", policy).Used(), 60)
}

func TestKeysOfGoroutinesDoNotSpendEachOthersQuota(t *testing.T) {
	limiter, _ := standing(t)
	together(func(worker int) {
		key := fmt.Sprint("key ", worker)
		for used := 1; used <= 60; used++ {
			decision, err := limiter.Check(key, mavera.PerMinute(60))
			if err != nil || decision.Used() != used {
				t.Errorf("%s: used %d, want %d, %v", key, decision.Used(), used, err)
				return
			}
		}
	})
}

func TestGoroutinesNeverHoldMoreThanTheClassHas(t *testing.T) {
	limiter := running(t)
	class := mavera.NewClass("work", 3)
	var held, taken atomic.Int64
	together(func(int) {
		for range 500 {
			permit, err := limiter.TryAcquire("a", class)
			if err == mavera.ErrBusy {
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			if now := held.Add(1); now > 3 {
				t.Errorf("%d are held", now)
			}
			taken.Add(1)
			held.Add(-1)
			if !permit.Release() {
				t.Error("not given back")
			}
		}
	})
	equal(t, "in flight", inFlight(t, limiter, "a", class), 0)
	if taken.Load() == 0 {
		t.Error("nobody was served")
	}
}

func TestGoroutinesAreAdmittedWithinBothLimits(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.PerMinute(50)
	var allowed, held atomic.Int64
	together(func(int) {
		for range 200 {
			admission, err := limiter.AdmitPolicy("a", policy, "/video-analyses")
			if err != nil {
				t.Error(err)
				return
			}
			if !admission.Allowed() {
				if admission.Permit.Held() {
					t.Error("a refusal holds a permit")
				}
				continue
			}
			allowed.Add(1)
			if now := held.Add(1); now > 3 {
				t.Errorf("%d are in flight", now)
			}
			held.Add(-1)
			admission.Permit.Release()
		}
	})
	equal(t, "allowed", allowed.Load(), 50)
	equal(t, "in flight", inFlight(t, limiter, "a", video), 0)
}

func TestAPermitIsGivenBackByOneOfMany(t *testing.T) {
	limiter, _ := standing(t)
	class := mavera.NewClass("work", 2)
	acquire(t, limiter, "a", class)
	for range 100 {
		permit := acquire(t, limiter, "a", class)
		var released atomic.Int64
		together(func(int) {
			if permit.Release() {
				released.Add(1)
			}
		})
		equal(t, "released", released.Load(), 1)
		equal(t, "in flight", inFlight(t, limiter, "a", class), 1)
	}
}
