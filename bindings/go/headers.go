package mavera

import (
	"net/http"
	"runtime"
	"strings"

	"github.com/mavera-ai/mavera-rl/bindings/go/internal/capi"
)

// Headers says which headers tell of a decision.
type Headers uint32

const (
	// Legacy: X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset (Unix
	// seconds).
	Legacy Headers = capi.Legacy
	// IETF: RateLimit-Policy and RateLimit of
	// draft-ietf-httpapi-ratelimit-headers-11.
	IETF Headers = capi.IETF
	// LegacyAndIETF: both of them.
	LegacyAndIETF Headers = capi.Both
)

// By the name that the library writes; as http.Header has them. Canonical form
// would be X-Ratelimit-Limit, and is what Header.Get looks for.
var canonical = map[string]string{
	"X-RateLimit-Limit":     http.CanonicalHeaderKey("X-RateLimit-Limit"),
	"X-RateLimit-Remaining": http.CanonicalHeaderKey("X-RateLimit-Remaining"),
	"X-RateLimit-Reset":     http.CanonicalHeaderKey("X-RateLimit-Reset"),
	"RateLimit-Policy":      http.CanonicalHeaderKey("RateLimit-Policy"),
	"RateLimit":             http.CanonicalHeaderKey("RateLimit"),
	"Retry-After":           http.CanonicalHeaderKey("Retry-After"),
}

// SetHeaders sets the headers that tell of d; a refusal's include Retry-After.
func (d Decision) SetHeaders(header http.Header, which Headers) {
	var buf [512]byte
	n := min(capi.Headers(&d.raw, uint32(which), buf[:]), len(buf)-1)
	// One string for all values: each is a part of it.
	rest := string(buf[:n])
	// And one array for the slices that hold them.
	values := make([]string, 0, len(canonical))
	for rest != "" {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, found := strings.Cut(line, ": ")
		if !found || len(values) == cap(values) {
			break
		}
		values = append(values, value)
		last := len(values)
		header[canonical[name]] = values[last-1 : last : last]
	}
}

// Body is the JSON error of a refusal; nil if the request was allowed. Its
// Content-Type is application/json, its status 429.
func (d Decision) Body() []byte {
	body := make([]byte, 512)
	n := capi.Body(&d.raw, body)
	if n >= len(body) {
		body = make([]byte, n+1)
		n = capi.Body(&d.raw, body)
	}
	runtime.KeepAlive(d.plan)
	if n == 0 {
		return nil
	}
	return body[:n]
}
