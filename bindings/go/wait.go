package mavera

import (
	"context"
	"fmt"
	"time"
)

// Wait waits until key's policy admits a unit, and charges it. It sleeps
// exactly until admission is possible if nobody else spends, and no longer than
// ctx allows.
//
// Refuses at once if ctx's deadline comes first: the error wraps
// [context.DeadlineExceeded], and the decision says when it would have been. A
// context that ends meanwhile gives its error. Otherwise fails as
// [Limiter.Check]; with [ErrClock] if the limiter has [WithNow], whose time does
// not pass by waiting.
func (l *Limiter) Wait(ctx context.Context, key string, policy Policy) (Decision, error) {
	if l.now != nil {
		return Decision{}, ErrClock
	}
	var timer *time.Timer
	for {
		if err := ctx.Err(); err != nil {
			return Decision{}, err
		}
		decision, err := l.Check(key, policy)
		if err != nil || decision.Allowed() {
			return decision, err
		}
		pause := decision.RetryAfter()
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return decision, fmt.Errorf("mavera: would be admitted in %v: %w",
				pause, context.DeadlineExceeded)
		}
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-ctx.Done():
			return decision, ctx.Err()
		case <-timer.C:
		}
	}
}
