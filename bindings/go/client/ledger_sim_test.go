package client

import (
	"container/heap"
	oldrand "math/rand"
	"math/rand/v2"
	"testing"
	"testing/quick"
	"time"
)

// tick is the unit of time of the simulation; a window is 1000 of them.
const (
	tick      = time.Millisecond
	simWindow = 1000 * tick
)

// strictLog is a strict sliding window over an exact log.
type strictLog struct {
	limit   int
	log     []time.Time
	refused int
	most    int
}

func (s *strictLog) expire(now time.Time) {
	for len(s.log) > 0 && !s.log[0].Add(simWindow).After(now) {
		s.log = s.log[1:]
	}
}

func (s *strictLog) ask(now time.Time) bool {
	s.expire(now)
	// What a server without a limit would have counted: no more than the limit,
	// or the ledger's proof is wrong.
	s.most = max(s.most, len(s.log)+1)
	if len(s.log) >= s.limit {
		return false
	}
	s.log = append(s.log, now)
	return true
}

func (s *strictLog) stamp(now time.Time) (remaining int, reset time.Time) {
	s.expire(now)
	reset = now
	if len(s.log) > 0 {
		reset = s.log[0].Add(simWindow)
	}
	return s.limit - len(s.log), reset
}

// trip is ticks from sending to admission, to the stamp, and to the answer.
type trip [3]uint16

type scenario struct {
	limit    int
	inFlight int
	trips    []trip
	foreign  []uint16 // Ticks at which another asks.
	silent   bool     // The server tells nothing.
}

type event struct {
	at     time.Time
	number int
	run    func(now time.Time)
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// simulate sends one request per trip until all are admitted.
func simulate(t testing.TB, s scenario) (*strictLog, *Ledger, time.Time) {
	server := &strictLog{limit: s.limit}
	ledger := ledgerOf(t, Options{Limit: s.limit, Window: simWindow, MaxInFlight: s.inFlight})
	var future events
	count := 0
	schedule := func(at time.Time, run func(time.Time)) {
		count++
		heap.Push(&future, event{at, count, run})
	}
	origin := at(0)
	for _, ticks := range s.foreign {
		schedule(origin.Add(time.Duration(ticks)*tick), func(now time.Time) { server.ask(now) })
	}
	waiting := append([]trip(nil), s.trips...)
	done := 0
	send := func(now time.Time, way trip) {
		ticket := ledger.Begin(now)
		schedule(now.Add(time.Duration(way[0])*tick), func(now time.Time) {
			admitted := server.ask(now)
			schedule(now.Add(time.Duration(way[1])*tick), func(now time.Time) {
				remaining, reset := server.stamp(now)
				schedule(now.Add(time.Duration(way[2])*tick), func(now time.Time) {
					quota := Quota{
						Limit: s.limit, Remaining: remaining, HasRemaining: true,
						ResetAfter: max(0, reset.Sub(now)), HasReset: true,
					}
					if s.silent {
						quota = Quota{}
					}
					ledger.Finish(ticket, now, quota, !admitted)
					ledger.Release(ticket)
					if admitted {
						done++
						return
					}
					server.refused++
					ledger.Pause(latest(now, reset))
					waiting = append([]trip{way}, waiting...)
				})
			})
		})
	}
	now := origin
	for done < len(s.trips) {
		var ready time.Time
		ok := false
		if len(waiting) > 0 {
			ready, ok = ledger.ReadyAt(now)
		}
		switch {
		case ok && !ready.After(now):
			way := waiting[0]
			waiting = waiting[1:]
			send(now, way)
		case len(future) == 0 && !ok:
			t.Fatalf("deadlock: %+v", s)
		case ok && (len(future) == 0 || ready.Before(future[0].at)):
			now = ready
		default:
			next := heap.Pop(&future).(event)
			now = next.at
			next.run(now)
		}
	}
	return server, ledger, now
}

func randomTrips(luck *rand.Rand, most int, way trip) []trip {
	trips := make([]trip, luck.IntN(most+1))
	for i := range trips {
		for j, longest := range way {
			trips[i][j] = uint16(luck.IntN(int(longest) + 1))
		}
	}
	return trips
}

func expectNeverRefused(t testing.TB, s scenario) {
	t.Helper()
	server, ledger, now := simulate(t, s)
	if server.refused != 0 || server.most > s.limit {
		t.Fatalf("refused %d, most %d: %+v", server.refused, server.most, s)
	}
	if ledger.Foreign() != 0 {
		t.Fatalf("foreign %d: %+v", ledger.Foreign(), s)
	}
	later := now.Add(simWindow)
	if ready, ok := ledger.ReadyAt(later); !ok || !ready.Equal(later) || ledger.Owes(later) {
		t.Fatalf("an idle client is delayed: %+v", s)
	}
}

func TestAStrictServerNeverRefusesASoleSpender(t *testing.T) {
	luck := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		expectNeverRefused(t, scenario{
			limit:    1 + luck.IntN(8),
			inFlight: luck.IntN(6),
			trips:    randomTrips(luck, 40, trip{1500, 500, 1500}),
			silent:   luck.IntN(4) == 0,
		})
	}
}

func TestASlowServerNeverRefusesASoleSpender(t *testing.T) {
	luck := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		expectNeverRefused(t, scenario{
			limit:    1 + luck.IntN(4),
			inFlight: luck.IntN(6),
			trips:    randomTrips(luck, 40, trip{9000, 9000, 9000}),
		})
	}
}

func TestAnyTripsAtAllAreNeverRefused(t *testing.T) {
	check := func(limit, inFlight uint8, trips []trip, silent bool) bool {
		expectNeverRefused(t, scenario{
			limit:    1 + int(limit%16),
			inFlight: int(inFlight % 8),
			trips:    trips,
			silent:   silent,
		})
		return true
	}
	config := &quick.Config{MaxCount: 500, Rand: oldrand.New(oldrand.NewSource(9))}
	if err := quick.Check(check, config); err != nil {
		t.Error(err)
	}
}

func TestOtherSpendersCauseNoDeadlockAndBoundedlyManyRefusals(t *testing.T) {
	luck := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		s := scenario{
			limit:    1 + luck.IntN(8),
			inFlight: 1 + luck.IntN(4),
			trips:    randomTrips(luck, 40, trip{100, 50, 100}),
			foreign:  make([]uint16, luck.IntN(31)),
			silent:   luck.IntN(4) == 0,
		}
		for i := range s.foreign {
			s.foreign[i] = uint16(luck.IntN(5001))
		}
		server, _, now := simulate(t, s)
		// A refusal pauses until a unit leaves the server's window, at most
		// limit of which do so while one foreign unit is in it.
		if server.refused > len(s.foreign)*s.inFlight*s.limit {
			t.Fatalf("refused %d: %+v", server.refused, s)
		}
		// Each window lets at least one of ours through after the others ended.
		if now.After(at(5).Add(time.Duration(len(s.trips)+2) * (simWindow + 250*tick))) {
			t.Fatalf("it took %v: %+v", now.Sub(at(0)), s)
		}
	}
}

func TestOtherSpendersOfABusyKeyCauseFewRefusals(t *testing.T) {
	luck := rand.New(rand.NewPCG(7, 8))
	refused, sent := 0, 0
	for range 300 {
		s := scenario{
			limit:    1 + luck.IntN(12),
			inFlight: 1 + luck.IntN(8),
			trips:    randomTrips(luck, 60, trip{100, 50, 100}),
			foreign:  make([]uint16, luck.IntN(61)),
		}
		for i := range s.foreign {
			s.foreign[i] = uint16(luck.IntN(5001))
		}
		server, _, _ := simulate(t, s)
		refused += server.refused
		sent += len(s.trips)
	}
	if float64(refused) >= 0.15*float64(sent) {
		t.Errorf("refused %d of %d", refused, sent)
	}
}

func FuzzLedger(f *testing.F) {
	f.Add(uint8(1), uint8(0), []byte{0, 0, 0, 255, 255, 255, 7, 9, 11})
	f.Add(uint8(3), uint8(2), []byte("a burst of requests that overlap a lot"))
	f.Fuzz(func(t *testing.T, limit, inFlight uint8, ways []byte) {
		s := scenario{limit: 1 + int(limit%16), inFlight: int(inFlight % 8)}
		for ; len(ways) >= 3 && len(s.trips) < 100; ways = ways[3:] {
			s.trips = append(s.trips, trip{
				uint16(ways[0]) * 16, uint16(ways[1]) * 16, uint16(ways[2]) * 16,
			})
		}
		expectNeverRefused(t, s)
	})
}
