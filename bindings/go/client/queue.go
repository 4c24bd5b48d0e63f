package client

import (
	"container/list"
	"context"
	"net/http"
	"sync"
	"time"
)

// Queue lets requests of one key go, in order, each as soon as it may.
//
// It has no goroutine of its own: the caller at the head waits for the instant
// its turn comes, all others wait for it to leave. Whoever leaves, in whatever
// way, wakes the next. Only a caller that still wants its turn takes it, so
// one that is cancelled has nothing to give back.
//
// Safe for concurrent use.
type Queue struct {
	monitor *Monitor

	mu      sync.Mutex
	ledger  *Ledger
	waiters list.List // Of chan struct{}, to wake them.
}

// turn is how long a caller waits for its turn.
type turn struct {
	until    time.Time     // Zero: as long as it takes.
	cap      Cap           // What until stands for.
	patience time.Duration // The longest pause to wait out.
	front    bool          // Before all others: it had its turn and was sent back.
}

// NewQueue makes a queue. The monitor, which may be nil, is told each quota.
func NewQueue(options Options, monitor *Monitor) (*Queue, error) {
	ledger, err := NewLedger(options)
	if err != nil {
		return nil, err
	}
	if monitor == nil {
		monitor = &Monitor{}
	}
	return &Queue{monitor: monitor, ledger: ledger}, nil
}

// Slot waits for the turn and takes it. It returns a [*QueueTimeoutError] that
// wraps the context's error when the context ends, or at once when it is sure
// that the turn comes after its deadline.
func (q *Queue) Slot(ctx context.Context) (*Slot, error) {
	slot, late := q.take(ctx, turn{patience: 2 * Longest})
	if late != nil {
		return nil, late
	}
	return slot, nil
}

// Pause lets nobody go for so long. A pause is never shortened.
func (q *Queue) Pause(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ledger.Pause(time.Now().Add(d))
	q.wakeAll()
}

// InFlight counts slots taken and not given back.
func (q *Queue) InFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ledger.InFlight()
}

// Waiting counts callers that wait for their turn.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiters.Len()
}

// Limit is requests per window, as configured or as the server last told.
func (q *Queue) Limit() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ledger.Limit()
}

// Status is what the server last told.
func (q *Queue) Status() Status { return q.monitor.Status() }

func (q *Queue) owes() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiters.Len() > 0 || q.ledger.Owes(time.Now())
}

func (q *Queue) take(ctx context.Context, t turn) (*Slot, *QueueTimeoutError) {
	wake := make(chan struct{}, 1)
	q.mu.Lock()
	var place *list.Element
	if t.front {
		place = q.waiters.PushFront(wake)
	} else {
		place = q.waiters.PushBack(wake)
	}
	defer func() {
		q.waiters.Remove(place)
		q.wakeNext()
		q.mu.Unlock()
	}()
	for {
		if ctx.Err() != nil {
			return nil, &QueueTimeoutError{Err: contextError(ctx), cap: CapContext}
		}
		now := time.Now()
		head := q.waiters.Front() == place
		ready, known := q.ledger.ReadyAt(now)
		if head && known && !ready.After(now) {
			return &Slot{queue: q, ticket: q.ledger.Begin(now)}, nil
		}
		if late := q.late(ctx, t, now, ready, known); late != nil {
			return nil, late
		}
		until := t.until
		if head && known && (until.IsZero() || ready.Before(until)) {
			until = ready
		}
		q.mu.Unlock()
		await(ctx, wake, until)
		q.mu.Lock()
	}
}

// late says whether the turn is, or will surely be, too late.
func (q *Queue) late(
	ctx context.Context, t turn, now, ready time.Time, known bool,
) *QueueTimeoutError {
	paused := q.ledger.NotBefore().Sub(now)
	if paused > t.patience {
		return &QueueTimeoutError{Wait: paused, Paused: paused, cap: CapMaxTotal}
	}
	// While a request is open its answer may bring the turn forward. A pause
	// is never shortened.
	settled := q.ledger.NotBefore()
	if known && q.ledger.Unanswered() == 0 {
		settled = latest(settled, ready)
	}
	late := &QueueTimeoutError{Wait: max(settled.Sub(now), 0)}
	if late.Wait == paused {
		late.Paused = paused
	}
	if deadline, ok := ctx.Deadline(); ok && settled.After(deadline) {
		late.Err, late.cap = context.DeadlineExceeded, CapContext
		return late
	}
	if !t.until.IsZero() && (settled.After(t.until) || !now.Before(t.until)) {
		late.cap = t.cap
		return late
	}
	return nil
}

// await waits until woken, until an instant if it is not zero, or for the end
// of the context.
func await(ctx context.Context, wake <-chan struct{}, until time.Time) {
	var over <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-wake:
	case <-over:
	case <-ctx.Done():
	}
}

func (q *Queue) answered(ticket Ticket, status int, header http.Header) Answer {
	wall := time.Now()
	answer := readAnswer(status, header, wall)
	q.mu.Lock()
	now := time.Now()
	q.ledger.Finish(ticket, now, answer.Quota, answer.Refused)
	if answer.Pause > 0 {
		q.ledger.Pause(now.Add(answer.Pause))
		q.wakeAll()
	}
	q.wakeNext()
	q.mu.Unlock()
	q.monitor.Update(answer.Quota, wall)
	return answer
}

func (q *Queue) cancel(ticket Ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ledger.Cancel(ticket)
	q.wakeNext()
}

func (q *Queue) close(ticket Ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ledger.Finish(ticket, time.Now(), Quota{}, false)
	q.ledger.Release(ticket)
	q.wakeNext()
}

func (q *Queue) wakeNext() {
	if head := q.waiters.Front(); head != nil {
		wake(head)
	}
}

func (q *Queue) wakeAll() {
	for waiter := q.waiters.Front(); waiter != nil; waiter = waiter.Next() {
		wake(waiter)
	}
}

func wake(waiter *list.Element) {
	select {
	case waiter.Value.(chan struct{}) <- struct{}{}:
	default: // Woken already, and has not looked yet.
	}
}
