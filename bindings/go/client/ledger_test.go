package client

import (
	"errors"
	"math"
	"testing"
	"time"
)

// at is an instant so many seconds after an origin.
func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func told(limit, remaining int, reset float64) Quota {
	return Quota{
		Limit: limit, Remaining: remaining, HasRemaining: true,
		ResetAfter: seconds(reset), HasReset: true,
	}
}

func ledgerOf(t testing.TB, options Options) *Ledger {
	t.Helper()
	ledger, err := NewLedger(options)
	if err != nil {
		t.Fatal(err)
	}
	return ledger
}

func expectReady(t *testing.T, l *Ledger, now, want float64) {
	t.Helper()
	ready, ok := l.ReadyAt(at(now))
	if !ok || !ready.Equal(at(want)) {
		t.Errorf("at %v ready at %v (%v), want %v", now, ready.Sub(at(0)), ok, want)
	}
}

func expectBlocked(t *testing.T, l *Ledger, now float64) {
	t.Helper()
	if ready, ok := l.ReadyAt(at(now)); ok {
		t.Errorf("at %v ready at %v, want to wait for an answer", now, ready.Sub(at(0)))
	}
}

func TestAPlaceIsTakenUntilOneWindowAfterTheAnswer(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1})
	ticket := l.Begin(at(0))
	expectBlocked(t, l, 100)
	l.Finish(ticket, at(100), Quota{}, false)
	expectReady(t, l, 100, 160)
	expectReady(t, l, 160, 160)
}

func TestAMarginLengthensTheWindow(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1, Margin: time.Second})
	l.Finish(l.Begin(at(0)), at(0), Quota{}, false)
	expectReady(t, l, 0, 61)
}

func TestACancelledRequestWasNeverThere(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1, MaxInFlight: 1})
	l.Cancel(l.Begin(at(0)))
	expectReady(t, l, 0, 0)
	if l.Owes(at(0)) {
		t.Error("it owes")
	}
}

func TestARequestThatFailedOnItsWayCountsAsSent(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1})
	ticket := l.Begin(at(0))
	l.Finish(ticket, at(5), Quota{}, false)
	l.Release(ticket)
	expectReady(t, l, 5, 65)
}

func TestARefusedRequestDoesNotCount(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 2})
	l.Finish(l.Begin(at(0)), at(1), Quota{}, true)
	if used := l.Used(at(1)); used != 0 {
		t.Errorf("used %d", used)
	}
}

func TestASecondFinishOfATicketIsIgnored(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 5})
	ticket := l.Begin(at(0))
	l.Finish(ticket, at(1), Quota{}, false)
	l.Finish(ticket, at(2), told(9, 0, 60), false)
	if l.Used(at(2)) != 1 || l.Limit() != 5 {
		t.Errorf("used %d, limit %d", l.Used(at(2)), l.Limit())
	}
}

func TestAPlaceInFlightLastsUntilReleased(t *testing.T) {
	l := ledgerOf(t, Options{MaxInFlight: 1})
	ticket := l.Begin(at(0))
	l.Finish(ticket, at(1), Quota{}, false)
	expectBlocked(t, l, 1)
	l.Release(ticket)
	expectReady(t, l, 1, 1)
}

func TestAPauseStopsEverythingAndIsNeverShortened(t *testing.T) {
	l := ledgerOf(t, Options{})
	l.Pause(at(30))
	l.Pause(at(20))
	expectReady(t, l, 0, 30)
}

func TestTheServersLimitAndWindowAreAdopted(t *testing.T) {
	l := ledgerOf(t, Options{})
	quota := told(2, 1, 10)
	quota.Window = seconds(10)
	l.Finish(l.Begin(at(0)), at(0), quota, false)
	if l.Limit() != 2 || l.Window() != seconds(10) {
		t.Errorf("limit %d, window %v", l.Limit(), l.Window())
	}
	l.Finish(l.Begin(at(0)), at(0), Quota{}, false)
	expectReady(t, l, 0, 10)
}

func TestALimitOfZeroIsNotBelieved(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 5})
	l.Finish(l.Begin(at(0)), at(0), Quota{HasRemaining: true}, false)
	if l.Limit() != 5 {
		t.Errorf("limit %d", l.Limit())
	}
}

func TestForeignUnitsAreCountedAndEstimatedAnew(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(1), told(10, 4, 59), false)
	if l.Foreign() != 5 {
		t.Errorf("foreign %d", l.Foreign())
	}
	l.Finish(l.Begin(at(2)), at(3), told(10, 8, 59), false)
	if l.Foreign() != 0 {
		t.Errorf("foreign %d", l.Foreign())
	}
}

func TestNothingGoesBeforeTheResetWhenNothingRemains(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(1), told(10, 0, 20), false)
	expectReady(t, l, 1, 21)
}

func TestOneProbeGoesAtTheResetAndItsAnswerRenewsTheEstimate(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(1), told(10, 0, 20), false)
	probe := l.Begin(at(21))
	if ready, ok := l.ReadyAt(at(21)); ok && !ready.After(at(21)) {
		t.Error("a second probe goes at once")
	}
	l.Finish(probe, at(22), told(10, 6, 30), false)
	expectReady(t, l, 22, 22)
}

func TestAProbeWithoutNewsIsNotFollowedByAnotherAtOnce(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(1), told(10, 0, 20), false)
	l.Finish(l.Begin(at(21)), at(22), Quota{}, false)
	expectReady(t, l, 22, 61)
}

func TestAProbeThatWasCancelledMayGoAgain(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(1), told(10, 0, 20), false)
	l.Cancel(l.Begin(at(21)))
	expectReady(t, l, 21, 21)
}

func TestALateAnswerToAnEarlierRequestDoesNotUndoNewerNews(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	first, second := l.Begin(at(0)), l.Begin(at(0))
	l.Finish(second, at(1), told(10, 3, 50), false)
	if l.Foreign() != 5 {
		t.Errorf("foreign %d", l.Foreign())
	}
	l.Finish(first, at(2), told(10, 9, 50), false)
	if l.Foreign() != 5 {
		t.Errorf("foreign %d", l.Foreign())
	}
}

func TestAnEntryThatLeftHereWhileAnAnswerWasUnderWayIsNotForeign(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(0), Quota{}, false)
	slow := l.Begin(at(59))
	if l.Used(at(61)) != 1 {
		t.Errorf("used %d", l.Used(at(61)))
	}
	l.Finish(slow, at(62), told(10, 8, 1), false)
	if l.Foreign() != 0 {
		t.Errorf("foreign %d", l.Foreign())
	}
}

func TestAnEntryThatLeftBeforeARequestWasSentHidesNoForeignUnit(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 10})
	l.Finish(l.Begin(at(0)), at(0), Quota{}, false)
	l.Begin(at(10))
	l.Finish(l.Begin(at(61)), at(62), told(10, 7, 1), false)
	if l.Foreign() != 1 {
		t.Errorf("foreign %d", l.Foreign())
	}
}

func TestALongRequestUnderWayDoesNotHoldBackTheOthers(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 4})
	quick := l.Begin(at(0))
	l.Begin(at(0))
	l.Begin(at(0))
	l.Finish(quick, at(0.1), told(4, 1, 60), false)
	if ready, ok := l.ReadyAt(at(0.1)); !ok || ready.After(at(0.2)) {
		t.Errorf("ready at %v (%v)", ready.Sub(at(0)), ok)
	}
}

func TestRequestsThatMayNotHaveArrivedAreInDoubtForOneRoundTrip(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 4})
	quick := l.Begin(at(0))
	l.Begin(at(0))
	l.Begin(at(0))
	// Three of four are spent. Two may be foreign, and ours not there yet.
	l.Finish(quick, at(1), told(4, 1, 60), false)
	expectReady(t, l, 1, 2)
}

func TestARoundedResetIsNeverLongerThanAWindow(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1, Window: seconds(10)})
	l.Finish(l.Begin(at(0)), at(0), told(1, 0, 11.5), false)
	expectReady(t, l, 0, 10)
}

func TestAResetFarBeyondTheWindowIsBelieved(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1, Window: seconds(10)})
	l.Finish(l.Begin(at(0)), at(0), told(1, 0, 3600), false)
	expectReady(t, l, 0, 3600)
}

func TestAnOlderClockReadingDoesNotBringTimeBack(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 1})
	l.Finish(l.Begin(at(10)), at(10), Quota{}, false)
	expectReady(t, l, 5, 70)
	expectReady(t, l, 70, 70)
}

func TestALateReadingDoesNotLetARequestBeginInThePast(t *testing.T) {
	l := ledgerOf(t, Options{})
	l.Finish(l.Begin(at(10)), at(10), Quota{}, false)
	expectReady(t, l, 5, 10)
}

func TestTheLargestLimitOverflowsNothing(t *testing.T) {
	l := ledgerOf(t, Options{Limit: math.MaxInt, Window: Longest, Margin: Longest})
	l.Begin(at(0))
	l.Finish(l.Begin(at(0)), at(0), told(math.MaxInt, 0, 0), false)
	// All is spent by others, so their estimate has to end first.
	if ready, ok := l.ReadyAt(at(0)); !ok || !ready.Equal(at(0).Add(2*Longest)) {
		t.Errorf("ready at %v (%v)", ready.Sub(at(0)), ok)
	}
	if l.Foreign() != math.MaxInt-2 {
		t.Errorf("foreign %d", l.Foreign())
	}
}

func TestALedgerForgetsWhatNoLongerCounts(t *testing.T) {
	l := ledgerOf(t, Options{Limit: 3})
	for i := range 10_000 {
		now := float64(i * 30)
		l.Finish(l.Begin(at(now)), at(now), told(3, 2, 60), false)
	}
	if len(l.live) > 3 || len(l.past) > 3 || len(l.open) > 0 || cap(l.live) > 64 {
		t.Errorf("live %d of %d, past %d, open %d",
			len(l.live), cap(l.live), len(l.past), len(l.open))
	}
}

func TestAnOptionOutOfRangeIsRefused(t *testing.T) {
	for _, options := range []Options{
		{Limit: -1},
		{Window: -1},
		{Window: Longest + 1},
		{MaxInFlight: -1},
		{Margin: -1},
		{Margin: math.MaxInt64},
	} {
		if _, err := NewLedger(options); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", options, err)
		}
	}
}
