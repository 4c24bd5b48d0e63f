package mavera

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// The bodies of a request without a key, with one that is none of the plan's,
// and of one that the limiter could not answer for.
const (
	noKeyBody = `{"error":{"message":"No API key. Send it as X-API-Key or ` +
		`Authorization: Bearer.","type":"authentication_error",` +
		`"code":"invalid_api_key","param":null}}`
	invalidKeyBody = `{"error":{"message":"Invalid API key.","type":"authentication_error",` +
		`"code":"invalid_api_key","param":null}}`
	unavailableBody = `{"error":{"message":"The service is unavailable. Please retry later.",` +
		`"type":"api_error","code":"service_unavailable","param":null}}`
)

// KeyFunc says whose quota a request is charged to; "" is nobody's.
type KeyFunc func(*http.Request) string

// MiddlewareOption changes what [Limiter.Middleware] does.
type MiddlewareOption func(*middleware)

type middleware struct {
	limiter *Limiter
	key     KeyFunc
	tier    func(r *http.Request, key string) string
	policy  func(r *http.Request, key string) (Policy, bool)
	headers Headers
	bare    bool
	pass    bool
	failed  func(w http.ResponseWriter, r *http.Request, err error) bool
}

// KeyFrom changes who is asking; [APIKey] if not given.
func KeyFrom(key KeyFunc) MiddlewareOption {
	return func(m *middleware) { m.key = key }
}

// Tier gives all requests one tier.
func Tier(name string) MiddlewareOption {
	return TierFrom(func(*http.Request, string) string { return name })
}

// TierFrom says a request's tier; "" is what the plan's own list says of the
// key, which is so for all requests if neither this nor [PolicyFrom] is given.
// A key that it does not list gets a 401.
func TierFrom(tier func(r *http.Request, key string) string) MiddlewareOption {
	return func(m *middleware) { m.tier = tier }
}

// PolicyFrom says what was negotiated with a key; false leaves it to the tier.
func PolicyFrom(policy func(r *http.Request, key string) (Policy, bool)) MiddlewareOption {
	return func(m *middleware) { m.policy = policy }
}

// WithHeaders says which headers are set; [Legacy] if not given.
func WithHeaders(which Headers) MiddlewareOption {
	return func(m *middleware) { m.headers = which }
}

// WithoutHeaders sets none but the Retry-After of refusals.
func WithoutHeaders() MiddlewareOption {
	return func(m *middleware) { m.bare = true }
}

// PassWithoutKey lets requests without a key pass without a limit; otherwise
// they get a 401.
func PassWithoutKey() MiddlewareOption {
	return func(m *middleware) { m.pass = true }
}

// OnError is told why the limiter could not answer, and may answer itself. It
// reports whether the request goes on, without a limit. Without it such
// requests get a 503.
func OnError(failed func(w http.ResponseWriter, r *http.Request, err error) bool) MiddlewareOption {
	return func(m *middleware) { m.failed = failed }
}

// APIKey is the key in X-API-Key, or else the token of Authorization: Bearer.
func APIKey(r *http.Request) string {
	if key := strings.Trim(r.Header.Get("X-Api-Key"), " \t"); key != "" {
		return key
	}
	const scheme = "bearer "
	authorization := r.Header.Get("Authorization")
	if len(authorization) > len(scheme) && strings.EqualFold(authorization[:len(scheme)], scheme) {
		return strings.Trim(authorization[len(scheme):], " \t")
	}
	return ""
}

// ClientAddress is the peer's address, without its port. Never from
// X-Forwarded-For: the client writes that header, and would choose its own key,
// a new one for every request. Behind a proxy, read what that proxy sets.
func ClientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Middleware limits the requests of a handler, by the limiter's plan and the
// path that the client sent.
//
// The headers are set before the handler runs, on the response writer that the
// server gave, which the handler gets as it is. A refused request is answered
// with 429 and does not reach the handler. A permit is held until the handler
// returns or panics; also if it has hijacked the connection.
func (l *Limiter) Middleware(options ...MiddlewareOption) func(http.Handler) http.Handler {
	m := middleware{limiter: l, key: APIKey, headers: Legacy}
	for _, option := range options {
		option(&m)
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.serve(w, r, next)
		})
	}
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	key := m.key(r)
	if key == "" {
		if m.pass {
			next.ServeHTTP(w, r)
			return
		}
		unauthorized(w, noKeyBody)
		return
	}
	admission, listed, err := m.admit(r, key)
	if err != nil {
		m.fail(w, r, next, listed, err)
		return
	}
	m.tell(w, admission.Decision)
	if !admission.Allowed() {
		answer(w, http.StatusTooManyRequests, admission.Body())
		return
	}
	if !admission.Permit.Held() {
		next.ServeHTTP(w, r)
		return
	}
	defer admission.Permit.Release()
	next.ServeHTTP(w, r)
}

// admit also reports whether the plan's own list was asked for the key.
func (m *middleware) admit(r *http.Request, key string) (admission Admission, listed bool, err error) {
	target := r.RequestURI
	if target == "" {
		// A request that no server has read.
		target = r.URL.RequestURI()
	}
	if m.policy != nil {
		if policy, ok := m.policy(r, key); ok {
			admission, err = m.limiter.AdmitPolicy(key, policy, target)
			return admission, false, err
		}
	}
	tier := ""
	if m.tier != nil {
		tier = m.tier(r, key)
	}
	admission, err = m.limiter.Admit(key, tier, target)
	return admission, tier == "", err
}

func (m *middleware) tell(w http.ResponseWriter, decision Decision) {
	if !m.bare {
		decision.SetHeaders(w.Header(), m.headers)
	} else if !decision.Allowed() {
		w.Header().Set("Retry-After", strconv.Itoa(decision.RetryAfterSeconds()))
	}
}

func (m *middleware) fail(w http.ResponseWriter, r *http.Request, next http.Handler, listed bool, err error) {
	if listed && errors.Is(err, ErrUnknown) {
		unauthorized(w, invalidKeyBody)
		return
	}
	if m.failed == nil {
		answer(w, http.StatusServiceUnavailable, []byte(unavailableBody))
		return
	}
	if m.failed(w, r, err) {
		next.ServeHTTP(w, r)
	}
}

func unauthorized(w http.ResponseWriter, body string) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	answer(w, http.StatusUnauthorized, []byte(body))
}

func answer(w http.ResponseWriter, status int, body []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// Whoever cannot be told is gone.
	_, _ = w.Write(body)
}
