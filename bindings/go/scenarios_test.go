package mavera_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"reflect"
	"testing"
	"time"

	mavera "github.com/mavera-ai/mavera-rl/bindings/go"
)

// The table of scenarios that every language plays. tests/scenarios/make.py, in
// the root, says what it is and writes it.
const table = "../../tests/scenarios/scenarios.json"

type scenario struct {
	Name    string
	Options struct {
		Keys        int
		Cells       int
		PermitKeys  int    `json:"permit_keys"`
		PermitCells int    `json:"permit_cells"`
		OnFull      string `json:"on_full"`
	}
	Steps []step
}

type step struct {
	Do       string
	At       int64
	Key      key
	Keys     []key
	Tier     string
	Limit    int
	WindowMs int64 `json:"window_ms"`
	Cost     *int
	Target   string
	Class    string
	Max      int
	Permit   string
	Expect   any
}

// key is text, or any bytes in hexadecimal digits.
type key string

func (k *key) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*k = key(text)
		return nil
	}
	var digits struct{ Hex string }
	if err := json.Unmarshal(data, &digits); err != nil {
		return err
	}
	bytes, err := hex.DecodeString(digits.Hex)
	*k = key(bytes)
	return err
}

func TestGoAnswersAsTheTableOfScenariosSays(t *testing.T) {
	data, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	var scenarios []scenario
	if err := json.Unmarshal(data, &scenarios); err != nil {
		t.Fatal(err)
	}
	if len(scenarios) < 20 {
		t.Fatalf("%d scenarios are not the whole table", len(scenarios))
	}
	for _, scenario := range scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			player := newPlayer(t, scenario)
			for number, step := range scenario.Steps {
				got := player.play(step)
				compare(t, number, step, got)
			}
		})
	}
}

// compare looks at no more of an answer than the table tells.
func compare(t *testing.T, number int, step step, got any) {
	t.Helper()
	// As it would be read from the table, where a number is a float64.
	data, err := json.Marshal(got)
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, ok := got.(map[string]any)
	expect, told := step.Expect.(map[string]any)
	if !ok || !told {
		if !reflect.DeepEqual(got, step.Expect) {
			t.Errorf("step %d, %s: got %v, want %v", number, step.Do, got, step.Expect)
		}
		return
	}
	for name, want := range expect {
		if one, ok := answer[name]; !ok || !reflect.DeepEqual(one, want) {
			t.Errorf("step %d, %s: %s is %v, want %v; in all %v",
				number, step.Do, name, one, want, answer)
		}
	}
}

// player is a limiter, and the permits that a scenario has taken by name.
type player struct {
	t       *testing.T
	limiter *mavera.Limiter
	now     time.Time
	permits map[string]mavera.Permit
}

func newPlayer(t *testing.T, s scenario) *player {
	p := &player{t: t, permits: map[string]mavera.Permit{}}
	options := []mavera.Option{
		mavera.WithKeys(1000),
		mavera.WithNow(func() time.Time { return p.now }),
	}
	given := s.Options
	if given.Keys > 0 {
		options = append(options, mavera.WithKeys(given.Keys))
	}
	if given.Cells > 0 {
		options = append(options, mavera.WithCells(given.Cells))
	}
	if given.PermitKeys > 0 {
		options = append(options, mavera.WithPermitKeys(given.PermitKeys))
	}
	if given.PermitCells > 0 {
		options = append(options, mavera.WithPermitCells(given.PermitCells))
	}
	if given.OnFull == "allow" {
		options = append(options, mavera.WithAllowWhenFull())
	}
	limiter, err := mavera.New(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { limiter.Close() })
	p.limiter = limiter
	return p
}

func (p *player) play(s step) any {
	if s.At != 0 {
		p.now = time.UnixMilli(s.At)
	}
	answer, err := p.call(s)
	if err != nil {
		return map[string]any{"error": p.kind(s, err)}
	}
	return answer
}

func (p *player) call(s step) (any, error) {
	switch s.Do {
	case "check", "peek", "check_many":
		return p.ask(s)
	case "admit":
		return p.admit(s)
	case "acquire":
		permit, err := p.limiter.TryAcquire(string(s.Key), mavera.NewClass(s.Class, s.Max))
		outcome := "allowed"
		switch {
		case errors.Is(err, mavera.ErrBusy):
			outcome = "busy"
		case errors.Is(err, mavera.ErrFull):
			outcome = "full"
		case err != nil:
			return nil, err
		default:
			p.permits[s.Permit] = permit
		}
		return map[string]any{"outcome": outcome}, nil
	case "release":
		return map[string]any{"released": p.permits[s.Permit].Release()}, nil
	case "in_flight":
		held, err := p.limiter.InFlight(string(s.Key), mavera.NewClass(s.Class, 1))
		return map[string]any{"in_flight": held}, err
	}
	p.t.Fatalf("what is %s?", s.Do)
	return nil, nil
}

func (p *player) ask(s step) (any, error) {
	policy, err := p.policy(s)
	if err != nil {
		return nil, err
	}
	var decision mavera.Decision
	switch {
	case s.Do == "check_many":
		return p.checkMany(s, policy)
	case s.Do == "peek":
		decision, err = p.limiter.Peek(string(s.Key), policy)
	case s.Cost == nil:
		decision, err = p.limiter.Check(string(s.Key), policy)
	default:
		decision, err = p.limiter.CheckN(string(s.Key), policy, *s.Cost)
	}
	return told(decision), err
}

func (p *player) checkMany(s step, policy mavera.Policy) (any, error) {
	keys := make([]string, len(s.Keys))
	for i, key := range s.Keys {
		keys[i] = string(key)
	}
	decisions, err := p.limiter.CheckMany(nil, keys, policy)
	answers := make([]any, len(decisions))
	for i, d := range decisions {
		one := told(d)
		answers[i] = []any{one["outcome"], one["used"], one["remaining"], one["retry_after_ms"]}
	}
	return answers, err
}

func (p *player) admit(s step) (any, error) {
	var admission mavera.Admission
	var err error
	if s.Tier != "" {
		admission, err = p.limiter.Admit(string(s.Key), s.Tier, s.Target)
	} else {
		policy, _ := p.policy(s)
		admission, err = p.limiter.AdmitPolicy(string(s.Key), policy, s.Target)
	}
	if err != nil {
		return nil, err
	}
	answer := told(admission.Decision)
	answer["permit"] = admission.Permit.Held()
	p.permits[s.Permit] = admission.Permit
	return answer, nil
}

func (p *player) policy(s step) (mavera.Policy, error) {
	if s.Tier != "" {
		return p.limiter.Plan().Policy(s.Tier)
	}
	window := time.Duration(s.WindowMs) * time.Millisecond
	return mavera.Policy{Limit: s.Limit, Window: window}, nil
}

// kind is the table's word for an error. What is out of its range is one kind
// here, and which number it was is told by the message alone.
func (p *player) kind(s step, err error) string {
	switch {
	case errors.Is(err, mavera.ErrCost):
		return "cost"
	case errors.Is(err, mavera.ErrUnknown):
		return "tier"
	case !errors.Is(err, mavera.ErrInvalid):
		return err.Error()
	case s.Do == "acquire":
		return "max"
	case s.Limit > mavera.MaxLimit:
		return "limit"
	}
	return "window"
}

func told(d mavera.Decision) map[string]any {
	outcomes := map[mavera.Outcome]string{
		mavera.Allowed: "allowed", mavera.Limited: "limited",
		mavera.Busy: "busy", mavera.Full: "full",
	}
	answer := map[string]any{
		"outcome":        outcomes[d.Outcome()],
		"limit":          d.Limit(),
		"used":           d.Used(),
		"remaining":      d.Remaining(),
		"retry_after_ms": d.RetryAfter().Milliseconds(),
		"retry_after_s":  d.RetryAfterSeconds(),
		"reset_after_ms": d.ResetAfter().Milliseconds(),
		"untracked":      d.Untracked(),
		"in_flight":      d.InFlight(),
		"max_in_flight":  d.MaxInFlight(),
		"endpoint":       nil,
		"headers": map[string]any{
			"legacy": headers(d, mavera.Legacy),
			"ietf":   headers(d, mavera.IETF),
		},
		"body": string(d.Body()),
	}
	if d.Endpoint() != "" {
		answer["endpoint"] = d.Endpoint()
	}
	return answer
}

// headers by the names that the table has: http.Header has others.
func headers(d mavera.Decision, which mavera.Headers) map[string]any {
	all := http.Header{}
	d.SetHeaders(all, which)
	names := []string{
		"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
		"RateLimit-Policy", "RateLimit", "Retry-After",
	}
	written := map[string]any{}
	for _, name := range names {
		if values := all.Values(name); len(values) == 1 {
			written[name] = values[0]
			all.Del(name)
		}
	}
	for name, values := range all {
		written[name] = values
	}
	return written
}
