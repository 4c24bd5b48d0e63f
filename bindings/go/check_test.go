package mavera_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestATierIsCountedDownAndThenRefused(t *testing.T) {
	limiter, _ := standing(t)
	for used := 1; used <= 60; used++ {
		decision := check(t, limiter, "a", mavera.PerMinute(60))
		if !decision.Allowed() || decision.Used() != used || decision.Remaining() != 60-used {
			t.Fatalf("request %d: %v, used %d", used, decision, decision.Used())
		}
	}
	refused := check(t, limiter, "a", mavera.PerMinute(60))
	equal(t, "outcome", refused.Outcome(), mavera.Limited)
	equal(t, "allowed", refused.Allowed(), false)
	equal(t, "used", refused.Used(), 60)
	equal(t, "remaining", refused.Remaining(), 0)
	equal(t, "limit", refused.Limit(), 60)
	equal(t, "window", refused.Window(), time.Minute)
	equal(t, "untracked", refused.Untracked(), false)
}

func TestAnAllowedDecisionSaysWhenItsOldestUnitLeaves(t *testing.T) {
	limiter, clock := standing(t)
	check(t, limiter, "a", mavera.PerMinute(5))
	clock.advance(12_345 * time.Millisecond)
	decision := check(t, limiter, "a", mavera.PerMinute(5))
	equal(t, "retry after", decision.RetryAfter(), 0)
	equal(t, "retry after in seconds", decision.RetryAfterSeconds(), 0)
	equal(t, "reset after", decision.ResetAfter(), 47_655*time.Millisecond)
	equal(t, "reset", decision.Reset().UnixMilli(), int64(beginning+60_000))
	equal(t, "in flight", decision.InFlight()+decision.MaxInFlight(), 0)
	equal(t, "endpoint", decision.Endpoint(), "")
}

func TestWaitingAMillisecondLessThanSaidIsNotEnough(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 2, Window: 10 * time.Second}
	check(t, limiter, "a", policy)
	clock.advance(1234 * time.Millisecond)
	check(t, limiter, "a", policy)
	clock.advance(765 * time.Millisecond)
	refused := check(t, limiter, "a", policy)
	equal(t, "retry after", refused.RetryAfter(), 8001*time.Millisecond)
	equal(t, "retry after in seconds, rounded up", refused.RetryAfterSeconds(), 9)

	clock.advance(refused.RetryAfter() - time.Millisecond)
	early := check(t, limiter, "a", policy)
	equal(t, "a millisecond early", early.Outcome(), mavera.Limited)
	equal(t, "what is left to wait", early.RetryAfter(), time.Millisecond)
	equal(t, "at least a second in a header", early.RetryAfterSeconds(), 1)

	clock.advance(time.Millisecond)
	equal(t, "in time", check(t, limiter, "a", policy).Outcome(), mavera.Allowed)
	equal(t, "the second unit is in the window", check(t, limiter, "a", policy).RetryAfter(),
		1234*time.Millisecond)
}

func TestNoSpanOfAWindowHoldsMoreThanTheLimit(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 7, Window: 100 * time.Millisecond}
	var admitted []int64
	for range 2000 {
		if check(t, limiter, "a", policy).Allowed() {
			admitted = append(admitted, clock.ms.Load())
		}
		clock.advance(time.Duration(len(admitted)%5) * time.Millisecond)
	}
	for i := policy.Limit; i < len(admitted); i++ {
		if span := admitted[i] - admitted[i-policy.Limit]; span < 100 {
			t.Fatalf("%d admissions within %d ms", policy.Limit+1, span)
		}
	}
	// Strict is not enough: what may be spent can be spent.
	span := clock.ms.Load() - beginning
	if least := int(span/100) * policy.Limit; len(admitted) < least-policy.Limit {
		t.Errorf("%d admitted in %d ms, want about %d", len(admitted), span, least)
	}
}

func TestARefusalChargesNothing(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 1, Window: time.Second}
	check(t, limiter, "a", policy)
	for range 9 {
		clock.advance(100 * time.Millisecond)
		equal(t, "outcome", check(t, limiter, "a", policy).Outcome(), mavera.Limited)
	}
	clock.advance(100 * time.Millisecond)
	equal(t, "outcome", check(t, limiter, "a", policy).Outcome(), mavera.Allowed)
}

func TestTimeThatRunsBackwardsAdmitsNoMore(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 1, Window: time.Second}
	check(t, limiter, "a", policy)
	for _, step := range []time.Duration{-time.Millisecond, -time.Second, -time.Hour} {
		clock.advance(step)
		equal(t, step.String(), check(t, limiter, "a", policy).Outcome(), mavera.Limited)
	}
}

func TestAPeekAnswersAsACheckAndChargesNothing(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.PerMinute(2)
	for range 5 {
		decision := peek(t, limiter, "a", policy)
		equal(t, "outcome", decision.Outcome(), mavera.Allowed)
		equal(t, "used", decision.Used(), 0)
		equal(t, "remaining", decision.Remaining(), 2)
	}
	check(t, limiter, "a", policy)
	equal(t, "used", peek(t, limiter, "a", policy).Used(), 1)
	check(t, limiter, "a", policy)
	refused := peek(t, limiter, "a", policy)
	equal(t, "outcome", refused.Outcome(), mavera.Limited)
	equal(t, "retry after", refused.RetryAfter(), time.Minute)
}

func TestACostIsChargedWholeOrNotAtAll(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.PerMinute(10)
	cost := func(units int) mavera.Decision {
		t.Helper()
		decision, err := limiter.CheckN("a", policy, units)
		if err != nil {
			t.Fatal(err)
		}
		return decision
	}
	equal(t, "used", cost(4).Used(), 4)
	clock.advance(time.Second)
	equal(t, "used", cost(4).Used(), 8)
	refused := cost(3)
	equal(t, "outcome", refused.Outcome(), mavera.Limited)
	equal(t, "used", refused.Used(), 8)
	equal(t, "remaining", refused.Remaining(), 2)
	equal(t, "retry after", refused.RetryAfter(), 59*time.Second)
	equal(t, "seven wait for both", cost(7).RetryAfter(), time.Minute)
	equal(t, "a cost of 0 charges nothing", cost(0).Used(), 8)
	equal(t, "two fit", cost(2).Used(), 10)
	nothing := cost(0)
	equal(t, "nothing always fits", nothing.Outcome(), mavera.Allowed)
	equal(t, "used", nothing.Used(), 10)
	equal(t, "remaining", nothing.Remaining(), 0)
	equal(t, "as much as before", cost(1).Used(), 10)
}

func TestAKeyUnderTwoWindowsIsTwoKeys(t *testing.T) {
	limiter, clock := standing(t)
	second, minute := mavera.Policy{Limit: 1, Window: time.Second}, mavera.PerMinute(2)
	check(t, limiter, "a", second)
	check(t, limiter, "a", minute)
	equal(t, "by the second", check(t, limiter, "a", second).Outcome(), mavera.Limited)
	equal(t, "by the minute", check(t, limiter, "a", minute).Used(), 2)
	clock.advance(time.Second)
	equal(t, "by the second", check(t, limiter, "a", second).Outcome(), mavera.Allowed)
	equal(t, "by the minute", check(t, limiter, "a", minute).Outcome(), mavera.Limited)
}

func TestAnotherLimitKeepsWhatWasSpent(t *testing.T) {
	limiter, clock := standing(t)
	for range 5 {
		check(t, limiter, "a", mavera.PerMinute(10))
		clock.advance(time.Second)
	}
	lowered := check(t, limiter, "a", mavera.PerMinute(3))
	equal(t, "outcome", lowered.Outcome(), mavera.Limited)
	equal(t, "used, more than the limit", lowered.Used(), 5)
	equal(t, "remaining", lowered.Remaining(), 0)
	equal(t, "until the third unit has left", lowered.RetryAfter(), 57*time.Second)
	raised := check(t, limiter, "a", mavera.PerMinute(20))
	equal(t, "outcome", raised.Outcome(), mavera.Allowed)
	equal(t, "used", raised.Used(), 6)
	equal(t, "remaining", raised.Remaining(), 14)
}

func TestAWindowIsRoundedUpToMilliseconds(t *testing.T) {
	limiter, _ := standing(t)
	for window, rounded := range map[time.Duration]time.Duration{
		0:                             time.Minute,
		1:                             time.Millisecond,
		time.Millisecond:              time.Millisecond,
		time.Millisecond + 1:          2 * time.Millisecond,
		1500 * time.Microsecond:       2 * time.Millisecond,
		time.Minute - 1:               time.Minute,
		999_999_999 * time.Nanosecond: time.Second,
	} {
		decision := check(t, limiter, "a", mavera.Policy{Limit: 1000, Window: window})
		equal(t, window.String(), decision.Window(), rounded)
	}
}

func TestAKeyIsAnyBytes(t *testing.T) {
	limiter, _ := standing(t)
	long := strings.Repeat("k", 1<<20)
	keys := []string{
		"a", "A", "a\x00", "a\x00b", "\x00", "\x00\x00", " ", "\xff\xfe", "ключ", "a\n",
		long, long[:len(long)-1], long[:len(long)-1] + "l", "l" + long[1:],
	}
	for _, key := range keys {
		for _, want := range []mavera.Outcome{mavera.Allowed, mavera.Limited} {
			got := check(t, limiter, key, mavera.PerMinute(1)).Outcome()
			equal(t, fmt.Sprintf("%.20q of %d bytes", key, len(key)), got, want)
		}
	}
}

func TestAKeyInBytesIsTheSameKeyAsAString(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.PerMinute(5)
	key := []byte("a\x00\xff")
	check(t, limiter, string(key), policy)
	decision, err := limiter.CheckBytes(key, policy)
	equal(t, "error", err, nil)
	equal(t, "used", decision.Used(), 2)
	// The key is not kept: the buffer may be used for the next one.
	copy(key, "xyz")
	decision, err = limiter.CheckBytes(key, policy)
	equal(t, "error", err, nil)
	equal(t, "used", decision.Used(), 1)
	equal(t, "used", check(t, limiter, "a\x00\xff", policy).Used(), 3)
	for _, empty := range [][]byte{nil, {}, key[:0]} {
		_, err = limiter.CheckBytes(empty, policy)
		fails(t, err, mavera.ErrKey)
	}
}

func TestManyKeysAreCheckedInTheirOrder(t *testing.T) {
	limiter, _ := standing(t)
	policy := mavera.PerMinute(2)
	// More than the library is asked for at once, of different lengths.
	var keys []string
	for i := range 40 {
		keys = append(keys, strings.Repeat("k", i+1))
	}
	keys = append(keys, "x", "x", "x", strings.Repeat("y", 1<<20))
	first := check(t, limiter, keys[20], policy)
	decisions, err := limiter.CheckMany([]mavera.Decision{first}, keys, policy)
	if err != nil || len(decisions) != len(keys)+1 {
		t.Fatalf("%d decisions, %v", len(decisions), err)
	}
	equal(t, "what was there is kept", decisions[0], first)
	for i, decision := range decisions[1:] {
		want := 1
		switch i {
		case 20, 41, 42:
			want = 2
		}
		equal(t, fmt.Sprintf("used of %d", i), decision.Used(), want)
		equal(t, fmt.Sprintf("allowed of %d", i), decision.Allowed(), i != 42)
	}
	for i, key := range keys[:40] {
		want := 1
		if i == 20 {
			want = 2
		}
		equal(t, fmt.Sprintf("used of %d afterwards", i), peek(t, limiter, key, policy).Used(), want)
	}
}

func TestNoKeysAreNoDecisions(t *testing.T) {
	limiter, _ := standing(t)
	decisions, err := limiter.CheckMany(nil, nil, mavera.PerMinute(1))
	if len(decisions) != 0 || err != nil {
		t.Errorf("%v, %v", decisions, err)
	}
}

func TestManyKeysOfWhichOneIsWrongChargeNothing(t *testing.T) {
	limiter, _ := standing(t)
	before := []mavera.Decision{{}}
	for _, wrong := range []struct {
		keys   []string
		policy mavera.Policy
		kind   error
		words  []string
	}{
		{[]string{"a", "", "b"}, mavera.PerMinute(5), mavera.ErrKey, nil},
		{[]string{"a", "b"}, mavera.PerMinute(0), mavera.ErrCost, []string{"cost 1", "limit 0"}},
		{[]string{"a", "b"}, mavera.PerMinute(-1), mavera.ErrInvalid, []string{"limit is -1"}},
		{[]string{"a"}, mavera.Policy{Limit: 1, Window: time.Hour}, mavera.ErrInvalid, []string{"1h0m0s"}},
	} {
		decisions, err := limiter.CheckMany(before, wrong.keys, wrong.policy)
		fails(t, err, wrong.kind, wrong.words...)
		equal(t, "decisions", len(decisions), 1)
	}
	equal(t, "used", peek(t, limiter, "a", mavera.PerMinute(5)).Used(), 0)
}

func TestWhatIsOutOfRangeIsNamed(t *testing.T) {
	limiter, _ := standing(t)
	minute := mavera.PerMinute
	for _, wrong := range []struct {
		key    string
		policy mavera.Policy
		cost   int
		kind   error
		words  []string
	}{
		{"a", minute(-1), 1, mavera.ErrInvalid, []string{"limit is -1", "0 to 8388608"}},
		{"a", minute(mavera.MaxLimit + 1), 1, mavera.ErrInvalid, []string{"limit is 8388609"}},
		{"a", minute(math.MaxInt), 1, mavera.ErrInvalid, []string{"limit is"}},
		{"a", minute(math.MinInt), 1, mavera.ErrInvalid, []string{"limit is"}},
		// As 32 bits it would be 1.
		{"a", minute(1<<32 + 1), 1, mavera.ErrInvalid, []string{"limit is 4294967297"}},
		{"a", mavera.Policy{Limit: 1, Window: -1}, 1, mavera.ErrInvalid, []string{"window is -1ns", "1ms to"}},
		{"a", mavera.Policy{Limit: 1, Window: math.MaxInt64}, 1, mavera.ErrInvalid, []string{"window is"}},
		{"a", mavera.Policy{Limit: 1, Window: time.Minute + 1}, 1, mavera.ErrInvalid, []string{"1m0.000000001s"}},
		{"a", minute(5), -1, mavera.ErrInvalid, []string{"cost is -1", "0 to 8388608"}},
		{"a", minute(5), 1<<32 + 1, mavera.ErrInvalid, []string{"cost is 4294967297"}},
		{"a", minute(5), 6, mavera.ErrCost, []string{"cost 6", "limit 5"}},
		{"a", minute(0), 1, mavera.ErrCost, []string{"cost 1", "limit 0"}},
		{"", minute(5), 1, mavera.ErrKey, []string{"empty"}},
	} {
		decision, err := limiter.CheckN(wrong.key, wrong.policy, wrong.cost)
		fails(t, err, wrong.kind, wrong.words...)
		equal(t, "decision", decision, mavera.Decision{})
		if wrong.cost == 1 {
			_, err = limiter.Peek(wrong.key, wrong.policy)
			fails(t, err, wrong.kind, wrong.words...)
			_, err = limiter.Check(wrong.key, wrong.policy)
			fails(t, err, wrong.kind, wrong.words...)
		}
	}
	equal(t, "used", peek(t, limiter, "a", minute(5)).Used(), 0)
}

func TestTheGreatestLimitIsALimit(t *testing.T) {
	limiter, _ := standing(t)
	decision, err := limiter.CheckN("a", mavera.PerMinute(mavera.MaxLimit), mavera.MaxLimit)
	equal(t, "error", err, nil)
	equal(t, "used", decision.Used(), mavera.MaxLimit)
	equal(t, "next", check(t, limiter, "a", mavera.PerMinute(mavera.MaxLimit)).Outcome(), mavera.Limited)
}

func TestErrorsOfOneKindAreEqualWhateverTheySay(t *testing.T) {
	limiter, _ := standing(t)
	_, one := limiter.Check("a", mavera.PerMinute(-1))
	_, other := limiter.Check("a", mavera.PerMinute(-2))
	fails(t, one, other)
	for _, kind := range []error{mavera.ErrCost, mavera.ErrClosed, mavera.ErrKey, mavera.ErrSystem} {
		if errors.Is(one, kind) {
			t.Errorf("%v is %v", one, kind)
		}
	}
	if !strings.HasPrefix(one.Error(), "mavera: ") {
		t.Errorf("%q does not say whose it is", one)
	}
}

func TestADecisionIsReadByPeople(t *testing.T) {
	limiter, _ := standing(t)
	equal(t, "allowed", check(t, limiter, "a", mavera.PerMinute(1)).String(), "allowed, 0 of 1 remaining")
	equal(t, "limited", check(t, limiter, "a", mavera.PerMinute(1)).String(),
		"rate_limit_exceeded, 0 of 1 remaining, retry after 1m0s")
	admission, err := limiter.Admit("b", "starter", "/video-analyses")
	equal(t, "error", err, nil)
	equal(t, "in flight", admission.String(),
		"allowed, 59 of 60 remaining, 1 of 3 in flight on /video-analyses")
	equal(t, "busy", mavera.Busy.String(), "concurrency_limit_exceeded")
	equal(t, "full", mavera.Full.String(), "table_full")
	equal(t, "none", mavera.Outcome(77).String(), "Outcome(77)")
}

func TestStatsAreWhatTheRegionHasSeen(t *testing.T) {
	limiter, _ := standing(t, mavera.WithCells(32), mavera.WithPermitCells(24),
		mavera.WithMaxWindow(2*time.Minute))
	for _, key := range []string{"a", "b", "a"} {
		check(t, limiter, key, mavera.PerMinute(5))
	}
	stats, err := limiter.Stats()
	equal(t, "error", err, nil)
	equal(t, "keys held", stats.KeysHeld, 2)
	equal(t, "inserted", stats.Inserted, 2)
	equal(t, "evicted", stats.Evicted+stats.Full, 0)
	equal(t, "cells", stats.Cells, 32)
	equal(t, "permit cells", stats.PermitCells, 24)
	equal(t, "longest window", stats.MaxWindow, 2*time.Minute)
	if stats.KeysCapacity < 100 || stats.PermitCapacity < 100 || stats.Bytes < 100*32 {
		t.Errorf("%+v", stats)
	}
}
