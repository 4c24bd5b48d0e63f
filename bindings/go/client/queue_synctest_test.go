//go:build go1.25

package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// virtual runs a test in which time passes only when everybody waits.
func virtual(name string, t *testing.T, test func(t *testing.T, start time.Time)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, time.Now()) })
	})
}

func queueOf(t *testing.T, options Options) *Queue {
	t.Helper()
	queue, err := NewQueue(options, nil)
	if err != nil {
		t.Fatal(err)
	}
	return queue
}

func slotOf(t *testing.T, queue *Queue) *Slot {
	t.Helper()
	slot, err := queue.Slot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func expectPassed(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(start); got != want {
		t.Errorf("%v passed, want %v", got, want)
	}
}

func expectEmpty(t *testing.T, queue *Queue) {
	t.Helper()
	if queue.InFlight() != 0 || queue.Waiting() != 0 {
		t.Errorf("%d in flight, %d waiting", queue.InFlight(), queue.Waiting())
	}
}

func TestQueue(t *testing.T) {
	virtual("requests within the limit are not delayed", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 3})
		for range 3 {
			slot := slotOf(t, queue)
			slot.Answered(200, nil)
			slot.Close()
		}
		expectPassed(t, start, 0)
		expectEmpty(t, queue)
	})

	virtual("the next request waits until a place leaves the window", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1})
		slotOf(t, queue).Close()
		slotOf(t, queue).Close()
		expectPassed(t, start, time.Minute)
	})

	virtual("a limit told by the server is kept", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{})
		for range 3 {
			slot := slotOf(t, queue)
			slot.Answered(200, header("X-RateLimit-Limit: 2"))
			slot.Close()
		}
		if queue.Limit() != 2 {
			t.Errorf("limit %d", queue.Limit())
		}
		expectPassed(t, start, time.Minute)
	})

	virtual("a slot left without an answer counts as sent and frees its place", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1, MaxInFlight: 1})
		slotOf(t, queue).Close()
		expectEmpty(t, queue)
		slotOf(t, queue).Close()
		expectPassed(t, start, time.Minute)
	})

	virtual("a cancelled slot gives its place back exactly", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1, MaxInFlight: 1})
		slot := slotOf(t, queue)
		slot.Cancel()
		slot.Close()
		slot.Cancel()
		slotOf(t, queue).Close()
		expectPassed(t, start, 0)
		expectEmpty(t, queue)
	})

	virtual("a 429 pauses the key", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{})
		slot := slotOf(t, queue)
		answer := slot.Answered(429, header("Retry-After: 7"))
		slot.Close()
		if !answer.Refused || answer.RetryAfter != 7*time.Second {
			t.Errorf("%+v", answer)
		}
		slotOf(t, queue).Close()
		expectPassed(t, start, 7*time.Second)
	})

	virtual("a Retry-After of a redirect pauses nothing", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{})
		slot := slotOf(t, queue)
		slot.Answered(301, header("Retry-After: 7"))
		slot.Close()
		slotOf(t, queue).Close()
		expectPassed(t, start, 0)
	})

	virtual("a turn that comes after the deadline is refused at once", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1})
		slotOf(t, queue).Close()
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Second)
		defer cancel()
		_, err := queue.Slot(ctx)
		var late *QueueTimeoutError
		if !errors.As(err, &late) || !errors.Is(err, context.DeadlineExceeded) ||
			late.Wait != time.Minute || late.Paused != 0 || !late.Timeout() {
			t.Errorf("%+v", err)
		}
		expectPassed(t, start, 0)
		expectEmpty(t, queue)
	})

	virtual("a turn that an answer under way may bring forward is waited for", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 10})
		first, second := slotOf(t, queue), slotOf(t, queue)
		first.Answered(200, header("X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 20"))
		time.AfterFunc(5*time.Second, func() {
			second.Answered(200, header("X-RateLimit-Remaining: 6", "X-RateLimit-Reset: 20"))
		})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if _, err := queue.Slot(ctx); err != nil {
			t.Error(err)
		}
		expectPassed(t, start, 5*time.Second)
	})

	virtual("a turn that comes at the deadline is waited for", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1})
		slotOf(t, queue).Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Nanosecond)
		defer cancel()
		slot, err := queue.Slot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		slot.Close()
		expectPassed(t, start, time.Minute)
	})

	virtual("a pause beyond the patience is refused at once", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{})
		queue.Pause(100 * time.Second)
		_, late := queue.take(t.Context(), turn{patience: 99 * time.Second})
		if late == nil || late.Paused != 100*time.Second || late.cap != CapMaxTotal {
			t.Errorf("%+v", late)
		}
		expectPassed(t, start, 0)
	})

	virtual("an end of waiting gives the place in the queue back", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		held := slotOf(t, queue)
		_, late := queue.take(t.Context(), turn{
			until: start.Add(5 * time.Second), cap: CapMaxWait, patience: Longest,
		})
		if late == nil || late.cap != CapMaxWait || !late.Timeout() {
			t.Errorf("%+v", late)
		}
		expectPassed(t, start, 5*time.Second)
		held.Close()
		slotOf(t, queue).Close()
		expectEmpty(t, queue)
	})

	virtual("a cancelled waiter gives the place in the queue back", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		held := slotOf(t, queue)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("no longer wanted")
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		_, err := queue.Slot(ctx)
		var late *QueueTimeoutError
		if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) ||
			!errors.As(err, &late) || late.Timeout() {
			t.Errorf("%v", err)
		}
		expectPassed(t, start, 5*time.Second)
		held.Close()
		expectEmpty(t, queue)
	})

	virtual("a context that has ended takes no turn", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := queue.Slot(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		expectEmpty(t, queue)
	})

	virtual("a pause reaches those who wait already", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		callers.enter(turn{patience: Longest})
		callers.enter(turn{patience: 10 * time.Second})
		held.Answered(429, header("Retry-After: 30"))
		synctest.Wait()
		callers.expect(-1)
		held.Close()
		callers.group.Wait()
		callers.expect(-1, 0)
		expectPassed(t, start, 30*time.Second)
	})

	virtual("a pause reaches a deadline behind the head", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		held := slotOf(t, queue)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		late := make(chan error, 1)
		go func() {
			_, err := queue.Slot(ctx)
			late <- err
		}()
		synctest.Wait()
		queue.Pause(30 * time.Second)
		if err := <-late; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		expectPassed(t, start, 0)
		held.Close()
	})
}

// callers enter the queue one after the other.
type callers struct {
	t     *testing.T
	queue *Queue
	group sync.WaitGroup
	mu    sync.Mutex
	next  int
	order []int // A caller that was too late is negative.
}

func (c *callers) enter(t turn) {
	number := c.next
	c.next++
	c.group.Add(1)
	go func() {
		defer c.group.Done()
		slot, late := c.queue.take(c.t.Context(), t)
		c.mu.Lock()
		defer c.mu.Unlock()
		if late != nil {
			c.order = append(c.order, -number)
			return
		}
		c.order = append(c.order, number)
		slot.Answered(200, nil)
		slot.Close()
	}()
	synctest.Wait()
}

func (c *callers) expect(order ...int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.order, order) {
		c.t.Errorf("the order is %v, want %v", c.order, order)
	}
}

func TestOrder(t *testing.T) {
	patient := turn{patience: Longest}

	virtual("a later caller never overtakes", t, func(t *testing.T, _ time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		for range 8 {
			callers.enter(patient)
		}
		held.Close()
		callers.group.Wait()
		callers.expect(0, 1, 2, 3, 4, 5, 6, 7)
	})

	virtual("a request that was sent back goes before the others", t, func(t *testing.T, _ time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		callers.enter(patient)
		callers.enter(patient)
		callers.enter(turn{patience: Longest, front: true})
		held.Close()
		callers.group.Wait()
		callers.expect(2, 0, 1)
	})

	virtual("a newcomer does not overtake a waiter that was woken", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{MaxInFlight: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		callers.enter(patient)
		// The place is free, and the waiter has not looked yet.
		queue.mu.Lock()
		queue.ledger.Cancel(held.ticket)
		queue.mu.Unlock()
		if slot, late := queue.take(t.Context(), turn{until: start, patience: Longest}); late == nil {
			t.Errorf("it has ticket %d", slot.ticket)
		}
		callers.group.Wait()
		callers.expect(0)
	})

	virtual("a cancelled slot wakes the next", t, func(t *testing.T, _ time.Time) {
		queue := queueOf(t, Options{Limit: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		callers.enter(patient)
		held.Cancel()
		synctest.Wait()
		callers.expect(0)
	})

	virtual("whoever takes a turn wakes the next", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 2})
		slotOf(t, queue).Close()
		slotOf(t, queue).Close()
		var both sync.WaitGroup
		both.Add(2)
		for range 2 {
			go func() {
				slot, err := queue.Slot(context.Background())
				if err != nil {
					t.Error(err)
				}
				// Neither gives anything back before both are in.
				both.Done()
				both.Wait()
				slot.Close()
			}()
		}
		both.Wait()
		expectPassed(t, start, time.Minute)
	})

	virtual("whoever leaves without a turn wakes the next", t, func(t *testing.T, start time.Time) {
		queue := queueOf(t, Options{Limit: 1})
		callers := &callers{t: t, queue: queue}
		held := slotOf(t, queue)
		// The head waits for an answer, and leaves at 5 s.
		callers.enter(turn{until: start.Add(5 * time.Second), patience: Longest})
		callers.enter(patient)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		callers.expect(0)
		held.Close()
		callers.group.Wait()
		callers.expect(0, 1)
		expectPassed(t, start, 65*time.Second)
	})
}

func TestManyGoroutinesNeverBreakTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		queue := queueOf(t, Options{Limit: 5, MaxInFlight: 3})
		var (
			mu    sync.Mutex
			sent  []time.Time
			most  int
			group sync.WaitGroup
		)
		for range 8 {
			group.Add(1)
			go func() {
				defer group.Done()
				for range 10 {
					slot, err := queue.Slot(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					sent = append(sent, time.Now())
					most = max(most, queue.InFlight())
					mu.Unlock()
					slot.Answered(200, nil)
					slot.Close()
				}
			}()
		}
		group.Wait()
		if len(sent) != 80 || most > 3 {
			t.Errorf("%d sent, at most %d in flight", len(sent), most)
		}
		for i := range len(sent) - 5 {
			if sent[i+5].Sub(sent[i]) < time.Minute {
				t.Errorf("six within %v", sent[i+5].Sub(sent[i]))
			}
		}
		expectPassed(t, start, 15*time.Minute)
		expectEmpty(t, queue)
	})
}

func TestCancellationsAtAnyInstantLoseNoTurn(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			luck := rand.New(rand.NewPCG(seed, 1))
			queue := queueOf(t, Options{Limit: 1 + luck.IntN(3), MaxInFlight: 1 + luck.IntN(2)})
			var group sync.WaitGroup
			for range 20 {
				// Many instants coincide with those of turns.
				wait := time.Duration(luck.IntN(10)) * 30 * time.Second
				hold := time.Duration(luck.IntN(3)) * 30 * time.Second
				end := time.Duration(1+luck.IntN(20)) * 30 * time.Second
				group.Add(1)
				go func() {
					defer group.Done()
					time.Sleep(wait)
					ctx, cancel := context.WithCancel(context.Background())
					timer := time.AfterFunc(end, cancel)
					defer timer.Stop()
					defer cancel()
					slot, err := queue.Slot(ctx)
					if err != nil {
						return
					}
					time.Sleep(hold)
					slot.Close()
				}()
			}
			group.Wait()
			expectEmpty(t, queue)
			slotOf(t, queue).Close() // And nobody is held up for ever.
		})
	}
}
