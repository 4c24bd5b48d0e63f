package client

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// epochFrom: from here on a reset is Unix seconds. As a delta it would be
	// 31 years; as Unix seconds it is September 2001.
	epochFrom = 1_000_000_000
	// millisecondsFrom: from here on a reset is Unix milliseconds. That is
	// March 1973; as Unix seconds it is the year 5138.
	millisecondsFrom = 100_000_000_000
	largestCount     = 1_000_000_000_000
	longestNumber    = 24
	longestDate      = 64
)

// number is a decimal without sign or exponent. Digits beyond a nanosecond
// round up: a wait may be longer than told, never shorter.
type number struct {
	whole int64 // math.MaxInt64 stands for anything larger.
	nanos int64 // Up to 1e9, inclusive.
}

func parseNumber(text string) (number, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	if whole == "" || len(whole) > longestNumber || len(fraction) > longestNumber ||
		!digits(whole) || !digits(fraction) {
		return number{}, false
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	read := number{whole: n}
	for i := range 9 {
		read.nanos *= 10
		if i < len(fraction) {
			read.nanos += int64(fraction[i] - '0')
		}
	}
	if len(fraction) > 9 && strings.Trim(fraction[9:], "0") != "" {
		read.nanos++
	}
	return read, true
}

func digits(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// seconds is the number as a duration; false if that is no duration.
func (n number) seconds() (time.Duration, bool) {
	if n.whole >= int64(math.MaxInt64/time.Second) {
		return 0, false
	}
	return time.Duration(n.whole)*time.Second + time.Duration(n.nanos), true
}

func parseCount(text string) (int, bool) {
	n, ok := parseNumber(text)
	if !ok || n.whole > largestCount {
		return 0, false
	}
	// An int may have 32 bits.
	return int(min(n.whole, math.MaxInt)), true
}

func parseDelta(text string) (time.Duration, bool) {
	n, ok := parseNumber(text)
	if !ok {
		return 0, false
	}
	return believed(n.seconds())
}

func believed(d time.Duration, ok bool) (time.Duration, bool) {
	if !ok || d > Longest {
		return 0, false
	}
	return max(d, 0), true
}

// parseReset reads a delta, an instant or a duration, as time from wall on.
func parseReset(text string, wall time.Time) (time.Duration, bool) {
	if n, ok := parseNumber(text); ok {
		switch {
		case n.whole > largestCount*1000:
			return 0, false
		case n.whole >= millisecondsFrom:
			return believed(time.UnixMilli(n.whole).Sub(wall), true)
		case n.whole >= epochFrom:
			return believed(time.Unix(n.whole, n.nanos).Sub(wall), true)
		}
		return believed(n.seconds())
	}
	if len(text) > longestDate || text == "" {
		return 0, false
	}
	if digits(text[:1]) {
		if d, err := time.ParseDuration(text); err == nil {
			return believed(d, true)
		}
		if at, ok := parseRFC3339(text); ok {
			return believed(at.Sub(wall), true)
		}
	}
	if at, ok := parseDate(text); ok {
		return believed(at.Sub(wall), true)
	}
	return 0, false
}

// parseRFC3339 also reads what RFC 3339 allows and the time package does not:
// small letters, a space, and leap seconds.
func parseRFC3339(text string) (time.Time, bool) {
	if len(text) < len("2006-01-02T15:04:05Z") {
		return time.Time{}, false
	}
	bytes := []byte(text)
	if bytes[10] == 't' || bytes[10] == ' ' {
		bytes[10] = 'T'
	}
	if last := len(bytes) - 1; bytes[last] == 'z' {
		bytes[last] = 'Z'
	}
	if string(bytes[17:19]) == "60" {
		copy(bytes[17:], "59")
	}
	at, err := time.Parse(time.RFC3339, string(bytes))
	return at, err == nil
}

func parseDate(text string) (time.Time, bool) {
	if len(text) > longestDate {
		return time.Time{}, false
	}
	if prefix, ok := strings.CutSuffix(text, " UTC"); ok {
		text = prefix + " GMT"
	}
	if at, err := http.ParseTime(text); err == nil {
		return at, true
	}
	at, err := time.Parse(time.RFC1123Z, text)
	return at, err == nil
}
