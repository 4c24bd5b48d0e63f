package client

import (
	"log/slog"
	"sync"
	"time"
)

// DefaultThreshold is the threshold of a [Monitor] that names none.
const DefaultThreshold = 10

// Status is what the server last told of the quota of one key.
type Status struct {
	// Key is what the server counts by, as [Transport].Key tells it.
	Key string
	// Limit is units per window; 0: never told.
	Limit int
	// Remaining is units left, if HasRemaining.
	Remaining    int
	HasRemaining bool
	// ResetAt is when units come back; the zero time if that was never told.
	ResetAt time.Time
}

// Monitor remembers the last quota told, and warns once when little is left.
// The zero value is ready. Safe for concurrent use; its fields are not to be
// changed once it is in use.
type Monitor struct {
	// Key is shown in the Status and logged.
	Key string
	// Threshold: warn when fewer units remain. Armed again as soon as so many
	// or more do. 0 is [DefaultThreshold]; negative: never warn.
	Threshold int
	// OnLow is called without any lock held, in the goroutine that brought the
	// news.
	OnLow func(Status)
	// Logger is told the same, as a warning. May be nil.
	Logger *slog.Logger

	mu     sync.Mutex
	low    bool
	status Status
}

// Status is what the server last told.
func (m *Monitor) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	status := m.status
	status.Key = m.Key
	return status
}

// Update takes in what a response said.
func (m *Monitor) Update(quota Quota, now time.Time) {
	status, news := m.update(quota, now)
	if !news {
		return
	}
	if m.Logger != nil {
		m.Logger.Warn("rate limit: few requests remain",
			"key", status.Key,
			"remaining", status.Remaining,
			"limit", status.Limit,
			"reset_at", status.ResetAt,
		)
	}
	if m.OnLow != nil {
		m.OnLow(status)
	}
}

func (m *Monitor) update(quota Quota, now time.Time) (status Status, news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if quota.Limit > 0 {
		m.status.Limit = quota.Limit
	}
	if quota.HasReset {
		// Wall time: it is for people and for other machines.
		m.status.ResetAt = now.Add(quota.ResetAfter).Round(0)
	}
	if quota.HasRemaining {
		m.status.Remaining, m.status.HasRemaining = quota.Remaining, true
		threshold := m.Threshold
		setDefault(&threshold, DefaultThreshold)
		low := quota.Remaining < threshold
		news = low && !m.low
		m.low = low
	}
	status = m.status
	status.Key = m.Key
	return status, news
}
