package mavera_test

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

func TestAnOptionOutOfItsRangeIsNamed(t *testing.T) {
	const longest = (1<<32 - 1) * time.Millisecond
	for _, wrong := range []struct {
		option mavera.Option
		words  []string
	}{
		{mavera.WithKeys(0), []string{"keys is 0", "1 to 4294967296"}},
		{mavera.WithKeys(-1), []string{"keys is -1"}},
		{mavera.WithKeys(1<<32 + 1), []string{"keys is 4294967297"}},
		{mavera.WithKeys(math.MaxInt), []string{"keys is 9223372036854775807"}},
		{mavera.WithCells(0), []string{"cells is 0"}},
		{mavera.WithCells(4), []string{"cells is 4", "power of two from 8 to 1024"}},
		{mavera.WithCells(9), []string{"cells is 9"}},
		{mavera.WithCells(2048), []string{"cells is 2048"}},
		// As 32 bits it would be 64.
		{mavera.WithCells(1<<32 + 64), []string{"cells is 4294967360"}},
		{mavera.WithMaxWindow(0), []string{"max window is 0s", "from 1ms"}},
		{mavera.WithMaxWindow(-time.Second), []string{"max window is -1s"}},
		{mavera.WithMaxWindow(longest + 1), []string{"max window is"}},
		{mavera.WithPermitKeys(0), []string{"permit keys is 0"}},
		{mavera.WithPermitKeys(1<<32 + 1), []string{"permit keys is 4294967297"}},
		{mavera.WithPermitCells(0), []string{"permit cells is 0"}},
		{mavera.WithPermitCells(9), []string{"permit_cells is 9", "multiple of 8 from 8 to 256"}},
		{mavera.WithPermitCells(264), []string{"permit_cells is 264"}},
		{mavera.WithPermitCells(1<<32 + 8), []string{"permit cells is 4294967304"}},
		{mavera.WithMode(0o1777), []string{"mode is 1023"}},
		{mavera.WithMode(0o100), []string{"mode is 64"}},
		{mavera.WithMode(fs.ModeDir | 0o700), []string{"mode is"}},
		{mavera.WithNow(nil), []string{"WithNow"}},
	} {
		limiter, err := mavera.New(mavera.WithKeys(10), wrong.option)
		fails(t, err, mavera.ErrInvalid, wrong.words...)
		if limiter != nil {
			t.Errorf("a limiter was made in spite of %v", err)
		}
		path := sharedPath(t)
		_, err = mavera.Open(path, mavera.WithKeys(10), wrong.option)
		fails(t, err, mavera.ErrInvalid, wrong.words...)
		if _, err := os.Stat(path); err == nil {
			t.Errorf("a file was made in spite of %v", wrong.words)
		}
	}
}

func TestOptionsAtTheEndsOfTheirRangesAreTaken(t *testing.T) {
	for _, options := range [][]mavera.Option{
		{mavera.WithKeys(1), mavera.WithCells(8), mavera.WithPermitKeys(1), mavera.WithPermitCells(8)},
		{mavera.WithCells(1024), mavera.WithPermitCells(256)},
		{mavera.WithMaxWindow(time.Millisecond)},
		{mavera.WithMaxWindow((1<<32 - 1) * time.Millisecond)},
		{mavera.WithMode(0o600)},
		{mavera.WithMode(0o777)},
		{mavera.WithCoarseClock()},
		{mavera.WithPlan(nil)},
	} {
		running(t, options...)
	}
}

func TestARegionThatDiffersNamesBothValues(t *testing.T) {
	for _, differs := range []struct {
		has, asked mavera.Option
		words      []string
	}{
		{mavera.WithKeys(200), mavera.WithKeys(300), []string{"keys is 200", "300 was asked for"}},
		{mavera.WithCells(32), mavera.WithCells(16), []string{"cells is 32", "16 was asked for"}},
		{mavera.WithMaxWindow(time.Hour), mavera.WithMaxWindow(2 * time.Hour),
			[]string{"max_window_ms is 3600000", "7200000 was asked for"}},
		{mavera.WithPermitKeys(8), mavera.WithPermitKeys(9), []string{"permit_keys is 8", "9 was asked for"}},
		{mavera.WithPermitCells(8), mavera.WithPermitCells(16), []string{"permit_cells is 8", "16 was asked for"}},
		{mavera.WithKeys(100), mavera.WithCoarseClock(), []string{"clock is"}},
		{mavera.WithKeys(100), mavera.WithAllowWhenFull(), []string{"on_full is"}},
		{mavera.WithKeys(100), mavera.WithNow(time.Now), []string{"clock is"}},
	} {
		path := sharedPath(t)
		open(t, path, differs.has)
		_, err := mavera.Open(path, differs.asked)
		fails(t, err, mavera.ErrMismatch, append(differs.words, path)...)
	}
}

func TestWhatIsNotGivenIsWhateverTheRegionHas(t *testing.T) {
	path := sharedPath(t)
	open(t, path, mavera.WithCells(16), mavera.WithMaxWindow(time.Hour), mavera.WithPermitCells(8))
	other, err := mavera.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	stats, err := other.Stats()
	equal(t, "error", err, nil)
	equal(t, "cells", stats.Cells, 16)
	equal(t, "longest window", stats.MaxWindow, time.Hour)
	equal(t, "permit cells", stats.PermitCells, 8)
}

func TestTwoLimitersOnOnePathCountTogether(t *testing.T) {
	path := sharedPath(t)
	one, other := open(t, path), open(t, path)
	check(t, one, "a", mavera.PerMinute(3))
	check(t, other, "a", mavera.PerMinute(3))
	equal(t, "used", check(t, one, "a", mavera.PerMinute(3)).Used(), 3)
	equal(t, "outcome", check(t, other, "a", mavera.PerMinute(3)).Outcome(), mavera.Limited)
	// And whoever opens it later.
	_, _ = one.Close(), other.Close()
	equal(t, "outcome", check(t, open(t, path), "a", mavera.PerMinute(3)).Outcome(), mavera.Limited)
}

func TestTwoLimitersWithoutAPathCountApart(t *testing.T) {
	check(t, running(t), "a", mavera.PerMinute(1))
	equal(t, "outcome", check(t, running(t), "a", mavera.PerMinute(1)).Outcome(), mavera.Allowed)
}

func TestAFileThatIsNoRegionIsNamedAndLeftAsItIs(t *testing.T) {
	dir := filepath.Dir(sharedPath(t))
	bytes := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]error{
		bytes("few", "hello"):                          mavera.ErrFormat,
		bytes("many", strings.Repeat("hello", 10_000)): mavera.ErrFormat,
		dir: mavera.ErrSystem,
		filepath.Join(dir, "no", "such", "directory"): mavera.ErrSystem,
		link: mavera.ErrSystem,
		filepath.Join(dir, strings.Repeat("long", 100)): mavera.ErrSystem,
	} {
		_, err := mavera.Open(path)
		fails(t, err, kind, path)
	}
	left, err := os.ReadFile(filepath.Join(dir, "few"))
	if string(left) != "hello" || err != nil {
		t.Errorf("%q, %v", left, err)
	}
}

func TestAPathThatIsNoneIsInvalid(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"", filepath.Join(dir, "a") + "\x00b", "\x00"} {
		_, err := mavera.Open(path)
		fails(t, err, mavera.ErrInvalid, fmt.Sprintf("%q", path))
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v was made", left)
	}
}

func TestANewFileHasTheModeThatWasGivenWhateverTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for mode, options := range map[fs.FileMode][]mavera.Option{
		0o600: nil,
		0o666: {mavera.WithMode(0o666)},
		0o640: {mavera.WithMode(0o640)},
	} {
		path := sharedPath(t)
		open(t, path, options...)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "mode", info.Mode(), mode)
		// It is of a new file: an old one keeps its own.
		open(t, path, mavera.WithMode(0o606))
		info, _ = os.Stat(path)
		equal(t, "mode", info.Mode(), mode)
	}
}

func TestACallersClockIsTheOnlyTime(t *testing.T) {
	limiter, clock := standing(t)
	policy := mavera.Policy{Limit: 1, Window: time.Millisecond}
	check(t, limiter, "a", policy)
	for range 1000 {
		runtime.Gosched()
		equal(t, "it stands", check(t, limiter, "a", policy).Outcome(), mavera.Limited)
	}
	clock.advance(time.Millisecond)
	equal(t, "it was moved", check(t, limiter, "a", policy).Outcome(), mavera.Allowed)
}

func TestWithoutWithNowTheHostsClockIsTheTime(t *testing.T) {
	for _, options := range [][]mavera.Option{nil, {mavera.WithCoarseClock()}} {
		limiter := running(t, options...)
		before := time.Now()
		decision := check(t, limiter, "a", mavera.PerMinute(1))
		late := decision.Reset().Sub(before) - time.Minute
		if late < -time.Millisecond || late > 5*time.Second {
			t.Errorf("reset is %v later than a minute from now", late)
		}
	}
}

func TestARegionWithACallersClockNeedsOne(t *testing.T) {
	path := sharedPath(t)
	clock := &manual{}
	clock.ms.Store(beginning)
	with := open(t, path, mavera.WithNow(clock.now))
	without, err := mavera.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	_, err = without.Check("a", mavera.PerMinute(1))
	fails(t, err, mavera.ErrClock)
	_, err = without.Peek("a", mavera.PerMinute(1))
	fails(t, err, mavera.ErrClock)
	_, err = without.CheckMany(nil, []string{"a"}, mavera.PerMinute(1))
	fails(t, err, mavera.ErrClock)
	for _, target := range []string{"/", "/mave/chat"} {
		_, err = without.Admit("a", "starter", target)
		fails(t, err, mavera.ErrClock)
	}
	equal(t, "used", peek(t, with, "a", mavera.PerMinute(60)).Used(), 0)
	equal(t, "in flight", inFlight(t, with, "a", mavera.NewClass("/mave/chat", 1)), 0)
}

// fill checks new keys until one hears something else than allowed and counted,
// and returns its decision and how many there were before it.
func fill(t *testing.T, limiter *mavera.Limiter) (decision mavera.Decision, before int) {
	t.Helper()
	for before = range 100_000 {
		decision = check(t, limiter, fmt.Sprint("key ", before), mavera.PerMinute(2))
		if decision.Outcome() != mavera.Allowed || decision.Untracked() {
			return decision, before
		}
	}
	t.Fatal("the table is never full")
	return decision, 0
}

func TestAFullTableDeniesNewKeysAndCountsTheOthers(t *testing.T) {
	limiter, clock := standing(t, mavera.WithKeys(50))
	refused, before := fill(t, limiter)
	if before < 50 {
		t.Errorf("full after %d keys of 50", before)
	}
	equal(t, "outcome", refused.Outcome(), mavera.Full)
	equal(t, "allowed", refused.Allowed(), false)
	if refused.RetryAfter() <= 0 || refused.RetryAfterSeconds() < 1 {
		t.Errorf("retry after %v, %d s", refused.RetryAfter(), refused.RetryAfterSeconds())
	}
	equal(t, "an old key", check(t, limiter, "key 0", mavera.PerMinute(2)).Used(), 2)
	equal(t, "an old key", check(t, limiter, "key 0", mavera.PerMinute(2)).Outcome(), mavera.Limited)
	admission, err := limiter.AdmitPolicy("another", mavera.PerMinute(2), "/mave/chat")
	equal(t, "error", err, nil)
	equal(t, "outcome", admission.Outcome(), mavera.Full)
	equal(t, "held", admission.Permit.Held(), false)
	stats, _ := limiter.Stats()
	if stats.Full < 2 {
		t.Errorf("%d times full", stats.Full)
	}
	clock.advance(time.Minute)
	equal(t, "when the others owe nothing", check(t, limiter, "new", mavera.PerMinute(2)).Outcome(), mavera.Allowed)
}

func TestAFullTableAllowsUncountedIfAsked(t *testing.T) {
	limiter, _ := standing(t, mavera.WithKeys(50), mavera.WithAllowWhenFull())
	allowed, before := fill(t, limiter)
	equal(t, "outcome", allowed.Outcome(), mavera.Allowed)
	equal(t, "untracked", allowed.Untracked(), true)
	for range 5 {
		again := check(t, limiter, fmt.Sprint("key ", before), mavera.PerMinute(2))
		equal(t, "uncounted", again.Allowed() && again.Untracked(), true)
	}
	equal(t, "an old key", check(t, limiter, "key 0", mavera.PerMinute(2)).Untracked(), false)
	equal(t, "an old key", check(t, limiter, "key 0", mavera.PerMinute(2)).Outcome(), mavera.Limited)
}

func TestAFullTableOfPermitsIsFullOrAllowsWithoutOne(t *testing.T) {
	class := mavera.NewClass("work", 1)
	take := func(limiter *mavera.Limiter) (mavera.Permit, error) {
		for i := range 10_000 {
			permit, err := limiter.TryAcquire(fmt.Sprint("key ", i), class)
			if err != nil || !permit.Held() {
				return permit, err
			}
		}
		t.Fatal("the table is never full")
		return mavera.Permit{}, nil
	}
	limiter, _ := standing(t, mavera.WithPermitKeys(8))
	_, err := take(limiter)
	fails(t, err, mavera.ErrFull, "no room")
	limiter, _ = standing(t, mavera.WithPermitKeys(8), mavera.WithAllowWhenFull())
	permit, err := take(limiter)
	equal(t, "error", err, nil)
	equal(t, "held", permit.Held(), false)
	equal(t, "released", permit.Release(), false)
}
