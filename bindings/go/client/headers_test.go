package client

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// headerNow is Tue, 14 Nov 2023 22:13:20 GMT.
var headerNow = time.Unix(1_700_000_000, 0)

// header makes a header of lines "Name: value".
func header(lines ...string) http.Header {
	made := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		made.Add(name, value)
	}
	return made
}

const unread = time.Duration(math.MinInt64)

func TestRetryAfterIsReadInEveryForm(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0":                               0,
		"12":                              12 * time.Second,
		" 12 ":                            12 * time.Second,
		"1.5":                             1500 * time.Millisecond,
		"2.":                              2 * time.Second,
		"0.0000000001":                    1,
		"0.9999999999":                    time.Second,
		"Tue, 14 Nov 2023 22:13:50 GMT":   30 * time.Second,
		"Tue, 14 Nov 2023 22:13:50 UTC":   30 * time.Second,
		"Tue, 14 Nov 2023 22:13:50 +0000": 30 * time.Second,
		"Tuesday, 14-Nov-23 22:13:50 GMT": 30 * time.Second,
		"Tue Nov 14 22:13:50 2023":        30 * time.Second,
		"Tue, 14 Nov 2023 22:13:00 GMT":   0,
		"Fri, 31 Dec 9999 23:59:59 GMT":   Longest,
		"99999999999999":                  Longest,
		strings.Repeat("9", 24):           Longest,
		"-1":                              unread,
		"NaN":                             unread,
		"inf":                             unread,
		"1e400":                           unread,
		"1e3":                             unread,
		"1_000":                           unread,
		"0x10":                            unread,
		"+5":                              unread,
		".5":                              unread,
		"1.2.3":                           unread,
		"\u0663":                          unread,
		"soon":                            unread,
		"":                                unread,
		strings.Repeat("9", 5000):         unread,
	} {
		got, ok := ParseRetryAfter(http.Header{"Retry-After": {text}}, headerNow)
		if !ok {
			got = unread
		}
		if got != want {
			t.Errorf("%.40q: %v, want %v", text, got, want)
		}
	}
}

func TestOfSeveralRetryAftersTheLongestCounts(t *testing.T) {
	got, ok := ParseRetryAfter(
		header("Retry-After: 3", "Retry-After: soon", "Retry-After: 40", "Retry-After: 5"), headerNow)
	if !ok || got != 40*time.Second {
		t.Errorf("%v, %v", got, ok)
	}
}

func TestADateCountsFromTheServersOwnDateAndNotFromOurClock(t *testing.T) {
	answer := header(
		"Retry-After: Tue, 14 Nov 2023 22:13:50 GMT",
		"Date: Tue, 14 Nov 2023 22:13:20 GMT",
	)
	for _, skew := range []time.Duration{-time.Hour, 0, time.Hour} {
		if got, ok := ParseRetryAfter(answer, headerNow.Add(skew)); !ok || got != 30*time.Second {
			t.Errorf("skew %v: %v, %v", skew, got, ok)
		}
	}
}

func TestAResetInUnixSecondsCountsFromTheServersOwnDate(t *testing.T) {
	answer := header("X-RateLimit-Reset: 1700000007", "Date: Tue, 14 Nov 2023 22:13:20 GMT")
	quota := ParseQuota(answer, headerNow.Add(500*time.Second))
	if !quota.HasReset || quota.ResetAfter != 7*time.Second {
		t.Errorf("%+v", quota)
	}
}

func TestAResetIsReadInEveryForm(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1700000042":                    42 * time.Second,
		"1700000042.5":                  42500 * time.Millisecond,
		"1700000042500":                 42500 * time.Millisecond,
		"1699999990":                    0,
		"42":                            42 * time.Second,
		"0.25":                          250 * time.Millisecond,
		"6s":                            6 * time.Second,
		"1m30s":                         90 * time.Second,
		"250ms":                         250 * time.Millisecond,
		"1h2m3.5s":                      3723500 * time.Millisecond,
		"6m0s":                          6 * time.Minute,
		"500\u00b5s":                    500 * time.Microsecond,
		"2023-11-14T22:13:50Z":          30 * time.Second,
		"2023-11-14T22:13:50.250z":      30250 * time.Millisecond,
		"2023-11-14t22:13:50Z":          30 * time.Second,
		"2023-11-14T23:13:50+01:00":     30 * time.Second,
		"2023-11-14 21:43:50-00:30":     30 * time.Second,
		"2023-11-14T22:13:60Z":          39 * time.Second,
		"2023-02-30T00:00:00Z":          unread,
		"Tue, 14 Nov 2023 22:13:50 GMT": 30 * time.Second,
		"999999999":                     unread,
		"17000000425000000":             unread,
		"99999999h":                     unread,
		"-5":                            unread,
		"-5s":                           unread,
		"5x":                            unread,
		"s":                             unread,
		"nan":                           unread,
	} {
		quota := ParseQuota(header("X-RateLimit-Reset: "+text), headerNow)
		got := quota.ResetAfter
		if !quota.HasReset {
			got = unread
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// said makes a Quota; -1 is what it does not say.
func said(limit, remaining int, reset, window time.Duration) Quota {
	quota := Quota{Limit: limit, Window: window * time.Second}
	if remaining >= 0 {
		quota.Remaining, quota.HasRemaining = remaining, true
	}
	if reset >= 0 {
		quota.ResetAfter, quota.HasReset = reset*time.Second, true
	}
	return quota
}

func TestAQuotaIsReadInEveryForm(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  Quota
	}{
		{"nothing", nil, Quota{}},
		{
			"the custom of the field",
			[]string{"X-RATELIMIT-LIMIT: 60", "x-ratelimit-remaining: 3", "X-RateLimit-Reset: 1700000010"},
			said(60, 3, 10, 0),
		},
		{
			"requests beside tokens",
			[]string{
				"x-ratelimit-limit-requests: 500",
				"x-ratelimit-remaining-requests: 499",
				"x-ratelimit-reset-requests: 12s",
				"x-ratelimit-limit-tokens: 9",
			},
			said(500, 499, 12, 0),
		},
		{
			"another spelling",
			[]string{"X-Rate-Limit-Limit: 15", "X-Rate-Limit-Remaining: 14", "X-Rate-Limit-Reset: 9"},
			said(15, 14, 9, 0),
		},
		{
			"structured",
			[]string{`RateLimit: "default";r=45;t=12`, `RateLimit-Policy: "default";q=60;w=60`},
			said(60, 45, 12, 60),
		},
		{
			"structured, of several units",
			[]string{
				`RateLimit: "in-flight";r=2, "default";r=45;t=12`,
				`RateLimit-Policy: "default";q=60;w=60, "in-flight";q=3;qu="concurrent-requests"`,
			},
			said(60, 45, 12, 60),
		},
		{
			"structured, the tightest of several",
			[]string{
				`RateLimit: "burst";r=9;t=1, "day";r=4;t=5000`,
				`RateLimit-Policy: "burst";q=10;w=1,"day";q=1000;w=86400`,
			},
			said(1000, 4, 5000, 86400),
		},
		{
			"structured, on several lines",
			[]string{
				`RateLimit: "burst";r=9;t=1`,
				`RateLimit: "day";r=4;t=5000`,
				`RateLimit-Policy: "burst";q=10;w=1`,
				`RateLimit-Policy: "day";q=1000;w=86400`,
			},
			said(1000, 4, 5000, 86400),
		},
		{"structured, odd names", []string{`RateLimit: "a,b;\"c";r=1;t=2;pk=:YQ==:`}, said(0, 1, 2, 0)},
		{"structured, as a token", []string{"RateLimit: default;r=45;t=12"}, said(0, 45, 12, 0)},
		{"structured, with spaces", []string{`RateLimit: "d" ; r = 45 ; t=12`}, said(0, 45, 12, 0)},
		{"older", []string{"RateLimit: limit=100, remaining=50, reset=5"}, said(100, 50, 5, 0)},
		{
			"older with a policy",
			[]string{
				"RateLimit: limit=100, remaining=50, reset=5",
				"RateLimit-Policy: 100;w=30, 5000;w=3600",
			},
			said(100, 50, 5, 30),
		},
		{
			"oldest with policies in the limit",
			[]string{
				"RateLimit-Limit: 100, 100;w=60, 9000;w=3600",
				"RateLimit-Remaining: 7",
				"RateLimit-Reset: 5",
			},
			said(100, 7, 5, 60),
		},
		{
			"two families that agree",
			[]string{`RateLimit: "d";r=45;t=12`, "X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 45"},
			said(60, 45, 12, 0),
		},
		{
			"two families that speak of different windows",
			[]string{`RateLimit: "d";r=45;t=12`, "X-RateLimit-Limit: 9000", "X-RateLimit-Remaining: 8999"},
			said(0, 45, 12, 0),
		},
		{
			"junk",
			[]string{"X-RateLimit-Limit: -1", "X-RateLimit-Remaining: many", "X-RateLimit-Reset: inf"},
			Quota{},
		},
		{"a limit beyond belief", []string{"X-RateLimit-Limit: 99999999999999999999"}, Quota{}},
		{"less than nothing", []string{"X-RateLimit-Limit: 60", "X-RateLimit-Remaining: -3"}, said(60, -1, -1, 0)},
		{"an unclosed quote", []string{`RateLimit: "unclosed;r=1`}, Quota{}},
		{"punctuation", []string{`RateLimit: ;;;,,,=""`}, Quota{}},
	} {
		if got := ParseQuota(header(test.lines...), headerNow); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestAnItemThatCannotBeReadHidesNoOther(t *testing.T) {
	quota := ParseQuota(header(`RateLimit: a b c, "d";r=4;t=2`), headerNow)
	if quota != said(0, 4, 2, 0) {
		t.Errorf("%+v", quota)
	}
}

func TestALongHeaderIsNotRead(t *testing.T) {
	quota := ParseQuota(header(`RateLimit: "d";r=4`+strings.Repeat(" ", longestHeader)), headerNow)
	if quota != (Quota{}) {
		t.Errorf("%+v", quota)
	}
}

func expectWithinRange(t *testing.T, h http.Header, now time.Time) {
	t.Helper()
	quota := ParseQuota(h, now)
	if after, ok := ParseRetryAfter(h, now); after < 0 || after > Longest || !ok && after != 0 {
		t.Errorf("%q: Retry-After %v", h, after)
	}
	if quota.Limit < 0 || int64(quota.Limit) > largestCount ||
		quota.Remaining < 0 || int64(quota.Remaining) > largestCount ||
		quota.ResetAfter < 0 || quota.ResetAfter > Longest ||
		quota.Window < 0 || quota.Window > Longest {
		t.Errorf("%q: %+v", h, quota)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{
		"", "0", "12", "1.5", "-1", "1e9", "NaN", "soon", "999999999999999999999999",
		"Tue, 14 Nov 2023 22:13:50 GMT", "Tuesday, 14-Nov-23 22:13:50 GMT",
		"Tue Nov 14 22:13:50 2023", "Fri, 31 Dec 9999 23:59:59 GMT",
		"Mon, 01 Jan 0001 00:00:00 GMT", "Tue, 14 Nov 2023 22:13:50 +9999",
	} {
		f.Add(text, "", int64(1_700_000_000))
		f.Add(text, "Tue, 14 Nov 2023 22:13:20 GMT", int64(-1))
		f.Add("5", text, int64(math.MaxInt64))
	}
	f.Fuzz(func(t *testing.T, text, date string, now int64) {
		expectWithinRange(t, http.Header{
			"Retry-After": {text}, "Date": {date}, "X-Ratelimit-Reset": {text},
		}, time.Unix(now, 0))
	})
}

func FuzzQuota(f *testing.F) {
	for _, texts := range [][3]string{
		{`"default";r=45;t=12`, `"default";q=60;w=60`, "1700000042"},
		{`"a,b;\"c";r=1;t=2;pk=:YQ==:`, "100;w=30, 5000;w=3600", "1m30s"},
		{"limit=100, remaining=50, reset=5", "100;w=60", "2023-11-14T22:13:50Z"},
		{"100, 100;w=60", `"\`, "1700000042500"},
		{`;;;,,,=""`, `"`, "2023-11-14 21:43:60-00:30"},
		{"60", "3", "0.9999999999999"},
	} {
		f.Add(texts[0], texts[1], texts[2])
	}
	f.Fuzz(func(t *testing.T, first, second, third string) {
		for _, h := range []http.Header{
			{"Ratelimit": {first}, "Ratelimit-Policy": {second}, "Date": {third}},
			{"Ratelimit-Limit": {first}, "Ratelimit-Policy": {second}, "Ratelimit-Reset": {third}},
			{"X-Ratelimit-Limit": {first}, "X-Ratelimit-Remaining": {second}, "X-Ratelimit-Reset": {third}},
			{"Ratelimit": {first, second, third}, "Ratelimit-Policy": {third, second, first}},
		} {
			expectWithinRange(t, h, headerNow)
		}
	})
}
