package mavera_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// Time is real here: waiting is what is tested.

func TestWaitSleepsUntilAdmission(t *testing.T) {
	limiter := running(t)
	policy := mavera.Policy{Limit: 1, Window: 60 * time.Millisecond}
	began := time.Now()
	for i := range 4 {
		decision, err := limiter.Wait(bounded(t), "a", policy)
		equal(t, "error", err, nil)
		equal(t, "outcome", decision.Outcome(), mavera.Allowed)
		equal(t, "used", decision.Used(), 1)
		// The first is at once. Both ends are read to the millisecond.
		took, least := time.Since(began), time.Duration(i)*policy.Window-time.Millisecond
		if took < least || took > least+10*time.Second {
			t.Errorf("admission %d after %v, want %v", i, took, least)
		}
	}
}

func TestWaitRefusesAtOnceWhenTheDeadlineComesFirst(t *testing.T) {
	limiter := running(t)
	policy := mavera.PerMinute(1)
	check(t, limiter, "a", policy)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	began := time.Now()
	decision, err := limiter.Wait(ctx, "a", policy)
	if took := time.Since(began); took > 20*time.Millisecond {
		t.Errorf("took %v", took)
	}
	fails(t, err, context.DeadlineExceeded, "would be admitted in", decision.RetryAfter().String())
	equal(t, "outcome", decision.Outcome(), mavera.Limited)
	if wait := decision.RetryAfter(); wait < 50*time.Second || wait > time.Minute+time.Millisecond {
		t.Errorf("retry after %v", wait)
	}
	equal(t, "the context is not over", ctx.Err(), nil)
}

func TestWaitWaitsIfTheDeadlineComesAfterAdmission(t *testing.T) {
	limiter := running(t)
	policy := mavera.Policy{Limit: 1, Window: 20 * time.Millisecond}
	check(t, limiter, "a", policy)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	decision, err := limiter.Wait(ctx, "a", policy)
	equal(t, "error", err, nil)
	equal(t, "outcome", decision.Outcome(), mavera.Allowed)
}

func TestWaitEndsWhenItsContextDoesWhileItSleeps(t *testing.T) {
	limiter := running(t)
	policy := mavera.PerMinute(1)
	check(t, limiter, "a", policy)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	decision, err := limiter.Wait(ctx, "a", policy)
	fails(t, err, context.Canceled)
	equal(t, "outcome", decision.Outcome(), mavera.Limited)
	equal(t, "used", peek(t, limiter, "a", policy).Used(), 1)
}

func TestWaitChargesNothingForAContextThatIsOver(t *testing.T) {
	limiter := running(t)
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancelLate := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancelLate()
	_, err := limiter.Wait(canceled, "a", mavera.PerMinute(5))
	fails(t, err, context.Canceled)
	_, err = limiter.Wait(late, "a", mavera.PerMinute(5))
	fails(t, err, context.DeadlineExceeded)
	equal(t, "used", peek(t, limiter, "a", mavera.PerMinute(5)).Used(), 0)
}

func TestWaitFailsAsACheckDoes(t *testing.T) {
	limiter := running(t)
	ctx := bounded(t)
	_, err := limiter.Wait(ctx, "", mavera.PerMinute(5))
	fails(t, err, mavera.ErrKey)
	_, err = limiter.Wait(ctx, "a", mavera.PerMinute(0))
	fails(t, err, mavera.ErrCost, "limit 0")
	_, err = limiter.Wait(ctx, "a", mavera.Policy{Limit: 1, Window: time.Hour})
	fails(t, err, mavera.ErrInvalid, "1h0m0s")
	standing, _ := standing(t)
	_, err = standing.Wait(ctx, "a", mavera.PerMinute(5))
	fails(t, err, mavera.ErrClock)
	equal(t, "used", peek(t, standing, "a", mavera.PerMinute(5)).Used(), 0)
}

func TestManyWhoWaitGetExactlyWhatTimeAllows(t *testing.T) {
	limiter := running(t)
	policy := mavera.Policy{Limit: 8, Window: 60 * time.Millisecond}
	const waiters, each = 16, 4
	began := time.Now()
	var mutex sync.Mutex
	var admitted []time.Duration
	var all sync.WaitGroup
	for range waiters {
		all.Add(1)
		go func() {
			defer all.Done()
			for range each {
				decision, err := limiter.Wait(bounded(t), "a", policy)
				if err != nil || !decision.Allowed() {
					t.Errorf("%v, %v", decision, err)
				}
				mutex.Lock()
				admitted = append(admitted, time.Since(began))
				mutex.Unlock()
			}
		}()
	}
	all.Wait()
	equal(t, "admitted", len(admitted), waiters*each)
	// Each is told of after its admission, so that no more can have been told
	// of than fits in the time since the beginning. Both ends of a window are
	// read to the millisecond.
	slices.Sort(admitted)
	for i, told := range admitted {
		if windows := int(told/(policy.Window-time.Millisecond)) + 1; i+1 > windows*policy.Limit {
			t.Fatalf("%d admitted within %v", i+1, told)
		}
	}
}
