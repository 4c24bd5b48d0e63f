package mavera_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestAsManyPermitsAreHeldAsTheClassHas(t *testing.T) {
	limiter, _ := standing(t)
	class := mavera.NewClass("work", 3)
	var permits []mavera.Permit
	for held := range 3 {
		equal(t, "in flight", inFlight(t, limiter, "a", class), held)
		permits = append(permits, acquire(t, limiter, "a", class))
	}
	permit, err := limiter.TryAcquire("a", class)
	fails(t, err, mavera.ErrBusy)
	equal(t, "permit", permit, mavera.Permit{})
	equal(t, "in flight", inFlight(t, limiter, "a", class), 3)
	equal(t, "released", permits[1].Release(), true)
	equal(t, "in flight", inFlight(t, limiter, "a", class), 2)
	acquire(t, limiter, "a", class)
}

func TestASecondReleaseChangesNothing(t *testing.T) {
	limiter, _ := standing(t)
	class := mavera.NewClass("work", 1)
	permit := acquire(t, limiter, "a", class)
	again := permit
	equal(t, "released", permit.Release(), true)
	equal(t, "released twice", permit.Release(), false)
	equal(t, "a copy", again.Release(), false)

	// Nor when somebody has it by now.
	next := acquire(t, limiter, "a", class)
	equal(t, "late", permit.Release(), false)
	equal(t, "in flight", inFlight(t, limiter, "a", class), 1)
	equal(t, "the holder's", next.Release(), true)
}

func TestACopyIsTheSamePermit(t *testing.T) {
	limiter, _ := standing(t)
	class := mavera.NewClass("work", 1)
	permit := acquire(t, limiter, "a", class)
	again := permit
	equal(t, "equal", again, permit)
	equal(t, "the copy", again.Release(), true)
	equal(t, "the original", permit.Release(), false)
	equal(t, "in flight", inFlight(t, limiter, "a", class), 0)
}

func TestTheZeroPermitIsNone(t *testing.T) {
	var none mavera.Permit
	equal(t, "held", none.Held(), false)
	equal(t, "released", none.Release(), false)
}

func TestKeysAndClassesAreCountedApart(t *testing.T) {
	limiter, _ := standing(t)
	one, other := mavera.NewClass("one", 1), mavera.NewClass("other", 1)
	acquire(t, limiter, "a", one)
	acquire(t, limiter, "a", other)
	acquire(t, limiter, "b", one)
	_, err := limiter.TryAcquire("a", one)
	fails(t, err, mavera.ErrBusy)
	equal(t, "in flight", inFlight(t, limiter, "b", other), 0)
}

func TestAClassIsItsNameWhateverItHas(t *testing.T) {
	limiter, _ := standing(t)
	permits := []mavera.Permit{
		acquire(t, limiter, "a", mavera.NewClass("work", 3)),
		acquire(t, limiter, "a", mavera.NewClass("work", 3)),
	}
	_, err := limiter.TryAcquire("a", mavera.NewClass("work", 2))
	fails(t, err, mavera.ErrBusy)
	equal(t, "lowered", inFlight(t, limiter, "a", mavera.NewClass("work", 1)), 2)
	permits[0].Release()
	_, err = limiter.TryAcquire("a", mavera.NewClass("work", 1))
	fails(t, err, mavera.ErrBusy)
	permits[1].Release()
	acquire(t, limiter, "a", mavera.NewClass("work", 1))
}

func TestAnEndpointOfThePlanIsAClassByItsPath(t *testing.T) {
	limiter, _ := standing(t)
	endpoint, ok := limiter.Plan().Endpoint("/video-analyses/7")
	equal(t, "found", ok, true)
	acquire(t, limiter, "a", endpoint)
	equal(t, "in flight", inFlight(t, limiter, "a", mavera.NewClass("/video-analyses", 1)), 1)
	admission, err := limiter.Admit("a", "starter", "/video-analyses")
	equal(t, "error", err, nil)
	equal(t, "in flight", admission.InFlight(), 2)
}

func TestAClassSaysItsNameAndMost(t *testing.T) {
	class := mavera.NewClass("work", 3)
	equal(t, "name", class.Name(), "work")
	equal(t, "most", class.Max(), 3)
	leased := class.WithLease(time.Second)
	equal(t, "name", leased.Name(), "work")
	equal(t, "most", leased.Max(), 3)
}

func TestAPermitOutOfRangeIsNamed(t *testing.T) {
	limiter := running(t)
	for _, wrong := range []struct {
		class mavera.Class
		words []string
	}{
		{mavera.NewClass("work", 17), []string{`"work"`, "at most 17"}},
		{mavera.NewClass("work", 0), []string{`"work"`, "at most 0"}},
		{mavera.NewClass("work", -1), []string{`"work"`}},
		// As 32 bits it would be 1.
		{mavera.NewClass("work", 1<<32+1), []string{`"work"`}},
		{mavera.NewClass("work", -1<<32+1), []string{`"work"`}},
		{mavera.NewClass("work", math.MaxInt), []string{`"work"`}},
		{mavera.NewClass("wo\x00rk", 1), []string{`"wo\x00rk"`}},
		{mavera.NewClass("work", 1).WithLease(25 * time.Hour), []string{"lease of 25h0m0s"}},
		{mavera.NewClass("work", 1).WithLease(math.MaxInt64), []string{"lease of"}},
		{mavera.Class{}, []string{`""`}},
	} {
		permit, err := limiter.TryAcquire("a", wrong.class)
		fails(t, err, mavera.ErrInvalid, wrong.words...)
		equal(t, "held", permit.Held(), false)
		// Nor is it waited for.
		_, err = limiter.Acquire(bounded(t), "a", wrong.class)
		fails(t, err, mavera.ErrInvalid, wrong.words...)
	}
	_, err := limiter.TryAcquire("", mavera.NewClass("work", 1))
	fails(t, err, mavera.ErrKey)
	_, err = limiter.Acquire(bounded(t), "", mavera.NewClass("work", 1))
	fails(t, err, mavera.ErrKey)
	_, err = limiter.InFlight("", mavera.NewClass("work", 1))
	fails(t, err, mavera.ErrKey)
	equal(t, "in flight", inFlight(t, limiter, "a", mavera.NewClass("work", 1)), 0)
}

func TestAsManyPermitsAsTheRegionHasCells(t *testing.T) {
	limiter, _ := standing(t, mavera.WithPermitCells(24))
	class := mavera.NewClass("work", 24)
	for range 24 {
		acquire(t, limiter, "a", class)
	}
	_, err := limiter.TryAcquire("a", class)
	fails(t, err, mavera.ErrBusy)
}

func TestALeaseIsNotForACallersClock(t *testing.T) {
	limiter, _ := standing(t)
	_, err := limiter.TryAcquire("a", mavera.NewClass("work", 1).WithLease(time.Second))
	fails(t, err, mavera.ErrInvalid, "lease of 1s")
}

func TestAPermitWhoseLeaseEndedMayBeTakenByAnother(t *testing.T) {
	t.Parallel()
	limiter := running(t)
	class := mavera.NewClass("work", 1)
	lost := acquire(t, limiter, "a", class.WithLease(time.Millisecond))
	_, err := limiter.TryAcquire("a", class)
	fails(t, err, mavera.ErrBusy)
	// Leases are kept to two seconds.
	next, err := limiter.Acquire(bounded(t), "a", class)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the one whose lease ended", lost.Release(), false)
	equal(t, "in flight", inFlight(t, limiter, "a", class), 1)
	equal(t, "the next", next.Release(), true)
}

func TestALeaseThatIsNegativeIsNone(t *testing.T) {
	limiter, _ := standing(t)
	acquire(t, limiter, "a", mavera.NewClass("work", 1).WithLease(-time.Hour))
	acquire(t, limiter, "b", mavera.NewClass("work", 1).WithLease(math.MinInt64))
}

func TestAcquireTakesAPermitThatIsFreeAtOnce(t *testing.T) {
	limiter, _ := standing(t)
	permit, err := limiter.Acquire(bounded(t), "a", mavera.NewClass("work", 1))
	equal(t, "error", err, nil)
	equal(t, "released", permit.Release(), true)
}

func TestAcquireWaitsUntilAPermitIsGivenBack(t *testing.T) {
	limiter := running(t)
	class := mavera.NewClass("work", 1)
	for range 5 {
		permit := acquire(t, limiter, "a", class)
		var released time.Time
		done := make(chan struct{})
		time.AfterFunc(5*time.Millisecond, func() {
			released = time.Now()
			permit.Release()
			close(done)
		})
		next, err := limiter.Acquire(bounded(t), "a", class)
		if err != nil {
			t.Fatal(err)
		}
		taken := time.Now()
		<-done
		if taken.Before(released) {
			t.Error("taken before it was given back")
		}
		equal(t, "released", next.Release(), true)
	}
}

func TestAcquireGoesOnAskingHoweverLongItWaits(t *testing.T) {
	t.Parallel()
	limiter := running(t)
	class := mavera.NewClass("work", 1)
	permit := acquire(t, limiter, "a", class)
	// Pauses that only doubled would be half a second by now.
	time.AfterFunc(530*time.Millisecond, func() { permit.Release() })
	began := time.Now()
	if _, err := limiter.Acquire(bounded(t), "a", class); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 950*time.Millisecond {
		t.Errorf("taken after %v", took)
	}
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	limiter := running(t)
	class := mavera.NewClass("work", 1)
	holder := acquire(t, limiter, "a", class)

	canceled, cancel := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, cancel)
	permit, err := limiter.Acquire(canceled, "a", class)
	fails(t, err, context.Canceled)
	equal(t, "permit", permit, mavera.Permit{})

	late, cancelLate := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancelLate()
	began := time.Now()
	_, err = limiter.Acquire(late, "a", class)
	fails(t, err, context.DeadlineExceeded)
	if took := time.Since(began); took < 9*time.Millisecond {
		t.Errorf("gave up after %v", took)
	}
	if errors.Is(err, mavera.ErrBusy) {
		t.Error("the context's error is the reason, not what it waited for")
	}

	// A context that has ended takes nothing, even if there is something.
	holder.Release()
	_, err = limiter.Acquire(canceled, "a", class)
	fails(t, err, context.Canceled)
	equal(t, "in flight", inFlight(t, limiter, "a", class), 0)
}
