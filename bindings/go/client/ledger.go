package client

import (
	"slices"
	"time"
)

// rounding is by how much a reset may look later than it is: the server rounds
// its stamp up, and the Date it is compared with down.
const rounding = 2 * time.Second

// Ledger is the exact window of one key, kept on the caller's side. It says
// when the next request may go so that a server with a strict sliding window
// never has a reason to refuse it.
//
// Pure: time is an argument, readings of one monotonic clock, such as those of
// [time.Now]. Not safe for concurrent use; [Queue] is.
//
// # Why an entry counts until one window after its answer
//
// The server stamps a request at some unknown time between sending and answer,
// and counts it for one window from then on. An entry that counts here from
// sending until one window after its answer covers that span whatever the
// latency was. So if never more than the limit count here, never more count
// there. A token or leaky bucket has no such proof: it spaces the sendings,
// and two that were apart when sent may arrive within one window.
//
// # Other spenders of the same key
//
// An answer tells what remains, so the server counts the limit less that. Of
// those, ours are at most the entries that still counted when that request was
// sent, and all that are open. What exceeds them was spent by others: it is
// foreign. If nobody else spends, this is 0, always. It is estimated anew by
// every answer and forgotten one window after the last estimate.
//
// Requests begun after the one just answered may not have reached the server
// when it counted. They are held in doubt for one more round trip, so that a
// quota nearly spent by others is not overrun.
//
// # Out of order
//
// An answer to a request that was begun before one already taken into account
// says nothing of limits; it only ends its own entry.
//
// # Progress
//
// With nothing remaining nothing goes before the reset told. If only the
// foreign estimate stands in the way and no request is open, one probe goes at
// the reset, and its answer renews the estimate. Without a reset told, the
// first entry to leave, or the end of the estimate, does the same. Every wait
// has an end: an instant, or an answer under way.
//
// # Limits
//
// A server whose stamps are rounded up counts an entry longer than one window;
// the margin covers that. Without it the surplus shows as foreign units and is
// waited for all the same, only less exactly. A server with fixed windows
// admits more than this ledger asks for.
type Ledger struct {
	limit       int // 0: not limited
	window      time.Duration
	margin      time.Duration
	maxInFlight int // 0: any number

	now  time.Time
	last Ticket
	open []sent // By ticket, which is by time of sending.
	held map[Ticket]struct{}
	// Times of answers: those that count, and those that no longer do but that
	// an open request may have met at the server.
	live []time.Time
	past []time.Time

	applied      Ticket
	foreign      int
	foreignUntil time.Time
	doubt        int
	doubtUntil   time.Time
	resetAt      time.Time // Zero: not told.
	closedUntil  time.Time
	notBefore    time.Time
}

// Ticket names a request that was begun. Later ones are larger.
type Ticket uint64

type sent struct {
	ticket Ticket
	at     time.Time
}

// NewLedger makes a ledger in which nothing counts.
func NewLedger(options Options) (*Ledger, error) {
	options, err := options.checked()
	if err != nil {
		return nil, err
	}
	return &Ledger{
		limit:       options.Limit,
		window:      options.Window,
		margin:      options.Margin,
		maxInFlight: options.MaxInFlight,
		held:        make(map[Ticket]struct{}),
	}, nil
}

// Limit is requests per window, as configured or as the server last told; 0 if
// neither.
func (l *Ledger) Limit() int { return l.limit }

// Window is as configured or as the server last told.
func (l *Ledger) Window() time.Duration { return l.window }

// InFlight counts requests begun and not released.
func (l *Ledger) InFlight() int { return len(l.held) }

// Unanswered counts requests begun and not answered.
func (l *Ledger) Unanswered() int { return len(l.open) }

// NotBefore is the end of the pause; the zero time if there never was one.
func (l *Ledger) NotBefore() time.Time { return l.notBefore }

// Foreign is units of this window believed to be spent by others.
func (l *Ledger) Foreign() int { return l.foreign }

// Used counts own requests that count at now.
func (l *Ledger) Used(now time.Time) int {
	l.expire(now)
	return len(l.live) + len(l.open)
}

// ReadyAt says when the next request may begin: now or later. It is false if
// not before an open request is answered or released.
func (l *Ledger) ReadyAt(now time.Time) (time.Time, bool) {
	now = l.expire(now)
	if l.maxInFlight > 0 && len(l.held) >= l.maxInFlight {
		return time.Time{}, false
	}
	base := latest(now, latest(l.notBefore, l.closedUntil))
	if l.limit == 0 {
		return base, true
	}
	own, ok := l.freeAt(now, 0)
	if !ok {
		return time.Time{}, false
	}
	if l.foreign == 0 && l.doubt == 0 {
		return latest(base, own), true
	}
	free := latest(own, latest(l.doubtUntil, l.foreignUntil))
	earlier := func(at time.Time, ok bool) {
		if ok && at.Before(free) {
			free = at
		}
	}
	earlier(l.freeAt(now, l.foreign+l.doubt))
	earlier(l.freeAt(latest(now, l.doubtUntil), l.foreign))
	earlier(l.freeAt(latest(now, l.foreignUntil), l.doubt))
	if len(l.open) == 0 && !l.resetAt.IsZero() {
		earlier(latest(own, l.resetAt), true)
	}
	return latest(base, free), true
}

// Begin counts a request as sent; only if ReadyAt says now. Its ticket is for
// Finish, Release and Cancel.
func (l *Ledger) Begin(now time.Time) Ticket {
	now = l.expire(now)
	l.last++
	l.open = append(l.open, sent{l.last, now})
	l.held[l.last] = struct{}{}
	return l.last
}

// Finish says that the answer is here, or will never come. With refused the
// server charged nothing, so nothing counts from now on. A ticket already
// finished is ignored.
func (l *Ledger) Finish(ticket Ticket, now time.Time, quota Quota, refused bool) {
	// First of all: what expires now may still have met this request.
	now = l.expire(now)
	begun, ok := l.close(ticket)
	if !ok {
		return
	}
	if !refused {
		l.live = append(l.live, now)
	}
	l.doubt = min(l.doubt, len(l.open))
	if ticket > l.applied {
		l.apply(ticket, begun, now, quota)
	}
	if !quota.HasRemaining && !begun.Before(l.resetAt) {
		// A probe that brought no news is not followed by another at once.
		l.resetAt = time.Time{}
	}
	l.forget()
}

// Release says that the request is no longer in flight. Idempotent.
func (l *Ledger) Release(ticket Ticket) { delete(l.held, ticket) }

// Cancel says that the request was never sent: its place is as if never taken.
func (l *Ledger) Cancel(ticket Ticket) {
	l.close(ticket)
	l.Release(ticket)
	l.doubt = min(l.doubt, len(l.open))
	l.forget()
}

// Pause lets nothing begin before until. A pause is never shortened.
func (l *Ledger) Pause(until time.Time) { l.notBefore = latest(l.notBefore, until) }

// Owes says whether forgetting this ledger would lose anything at now.
func (l *Ledger) Owes(now time.Time) bool {
	now = l.expire(now)
	return len(l.open) > 0 || len(l.held) > 0 || len(l.live) > 0 || l.foreign > 0 ||
		now.Before(l.notBefore) || now.Before(l.closedUntil)
}

// freeAt says when own entries and those of others leave a place, from since
// on; false if an open request has to be answered first.
func (l *Ledger) freeAt(since time.Time, others int) (time.Time, bool) {
	// In this order no sum overflows: a limit told may be close to the largest int.
	leave := others - l.limit + len(l.live) + len(l.open) + 1
	if leave <= 0 {
		return since, true
	}
	if leave > len(l.live) {
		return time.Time{}, false
	}
	return latest(since, l.ends(l.live[leave-1])), true
}

func (l *Ledger) ends(answered time.Time) time.Time {
	return answered.Add(l.window + l.margin)
}

func (l *Ledger) expire(now time.Time) time.Time {
	// A clock reading that is late by a lock must not bring time back.
	l.now = latest(l.now, now)
	now = l.now
	for len(l.live) > 0 && !l.ends(l.live[0]).After(now) {
		if len(l.open) > 0 {
			l.past = append(l.past, l.live[0])
		}
		l.live = l.live[1:]
	}
	if !l.foreignUntil.After(now) {
		l.foreign = 0
	}
	if !l.doubtUntil.After(now) {
		l.doubt = 0
	}
	return now
}

func (l *Ledger) close(ticket Ticket) (begun time.Time, ok bool) {
	at, ok := slices.BinarySearchFunc(l.open, ticket, func(s sent, t Ticket) int {
		return int(int64(s.ticket) - int64(t))
	})
	if !ok {
		return time.Time{}, false
	}
	begun = l.open[at].at
	l.open = slices.Delete(l.open, at, at+1)
	return begun, true
}

func (l *Ledger) forget() {
	for len(l.past) > 0 && (len(l.open) == 0 || !l.ends(l.past[0]).After(l.open[0].at)) {
		l.past = l.past[1:]
	}
}

func (l *Ledger) apply(ticket Ticket, begun, now time.Time, quota Quota) {
	if quota.Window > 0 {
		l.window = min(quota.Window, Longest)
	}
	if quota.Limit > 0 {
		l.limit = quota.Limit
	}
	if !quota.HasRemaining {
		return
	}
	l.applied = ticket
	l.resetAt, l.closedUntil = time.Time{}, time.Time{}
	if quota.HasReset {
		after := quota.ResetAfter
		if after <= l.window+rounding {
			// No unit stays longer than one window; the rest is rounding.
			after = min(after, l.window+l.margin)
		}
		l.resetAt = now.Add(after)
		if quota.Remaining == 0 {
			l.closedUntil = l.resetAt
		}
	}
	if l.limit == 0 {
		return
	}
	spent := max(0, l.limit-quota.Remaining)
	own := len(l.live) + len(l.open)
	for _, answered := range l.past {
		if l.ends(answered).After(begun) {
			own++
		}
	}
	later := 0
	for _, other := range l.open {
		if other.ticket > ticket {
			later++
		}
	}
	l.foreign = max(0, spent-own)
	l.foreignUntil = l.ends(now)
	l.doubt = min(later, max(0, spent-(own-later)))
	l.doubtUntil = now.Add(now.Sub(begun))
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
