package client

import (
	"net/http"
	"strings"
	"time"
)

// Quota is what one response says about the quota. The zero value says nothing.
type Quota struct {
	// Limit is units per window; 0: not said. A limit of 0 is not believed.
	Limit int
	// Remaining is units left, >= 0, if HasRemaining.
	Remaining    int
	HasRemaining bool
	// ResetAfter is how long until units come back, 0 to [Longest], if HasReset.
	ResetAfter time.Duration
	HasReset   bool
	// Window is its length, up to [Longest]; 0: not said.
	Window time.Duration
}

// ParseRetryAfter says how long to wait before the next try. It is false if
// there is no Retry-After, or none that can be read. Never panics.
//
// A date counts from the response's own Date if it has one, and from now
// otherwise, so that a wrong local clock does no harm; a date in the past is 0.
// A number above [Longest] becomes Longest: to ignore it would be to come back
// sooner than asked. Of several the longest counts, for the same reason.
func ParseRetryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	var wait time.Duration
	found := false
	for _, text := range header.Values("Retry-After") {
		if one, ok := parseWait(strings.TrimSpace(text), header, now); ok {
			wait, found = max(wait, one), true
		}
	}
	return wait, found
}

func parseWait(text string, header http.Header, now time.Time) (time.Duration, bool) {
	if n, ok := parseNumber(text); ok {
		d, ok := n.seconds()
		if !ok {
			d = Longest
		}
		return min(d, Longest), true
	}
	at, ok := parseDate(text)
	if !ok {
		return 0, false
	}
	return min(max(at.Sub(serverNow(header, now)), 0), Longest), true
}

// ParseQuota says what the headers say about the quota. What cannot be read is
// not said. Never panics.
//
// Families, in order of precedence:
//
//  1. RateLimit and RateLimit-Policy (IETF structured fields, and the older
//     "limit=, remaining=, reset=" form of the same header);
//  2. RateLimit-Limit, -Remaining, -Reset (older IETF drafts);
//  3. X-RateLimit-Limit, -Remaining, -Reset and their spellings (custom of the
//     field).
//
// A field that one family lacks is taken from the next one, unless both name a
// remaining quota and the two differ: they speak of different windows then. If
// RateLimit lists several policies, the one with the least remaining is meant;
// those that count something else than requests (qu) are not read.
//
// A reset below 1e9 is seconds from now, from 1e9 on Unix seconds, from 1e11 on
// Unix milliseconds. Durations (1m30s), RFC 3339 and HTTP dates are read too.
func ParseQuota(header http.Header, now time.Time) Quota {
	wall := serverNow(header, now)
	quota := structured(header, wall)
	for _, names := range families {
		quota = fill(quota, separate(header, names, wall))
	}
	return quota
}

type family struct{ limit, remaining, reset string }

var families = [...]family{
	{"RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"},
	{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"},
	{
		"X-RateLimit-Limit-Requests",
		"X-RateLimit-Remaining-Requests",
		"X-RateLimit-Reset-Requests",
	},
	{"X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"},
}

func serverNow(header http.Header, now time.Time) time.Time {
	if at, ok := parseDate(strings.TrimSpace(header.Get("Date"))); ok {
		return at
	}
	return now
}

// joinedLines is the value of a header whose lines are one list.
func joinedLines(header http.Header, name string) string {
	values := header.Values(name)
	text := ""
	if len(values) > 0 {
		text = values[0]
	}
	if len(values) > 1 {
		text = strings.Join(values, ", ")
	}
	if len(text) > longestHeader {
		return ""
	}
	return strings.TrimSpace(text)
}

func fill(first, second Quota) Quota {
	if first.HasRemaining && second.HasRemaining && first.Remaining != second.Remaining {
		return first
	}
	if first.Limit == 0 {
		first.Limit = second.Limit
	}
	if !first.HasRemaining {
		first.Remaining, first.HasRemaining = second.Remaining, second.HasRemaining
	}
	if !first.HasReset {
		first.ResetAfter, first.HasReset = second.ResetAfter, second.HasReset
	}
	if first.Window == 0 {
		first.Window = second.Window
	}
	return first
}

func structured(header http.Header, wall time.Time) Quota {
	items := parseItems(joinedLines(header, "RateLimit"))
	if len(items) == 0 {
		return Quota{}
	}
	policies := parseItems(joinedLines(header, "RateLimit-Policy"))
	if quota, ok := older(items, wall); ok {
		return fill(quota, policyOf(quota.Limit, policies))
	}
	var best Quota
	for _, item := range items {
		quota, ok := member(item, policies)
		if ok && (!best.HasRemaining || tighter(quota, best)) {
			best = quota
		}
	}
	return best
}

// older reads "limit=100, remaining=50, reset=5" of the drafts before 08.
func older(items []item, wall time.Time) (quota Quota, found bool) {
	for _, item := range items {
		if !item.hasValue {
			continue
		}
		switch item.key {
		case "limit":
			quota.Limit, _ = parseCount(item.value)
			quota.Window, _ = parseDelta(item.params["w"])
		case "remaining":
			quota.Remaining, quota.HasRemaining = parseCount(item.value)
		case "reset":
			quota.ResetAfter, quota.HasReset = parseReset(item.value, wall)
		default:
			continue
		}
		found = true
	}
	return quota, found
}

// member reads "name";r=45;t=12 beside its policy.
func member(item item, policies []item) (quota Quota, ok bool) {
	var policy map[string]string
	for _, other := range policies {
		if other.key == item.key {
			policy = other.params
		}
	}
	unit, said := item.params["qu"]
	if !said {
		unit, said = policy["qu"]
	}
	if said && unit != "requests" {
		return Quota{}, false
	}
	quota.Limit, _ = parseCount(policy["q"])
	quota.Remaining, quota.HasRemaining = parseCount(item.params["r"])
	quota.ResetAfter, quota.HasReset = parseDelta(item.params["t"])
	quota.Window, _ = parseDelta(policy["w"])
	return quota, quota.HasRemaining
}

func tighter(a, b Quota) bool {
	if a.Remaining != b.Remaining {
		return a.Remaining < b.Remaining
	}
	return a.ResetAfter > b.ResetAfter
}

func separate(header http.Header, names family, wall time.Time) Quota {
	var quota Quota
	limits := parseItems(joinedLines(header, names.limit))
	quota.Remaining, quota.HasRemaining = parseCount(joinedLines(header, names.remaining))
	quota.ResetAfter, quota.HasReset = parseReset(joinedLines(header, names.reset), wall)
	if len(limits) == 0 {
		return quota
	}
	quota.Limit, _ = parseCount(limits[0].key)
	quota.Window, _ = parseDelta(limits[0].params["w"])
	if quota.Limit > 0 && quota.Window == 0 {
		quota = fill(quota, policyOf(quota.Limit, limits[1:]))
		quota = fill(quota, policyOf(quota.Limit, parseItems(joinedLines(header, "RateLimit-Policy"))))
	}
	return quota
}

// policyOf finds the window of "100;w=60" that goes with a limit.
func policyOf(limit int, policies []item) Quota {
	for _, policy := range policies {
		if count, ok := parseCount(policy.key); ok && limit > 0 && count == limit {
			window, _ := parseDelta(policy.params["w"])
			return Quota{Window: window}
		}
	}
	return Quota{}
}
