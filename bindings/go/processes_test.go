package mavera_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

const (
	pathEnv = "MAVERA_TEST_PATH"

	// What a child is asked to do: spend says how many checks were allowed,
	// hold takes 3 permits, says so, and holds them until its input ends.
	spend = "spend"
	hold  = "hold"

	sharedLimit = 5000
)

// child is the main function of a child.
func child(story string) {
	limiter, err := mavera.Open(os.Getenv(pathEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// The beginning, for all of them.
	input := bufio.NewReader(os.Stdin)
	fmt.Println("ready")
	_, _ = input.ReadString('\n')
	switch story {
	case spend:
		allowed := 0
		for range sharedLimit {
			decision, err := limiter.Check("a", mavera.PerMinute(sharedLimit))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if decision.Allowed() {
				allowed++
			}
		}
		fmt.Println(allowed)
	case hold:
		for range 3 {
			if _, err := limiter.TryAcquire("a", video); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		fmt.Println("held")
		_, _ = io.Copy(io.Discard, input)
	}
}

// process is a child as its parent has it.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
}

func start(t *testing.T, story, path string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable)
	cmd.Env = append(os.Environ(), childEnv+"="+story, pathEnv+"="+path)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p := &process{t, cmd, input, bufio.NewReader(output)}
	equal(t, "child", p.says(), "ready")
	return p
}

func (p *process) says() string {
	p.t.Helper()
	line, err := p.output.ReadString('\n')
	if err != nil {
		p.t.Fatalf("a child ended: %v", err)
	}
	return strings.TrimSpace(line)
}

func (p *process) begin() { _, _ = io.WriteString(p.input, "\n") }

func TestProcessesSpendExactlyTheLimit(t *testing.T) {
	path := sharedPath(t)
	limiter := open(t, path)
	var children []*process
	for range 4 {
		children = append(children, start(t, spend, path))
	}
	for _, child := range children {
		child.begin()
	}
	total := 0
	for _, child := range children {
		allowed, err := strconv.Atoi(child.says())
		if err != nil {
			t.Fatal(err)
		}
		total += allowed
	}
	equal(t, "allowed", total, sharedLimit)
	decision := check(t, limiter, "a", mavera.PerMinute(sharedLimit))
	equal(t, "outcome", decision.Outcome(), mavera.Limited)
	equal(t, "used", decision.Used(), sharedLimit)
}

// holder is a child that holds all permits of video.
func holder(t *testing.T, path string) *process {
	t.Helper()
	child := start(t, hold, path)
	child.begin()
	equal(t, "child", child.says(), "held")
	return child
}

// freeSoon asserts that a permit is to be had by whoever asks 10 ms from now,
// and by most who ask before.
func freeSoon(t *testing.T, limiter *mavera.Limiter) {
	t.Helper()
	for began := time.Now(); ; {
		late := time.Since(began) >= 10*time.Millisecond
		admission := admit(t, limiter, "a", "starter", "/video-analyses")
		if admission.Allowed() {
			equal(t, "in flight", admission.InFlight(), 1)
			admission.Permit.Release()
			return
		}
		if late {
			t.Fatalf("after %v: %v", time.Since(began), admission)
		}
	}
}

func TestPermitsOfAKilledProcessAreFreeAtTheNextRequest(t *testing.T) {
	path := sharedPath(t)
	limiter := open(t, path)
	for range 3 {
		child := holder(t, path)
		equal(t, "in flight", inFlight(t, limiter, "a", video), 3)
		equal(t, "outcome", admit(t, limiter, "a", "starter", "/video-analyses").Outcome(), mavera.Busy)
		if err := child.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = child.cmd.Wait()
		freeSoon(t, limiter)
	}
}

func TestPermitsOfAProcessThatEndsAreFree(t *testing.T) {
	path := sharedPath(t)
	limiter := open(t, path)
	child := holder(t, path)
	_ = child.input.Close()
	if err := child.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	freeSoon(t, limiter)
}

func TestAStoppedProcessKeepsItsPermits(t *testing.T) {
	path := sharedPath(t)
	limiter := open(t, path)
	child := holder(t, path)
	if err := child.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child.cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("not stopped: %v, %v", status, err)
	}
	// Long enough to look at the process more than once.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := limiter.Acquire(ctx, "a", video)
	fails(t, err, context.DeadlineExceeded)
	equal(t, "in flight", inFlight(t, limiter, "a", video), 3)

	if err := child.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	equal(t, "outcome", admit(t, limiter, "a", "starter", "/video-analyses").Outcome(), mavera.Busy)
	_ = child.cmd.Process.Kill()
	_ = child.cmd.Wait()
	freeSoon(t, limiter)
}
