// Package mavera is an exact sliding-window rate limiter, shared by all
// processes of a host.
//
//	limiter, err := mavera.Open("/dev/shm/limits")
//	...
//	decision, err := limiter.Check("api-key-1", mavera.PerMinute(60))
//	if !decision.Allowed() {
//		// 429, decision.RetryAfter()
//	}
//
// In any span of one window no key gets more than its limit, over all threads,
// processes and languages that open the same path. A process may be killed
// between any two instructions: no count is lost, no permit leaks. Nothing is
// allocated by a check, and a refusal writes nothing.
//
// [Limiter.Middleware] limits an [http.Handler]; package client is for callers
// of a limited API.
//
// # Linking
//
// By default the package links the static library that `make` builds in the
// root of the repository. With the build tag mavera_dynamic it asks pkg-config
// for an installed library, which is the way for modules that import it from
// elsewhere:
//
//	go build -tags mavera_dynamic ./...
//
// Linux, 64-bit, cgo.
package mavera
