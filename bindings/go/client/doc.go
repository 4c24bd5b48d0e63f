// Package client is good manners for callers of rate-limited HTTP APIs: it
// keeps the exact sliding window on the caller's side, reads what answers say
// of the quota, and repeats what may be repeated, never before Retry-After.
//
//	api := &http.Client{
//		Transport: &client.Transport{Limit: 60, Window: time.Minute},
//	}
//	response, err := api.Get("https://api.example.com/v1/things")
//	var gaveUp *client.GaveUpError
//	if errors.As(err, &gaveUp) {
//		log.Printf("asked to come back in %v", gaveUp.RetryAfter)
//	}
//
// [Transport] is all that an [http.Client] needs. Below it, for other
// protocols: [Queue] lets goroutines go in order, each as soon as it may;
// [Ledger] is the arithmetic of that, and pure; [ParseRetryAfter] and
// [ParseQuota] read headers; [Monitor] warns when little is left.
//
// A caller that is alone with its key is never refused by a server with a
// strict sliding window, whatever the latency. With several callers per key
// refusals are few, and one with a Retry-After pauses all requests of its key
// for that long.
//
// State is per process and not shared between Transports: use one for all
// requests of a key.
//
// Pure Go, without the C library and without a goroutine of its own.
package client
