package client

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// Transport is an [http.RoundTripper] that keeps within the limits of the APIs
// it talks to. The zero value is ready: it sends with http.DefaultTransport,
// learns limits from answers, and repeats what may be repeated.
//
// A request waits for its turn, is sent, and its answer is taken in: quota,
// limits, a pause for all requests of its key. If it failed and may be repeated
// it waits and takes a turn again, before all that never had one. What may be
// repeated, and when, is told at [Retry].
//
// A place in flight is given back when the body of the response is closed, or
// read to its end; one that is dropped without either keeps its place, as it
// keeps its connection.
//
// RoundTrip returns [*GaveUpError], also when the last try had a response that
// would have been repeated, and whatever Base returns. The deadline of the
// request's context, and with it http.Client.Timeout, is honoured in every
// wait; Request.Cancel is left to Base.
//
// What Base sends again by itself, as net/http does on a connection the server
// had closed, counts once here. If the server counted it twice, the surplus is
// taken for another spender's.
//
// Safe for concurrent use if Base is, and if the bodies of its responses may be
// closed during a Read, as those of net/http may. The fields are read once, by the first
// request.
type Transport struct {
	// Base sends; http.DefaultTransport if nil.
	Base http.RoundTripper
	// Limit is requests per Window and key. With 0 requests are not held back
	// until the server tells its limit. See [Options] for this and the next
	// three.
	Limit       int
	Window      time.Duration
	MaxInFlight int
	Margin      time.Duration
	// MaxWait is how long a request waits for its first turn. 0: as long as it
	// takes, but never through a pause longer than Retry.MaxTotal.
	MaxWait time.Duration
	// Retry is the policy.
	Retry Retry
	// Key is what the server counts by; [DefaultKey] if nil. Keys are logged:
	// no secret belongs into them.
	Key func(*http.Request) string
	// Threshold, OnLow and Logger are those of the [Monitor] of each key. OnLow
	// is called before RoundTrip returns, while the request has its place: it
	// must not wait for another request of the same key.
	Threshold int
	OnLow     func(Status)
	Logger    *slog.Logger

	once   sync.Once
	err    error
	base   http.RoundTripper
	key    func(*http.Request) string
	retry  Retry
	queues *keyed
}

func (t *Transport) setup() error {
	t.once.Do(func() {
		t.base, t.key = t.Base, t.Key
		if t.base == nil {
			t.base = http.DefaultTransport
		}
		if t.key == nil {
			t.key = DefaultKey
		}
		options, err := Options{
			Limit:       t.Limit,
			Window:      t.Window,
			MaxInFlight: t.MaxInFlight,
			Margin:      t.Margin,
		}.checked()
		if err != nil {
			t.err = err
			return
		}
		if t.retry, t.err = t.Retry.checked(); t.err != nil {
			return
		}
		monitor := Monitor{Threshold: t.Threshold, OnLow: t.OnLow, Logger: t.Logger}
		t.queues = newKeyed(MostKeys, func(key string) *Queue {
			// The options are checked.
			queue, _ := NewQueue(options, &Monitor{
				Key:       key,
				Threshold: monitor.Threshold,
				OnLow:     monitor.OnLow,
				Logger:    monitor.Logger,
			})
			return queue
		})
	})
	return t.err
}

// Queue is the queue of a request's key, for a look at it; nil if there is
// none.
func (t *Transport) Queue(request *http.Request) *Queue {
	if t.setup() != nil {
		return nil
	}
	return t.queues.get(t.key(request))
}

// CloseIdleConnections is passed on to Base.
func (t *Transport) CloseIdleConnections() {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if closer, ok := base.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// RoundTrip sends one request when its turn comes.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	err := t.setup()
	body := newRequestBody(request, t.retry.Attempts > 1)
	defer body.settle()
	if err != nil {
		return nil, err
	}
	queue, end := t.queues.lease(t.key(request))
	defer end()
	ctx := request.Context()
	tries := tries{retry: &t.retry}
	for {
		slot, late := queue.take(ctx, tries.turn(time.Now(), t.MaxWait))
		if late != nil {
			return nil, tries.late(time.Now(), late)
		}
		response, again, err := t.try(slot, &tries, body)
		if !again {
			return response, err
		}
		wait, cap := tries.wait(time.Now())
		if cap != "" {
			return nil, tries.gaveUp(time.Now(), cap)
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, tries.ended(time.Now(), err)
		}
	}
}

// try sends once. If again is false the rest is for the caller; otherwise the
// try failed, may be repeated, and is noted in tries.
func (t *Transport) try(
	slot *Slot, tries *tries, body *requestBody,
) (response *http.Response, again bool, err error) {
	handed := false
	defer func() {
		if !handed {
			slot.Close()
		}
	}()
	request, err := body.next()
	if err != nil {
		slot.Cancel()
		return nil, false, err
	}
	tries.begin(time.Now())
	response, err = t.base.RoundTrip(request)
	if err != nil {
		failed := ofError(err)
		replayable := body.replayable()
		if failed == unsent {
			slot.Cancel()
			replayable = replayable || body.untouched()
		}
		// An error that only coincides with the end of the context is told
		// beside it, as if it had ended the wait.
		if isContextError(body.request.Context(), err) ||
			!t.repeats(body.request, failed, replayable) {
			return nil, false, err
		}
		tries.err = err
		return nil, true, nil
	}
	if response == nil {
		return nil, false, nil // The http.Client has an error for that.
	}
	if response.Request == request {
		response.Request = body.request
	}
	taken := false
	defer func() {
		// OnLow and Safe are the caller's, and may panic.
		if !taken && response.Body != nil {
			_ = response.Body.Close()
		}
	}()
	answer := slot.Answered(response.StatusCode, response.Header)
	failed := t.retry.ofStatus(response.StatusCode, answer.HasRetryAfter)
	again = t.repeats(body.request, failed, body.replayable())
	taken = true
	if !again {
		handed = true
		watch(response, slot)
		return response, false, nil
	}
	tries.retryAfter = answer.RetryAfter
	tries.status, tries.header = response.StatusCode, response.Header
	drain(response.Body)
	return nil, true, nil
}

func (t *Transport) repeats(request *http.Request, failed failure, replayable bool) bool {
	// Safe is asked only if it matters.
	safe := failed == uncertain && replayable && t.retry.isSafe(request)
	return t.retry.mayRepeat(failed, safe, replayable)
}
