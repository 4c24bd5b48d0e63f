package client

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestItWarnsOnceAndAgainOnlyWhenArmedAnew(t *testing.T) {
	var calls []int
	var log bytes.Buffer
	monitor := &Monitor{
		Key:    "k",
		OnLow:  func(s Status) { calls = append(calls, s.Remaining) },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	for _, remaining := range []int{11, 10, 9, 8, 10, 3} {
		monitor.Update(told(60, remaining, 5), at(100))
	}
	if !slices.Equal(calls, []int{9, 3}) {
		t.Errorf("called with %v", calls)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings:\n%s", n, &log)
	}
	want := Status{Key: "k", Limit: 60, Remaining: 3, HasRemaining: true, ResetAt: at(105)}
	if got := monitor.Status(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestWhatAnAnswerDoesNotSayIsKept(t *testing.T) {
	monitor := &Monitor{}
	monitor.Update(told(60, 30, 5), at(100))
	before := monitor.Status()
	monitor.Update(Quota{}, at(200))
	if after := monitor.Status(); after != before || after.Limit != 60 {
		t.Errorf("%+v, then %+v", before, after)
	}
}

func TestANegativeThresholdNeverWarns(t *testing.T) {
	monitor := &Monitor{Threshold: -1, OnLow: func(Status) { t.Error("it warned") }}
	monitor.Update(told(60, 0, 5), at(100))
}

func TestOnLowMayLookAtTheMonitor(t *testing.T) {
	var monitor *Monitor
	monitor = &Monitor{OnLow: func(s Status) {
		if monitor.Status() != s {
			t.Error("another status")
		}
	}}
	monitor.Update(told(60, 1, 5), time.Now())
}
