package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/mavera-ai/mavera-rl/bindings/go/client"
)

func ExampleTransport() {
	hits := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if hits++; hits == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()

	api := &http.Client{
		Transport: &client.Transport{
			Limit:  60,
			Window: time.Minute,
			Retry:  client.Retry{Backoff: time.Millisecond},
			OnLow:  func(s client.Status) { fmt.Println("left:", s.Remaining) },
		},
	}
	response, err := api.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Status, "after", hits, "tries")
	// Output: 200 OK after 2 tries
}

func ExampleGaveUpError() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()

	api := &http.Client{Transport: &client.Transport{}}
	_, err := api.Get(server.URL)
	var gaveUp *client.GaveUpError
	if errors.As(err, &gaveUp) {
		fmt.Println("status", gaveUp.StatusCode, "come back in", gaveUp.RetryAfter)
	}
	// Output: status 429 come back in 1h0m0s
}

func ExampleQueue() {
	queue, err := client.NewQueue(client.Options{Limit: 2, Window: time.Hour}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 3 {
		slot, err := queue.Slot(ctx)
		if err != nil {
			// At once: the third turn comes in an hour, after the deadline.
			fmt.Println("too late:", errors.Is(err, context.DeadlineExceeded))
			return
		}
		fmt.Println("send")
		slot.Close()
	}
	// Output:
	// send
	// send
	// too late: true
}
