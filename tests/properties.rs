//! The limiter against the exact sliding log, over random sequences, through
//! the public API and the caller's clock.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "numbers of a test's own"
)]

#[path = "oracle/log.rs"]
mod log;
#[path = "oracle/trace.rs"]
mod trace;

use log::Log;
use mavera_rl::{ClockKind, Decision, Error, Limiter, Options, Outcome, Policy, Request};
use proptest::prelude::*;

const DAY_MS: u32 = 24 * 60 * 60 * 1000;
/// Far enough from tick 0 for clocks that step back.
const START: u64 = 1 << 40;

/// What is the same for all of a sequence.
#[derive(Clone, Copy, Debug)]
struct Setting {
    cells: u32,
    limit: u32,
    window: u32,
}

/// One request: time passes first.
#[derive(Clone, Copy, Debug)]
struct Step {
    passes: i64,
    cost: u32,
}

impl Setting {
    fn limiter(self) -> Limiter<'static> {
        let options = Options::new()
            .keys(100)
            .cells(self.cells)
            .max_window_ms(DAY_MS)
            .clock(ClockKind::Caller);
        let limiter = Limiter::private(&options).unwrap();
        // The first reading fixes the epoch, and with it where quanta begin.
        limiter.peek_at(b"", self.policy(), 0, START).unwrap();
        limiter
    }

    fn policy(self) -> Policy {
        Policy::new(self.limit, self.window).unwrap()
    }

    fn length(self) -> u64 {
        self.window.into()
    }

    /// Exact to the millisecond.
    fn fine(self) -> bool {
        self.limit <= self.cells - 4
    }

    /// The quantum that times are rounded up into.
    fn quantum(self) -> u64 {
        if self.fine() {
            1
        } else {
            self.coarse_quantum()
        }
    }

    /// The quantum of limits above the exact ones, found the slow way.
    fn coarse_quantum(self) -> u64 {
        let mut quantum = 1;
        while quantum * u64::from(self.cells - 4) < self.length() {
            quantum *= 2;
        }
        quantum
    }
}

/// Settings of all sizes, small ones most often: what is rare at a limit of
/// 10,000 happens all the time at 3.
fn settings() -> impl Strategy<Value = Setting> {
    let cells = (3_u32..=10).prop_map(|log2| 1 << log2);
    let limit = prop_oneof![3 => 1_u32..=12, 2 => 1_u32..=300, 1 => 1_u32..=10_000];
    let window = prop_oneof![
        2 => 1_u32..=50,
        2 => Just(60_000_u32),
        2 => 1_u32..=5_000,
        1 => 1_u32..=DAY_MS
    ];
    (cells, limit, window).prop_map(|(cells, limit, window)| Setting {
        cells,
        limit,
        window,
    })
}

/// Sequences that stay within a quantum, cross a few, empty the window, and,
/// if asked, step back.
fn sequences(back: bool) -> impl Strategy<Value = (Setting, Vec<Step>)> {
    (settings(), any::<bool>()).prop_flat_map(move |(setting, cheap)| {
        let window = i64::from(setting.window);
        let earliest = if back { -2 * window } else { 0 };
        let passes = prop_oneof![
            4 => Just(0_i64),
            4 => 0..=1 + window / 20,
            2 => 0..=1 + window / 3,
            1 => window - 1..=window + 1,
            1 => earliest..=3 * window,
        ];
        let most = if cheap {
            1 + setting.limit / 8
        } else {
            setting.limit
        };
        let step = (passes, 1..=most).prop_map(|(passes, cost)| Step { passes, cost });
        (Just(setting), prop::collection::vec(step, 1..120))
    })
}

/// Requests alike, one after the other.
#[derive(Clone, Copy, Debug)]
struct Phase {
    limit: u32,
    requests: u32,
    passes: u64,
    cost: u32,
}

/// Limits on both sides of the border, and requests so close or so far apart
/// that their runs fill the ring.
fn phases() -> impl Strategy<Value = (Setting, Vec<Phase>)> {
    (3_u32..=6, 1_u32..=60_000).prop_flat_map(|(log2, window)| {
        let cells = 1 << log2;
        let limit = prop_oneof![1..=cells - 4, Just(cells - 4), cells - 3..=10 * cells];
        let quantum = u64::from(window) / u64::from(cells - 4);
        let passes = prop_oneof![Just(1), 0..=3_u64, Just(quantum), 0..=2 * quantum + 1];
        let cost = prop_oneof![4 => Just(1_u32), 1 => 1..=cells];
        let phase =
            (limit, 1..=2 * cells, passes, cost).prop_map(|(limit, requests, passes, cost)| {
                Phase {
                    limit,
                    requests,
                    passes,
                    cost,
                }
            });
        let setting = Setting {
            cells,
            limit: 1,
            window,
        };
        (Just(setting), prop::collection::vec(phase, 1..6))
    })
}

fn ask(limiter: &Limiter<'_>, setting: Setting, cost: u32, now: u64) -> Decision {
    let key = b"key";
    let peeked = limiter.peek_at(key, setting.policy(), cost, now).unwrap();
    let decision = limiter.check_at(key, setting.policy(), cost, now).unwrap();
    // Peek answers what check then answers, but for the charge.
    assert_eq!(peeked.outcome, decision.outcome);
    let charged = if decision.is_allowed() { cost } else { 0 };
    assert_eq!(peeked.used + charged, decision.used);
    assert_eq!(
        decision.remaining(),
        setting.limit.saturating_sub(decision.used)
    );
    if !decision.is_allowed() {
        // A refusal changes nothing, not even itself.
        assert_eq!(peeked, decision);
        assert_eq!(
            limiter.check_at(key, setting.policy(), cost, now).unwrap(),
            decision
        );
    }
    decision
}

/// P3: the wait is enough, and a millisecond less is not.
fn check_wait(limiter: &Limiter<'_>, setting: Setting, cost: u32, now: u64, told: &Decision) {
    let peek = |at| limiter.peek_at(b"key", setting.policy(), cost, at).unwrap();
    let at = now + told.retry_after_ms;
    assert!(
        peek(at).is_allowed(),
        "refused after {} ms",
        told.retry_after_ms
    );
    let early = peek(at - 1);
    assert!(
        !early.is_allowed(),
        "admitted before {} ms",
        told.retry_after_ms
    );
    assert!(told.retry_after_s >= 1);
    assert_eq!(
        u64::from(told.retry_after_s),
        told.retry_after_ms.div_ceil(1000)
    );
    assert_eq!(told.reset_after_ms, u64::from(told.retry_after_s) * 1000);
    assert!(told.retry_after_ms < setting.length() + setting.coarse_quantum());
}

/// What an allowed decision says of its reset: until then nothing leaves.
fn check_reset(limiter: &Limiter<'_>, setting: Setting, now: u64, told: &Decision) {
    let peek = |at| limiter.peek_at(b"key", setting.policy(), 0, at).unwrap();
    assert!(told.reset_after_ms > 0);
    assert_eq!(peek(now + told.reset_after_ms - 1).used, told.used);
    assert!(peek(now + told.reset_after_ms).used < told.used);
}

/// Enough cases for a mistake of a millisecond to show; `PROPTEST_CASES` for
/// more.
fn cases() -> ProptestConfig {
    let more = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = ProptestConfig::default();
    let cases = if more { usual.cases } else { 8_000 };
    ProptestConfig { cases, ..usual }
}

proptest! {
    #![proptest_config(cases())]

    /// P1, P2, P3 and all numbers, while the clock runs forward.
    #[test]
    fn it_answers_as_the_exact_log_does((setting, steps) in sequences(false)) {
        let limiter = setting.limiter();
        let length = setting.length();
        let quantum = setting.quantum();
        let mut log = Log::default();
        let mut now = START;
        for step in steps {
            now += step.passes as u64;
            let decision = ask(&limiter, setting, step.cost, now);
            if decision.is_allowed() {
                // P1: no more than the limit in the window that ends here.
                prop_assert!(log.used(now, length) + step.cost <= setting.limit);
                log.admit(now, step.cost);
                check_reset(&limiter, setting, now, &decision);
            } else {
                // P2: the exact log refuses too, or did within the last quantum.
                let due = log.admits(now.saturating_sub(quantum - 1), step.cost, setting.limit, length);
                prop_assert!(due > now - (quantum - 1), "due at {due}, refused at {now}");
                check_wait(&limiter, setting, step.cost, now, &decision);
                // The wait is at most a quantum longer than the log's.
                let exact = log.admits(now, step.cost, setting.limit, length);
                let at = now + decision.retry_after_ms;
                prop_assert!(exact <= at && at < exact + quantum, "{exact} {at}");
            }
            // Between what is in the window and what was a quantum ago.
            let least = log.used(now, length);
            let most = log.used(now, length + quantum - 1);
            prop_assert!((least..=most).contains(&decision.used), "{least} {most} {decision:?}");
        }
    }

    /// P8 and P1, when the clock steps back: time is the furthest reading at
    /// which anything was admitted. (A refusal writes nothing, not even that.)
    #[test]
    fn a_clock_that_steps_back_admits_nothing_more((setting, steps) in sequences(true)) {
        let limiter = setting.limiter();
        let mut log = Log::default();
        let mut clock = START;
        let mut furthest = 0;
        for step in steps {
            clock = clock.saturating_add_signed(step.passes);
            let decision = limiter.check_at(b"key", setting.policy(), step.cost, clock).unwrap();
            if decision.is_allowed() {
                furthest = furthest.max(clock);
                log.admit(furthest, step.cost);
                prop_assert!(log.used(furthest, setting.length()) <= setting.limit);
            } else {
                // It ends: after the wait by the caller's own clock.
                let at = clock + decision.retry_after_ms;
                let later = limiter.peek_at(b"key", setting.policy(), step.cost, at).unwrap();
                prop_assert!(later.is_allowed());
            }
        }
    }

    /// A tier's number changes in mid-history, across the border between exact
    /// and quanta: each admission respects the limit it was asked under, and
    /// however the ring was filled, there is a cell for the next.
    #[test]
    fn a_changed_limit_counts_all_that_was_spent((setting, phases) in phases()) {
        let limiter = setting.limiter();
        let mut log = Log::default();
        let mut now = START;
        let steps = phases.into_iter().flat_map(|phase| {
            (0..phase.requests).map(move |_| phase)
        });
        for Phase { limit, passes, cost, .. } in steps {
            now += passes;
            let setting = Setting { limit, ..setting };
            let cost = cost.min(limit);
            let decision = limiter.check_at(b"key", setting.policy(), cost, now).unwrap();
            if decision.is_allowed() {
                log.admit(now, cost);
                prop_assert!(log.used(now, setting.length()) <= limit);
            } else {
                // P2: in whatever quanta the units were recorded.
                let coarse = setting.coarse_quantum();
                let due = log.admits(now - (coarse - 1), cost, limit, setting.length());
                prop_assert!(due > now - (coarse - 1), "due at {due}, refused at {now}");
                check_wait(&limiter, setting, cost, now, &decision);
            }
        }
    }

    /// Keys, and one key's windows, do not know of each other; a batch is so
    /// many single checks.
    #[test]
    fn keys_and_windows_are_apart_and_a_batch_is_single_checks(
        (setting, steps) in sequences(false),
        dice in prop::collection::vec((0_usize..5, any::<bool>()), 120),
    ) {
        let other = Setting { window: setting.window % DAY_MS + 1, ..setting };
        let keys: [&[u8]; 5] = [b"", b"a", b"b", b"ab", b"a much longer key, of 33 bytes..."];
        let single = setting.limiter();
        let many = setting.limiter();
        let mut alone: Vec<_> = (0..10).map(|_| setting.limiter()).collect();
        let mut now = START;
        for (chunk, dice) in steps.chunks(20).zip(dice.chunks(20)) {
            now += chunk[0].passes as u64;
            let requests: Vec<_> = chunk
                .iter()
                .zip(dice)
                .map(|(step, &(key, second))| Request {
                    key: keys[key],
                    policy: if second { other.policy() } else { setting.policy() },
                    cost: step.cost,
                })
                .collect();
            let mut answers = vec![Err(Error::Tier); requests.len()];
            prop_assert_eq!(many.check_many_at(&requests, now, &mut answers), requests.len());
            for ((request, answer), &(key, second)) in requests.iter().zip(&answers).zip(dice) {
                let Request { key: name, policy, cost } = *request;
                let expected = single.check_at(name, policy, cost, now);
                prop_assert_eq!(answer, &expected);
                let own = &mut alone[2 * key + usize::from(second)];
                prop_assert_eq!(own.check_at(b"key", policy, cost, now), expected);
            }
        }
    }

    /// The trace checker finds what is too much, and nothing else.
    #[test]
    fn the_trace_checker_finds_what_is_too_much(
        starts in prop::collection::vec(0_u64..500, 1..60),
        took in prop::collection::vec(0_u64..20, 60),
        limit in 1_u32..8,
        window in 1_u64..60,
    ) {
        let recorded: Vec<_> = starts.iter().zip(&took).map(|(&at, &took)| (at, at + took, 1)).collect();
        let worst = (0..520_u64)
            .map(|from| {
                let inside = recorded.iter().filter(|a| a.0 >= from && a.1 < from + window);
                inside.count() as u32
            })
            .max()
            .unwrap();
        prop_assert_eq!(trace::violation(&recorded, limit, window).is_some(), worst > limit);
    }
}

#[test]
fn a_cost_of_nothing_charges_nothing_and_one_above_the_limit_is_an_error() {
    let setting = Setting {
        cells: 64,
        limit: 2,
        window: 1000,
    };
    let limiter = setting.limiter();
    let check = |cost| limiter.check_at(b"key", setting.policy(), cost, START);
    for _ in 0..10 {
        assert!(check(0).unwrap().is_allowed());
    }
    assert_eq!(check(2).unwrap().used, 2);
    assert!(check(0).unwrap().is_allowed());
    assert_eq!(check(1).unwrap().outcome, Outcome::Limited);
    assert_eq!(check(3), Err(Error::Cost { cost: 3, limit: 2 }));
}
