// A gateway on net/http: the contract, on a region that it may share with
// gateways in C and Python.
//
//	go run . --region /dev/shm/gateway --plan ../gateway/plan.toml
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

const (
	longestDelay = time.Minute
	patience     = 5 * time.Second
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("go-gateway: ")
	listen := flag.String("listen", "127.0.0.1:8080", "address; port 0 is a free one")
	region := flag.String("region", "", "file of the limiter, best on /dev/shm")
	file := flag.String("plan", "", "TOML file with tiers, endpoints and API keys")
	flag.Parse()
	if *region == "" || *file == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*listen, *region, *file); err != nil {
		log.Fatal(err)
	}
}

func run(listen, region, file string) error {
	plan, err := mavera.LoadPlan(file)
	if err != nil {
		return err
	}
	limiter, err := mavera.Open(region, mavera.WithPlan(plan))
	if err != nil {
		return err
	}
	defer limiter.Close()

	work := http.HandlerFunc(work)
	mux := http.NewServeMux()
	for _, endpoint := range plan.Endpoints() {
		mux.Handle(endpoint.Name(), work)
	}
	server := &http.Server{
		Handler:           limiter.Middleware()(mux),
		ReadHeaderTimeout: patience,
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("go-gateway: http://%s\n", listener.Addr())

	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-stopped.Done():
	}
	// What is in flight may end.
	ending, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// work takes its time, if it is asked to: what is in flight becomes visible.
func work(w http.ResponseWriter, r *http.Request) {
	delay := 0
	if text := r.URL.Query().Get("delay_ms"); text != "" {
		var err error
		delay, err = strconv.Atoi(text)
		if err != nil || delay < 0 || delay > int(longestDelay.Milliseconds()) {
			http.Error(w, "delay_ms must be from 0 to 60000", http.StatusBadRequest)
			return
		}
	}
	select {
	case <-r.Context().Done():
		return
	case <-time.After(time.Duration(delay) * time.Millisecond):
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"language":"go","pid":%d}`, os.Getpid())
}
