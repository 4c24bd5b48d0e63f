//! Threads on one limiter: exact totals, a full table, and evictions.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]

use mavera_rl::{ClockKind, Decision, Limiter, OnFull, Options, Outcome, Policy, Stats};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: u64 = 4;
const NOW: u64 = 1_000_000_000;
const MINUTE: u64 = 60_000;
const SIXTY: Policy = Policy::per_minute(60);
/// Records of the smallest table.
const WAYS: u64 = 256;

fn limiter(options: &Options) -> Limiter<'static> {
    Limiter::private(&options.clock(ClockKind::Caller)).unwrap()
}

fn full_table(on_full: OnFull) -> Limiter<'static> {
    limiter(&Options::new().keys(1).on_full(on_full))
}

/// What each of the threads returns that start together.
fn together<T: Send>(body: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, body) = (&barrier, &body);
                scope.spawn(move || {
                    barrier.wait();
                    body(thread)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.collect()
    })
}

/// What answers were given, each counted once.
#[derive(Default, Debug, PartialEq, Eq)]
struct Count {
    tracked: u64,
    untracked: u64,
    limited: u64,
    full: u64,
}

impl Count {
    fn add(&mut self, decision: &Decision) {
        match decision.outcome {
            Outcome::Allowed if decision.untracked => self.untracked += 1,
            Outcome::Allowed => self.tracked += 1,
            Outcome::Limited | Outcome::Busy => self.limited += 1,
            Outcome::Full => self.full += 1,
        }
    }

    fn sum(counts: &[Self]) -> Self {
        counts.iter().fold(Self::default(), |sum, count| Self {
            tracked: sum.tracked + count.tracked,
            untracked: sum.untracked + count.untracked,
            limited: sum.limited + count.limited,
            full: sum.full + count.full,
        })
    }
}

// Totals.

/// Admissions of `tries` of each thread.
fn spend(tries: u32, check: impl Fn() -> Decision + Sync) -> u64 {
    let counts = together(|_| {
        let mut count = Count::default();
        (0..tries).for_each(|_| count.add(&check()));
        count
    });
    let sum = Count::sum(&counts);
    assert_eq!(sum.tracked + sum.limited, THREADS * u64::from(tries));
    sum.tracked
}

#[test]
fn threads_on_one_key_are_admitted_exactly_the_limit() {
    for limit in [1, 59, 60, 61, 600, 10_000] {
        let limiter = limiter(&Options::new().keys(100));
        let policy = Policy::per_minute(limit);
        for round in 0..20 {
            let now = NOW + round * MINUTE;
            let check = || limiter.check_at(b"key", policy, 1, now).unwrap();
            // In quanta the window is over up to one of them later.
            let admitted = spend(limit, check);
            if round == 0 || limit <= 60 {
                assert_eq!(admitted, u64::from(limit), "round {round}");
            }
            assert!(admitted <= u64::from(limit));
        }
        assert_eq!(limiter.stats().inserted, 1);
    }
}

#[test]
fn threads_at_advancing_times_are_admitted_exactly_what_their_windows_hold() {
    // All in the first quarter of a window, so that none of it expires.
    let limiter = limiter(&Options::new().keys(100));
    let time = AtomicU64::new(NOW);
    let admitted = spend(5_000, || {
        let now = time.fetch_add(1, Ordering::Relaxed) / 4;
        limiter.check_at(b"key", SIXTY, 1, now).unwrap()
    });
    assert_eq!(admitted, 60);
}

#[test]
fn threads_by_the_precise_clock_are_admitted_exactly_the_limit() {
    // Far fewer checks than a minute has room for.
    let limiter = Limiter::private(&Options::new().clock(ClockKind::Precise)).unwrap();
    for limit in [60, 700, 100_000] {
        let policy = Policy::per_minute(limit);
        let key = limit.to_ne_bytes();
        let admitted = spend(limit, || limiter.check(&key, policy, 1).unwrap());
        assert_eq!(admitted, u64::from(limit));
        assert_eq!(limiter.peek(&key, policy, 1).unwrap().used, limit);
    }
}

#[test]
fn threads_with_costs_leave_no_unit_and_spend_none_twice() {
    for round in 0..200 {
        let limiter = limiter(&Options::new().keys(100));
        let spent: Vec<u32> = together(|thread| {
            let cost = u32::try_from(thread + 1).unwrap();
            let check = |_: &u32| {
                limiter
                    .check_at(b"key", SIXTY, cost, NOW)
                    .unwrap()
                    .is_allowed()
            };
            cost * u32::try_from((0..60).filter(check).count()).unwrap()
        });
        // Whoever pays single units takes what the others could not.
        assert_eq!(spent.iter().sum::<u32>(), 60, "round {round}: {spent:?}");
    }
}

#[test]
fn threads_on_different_keys_do_not_touch_each_other() {
    let limiter = limiter(&Options::new().keys(2_000));
    let counts = together(|thread| {
        let mut count = Count::default();
        for key in (0..400_u64).map(|key| key * THREADS + thread) {
            for _ in 0..61 {
                count.add(&limiter.check_at(&key.to_ne_bytes(), SIXTY, 1, NOW).unwrap());
            }
        }
        count
    });
    for count in counts {
        assert_eq!((count.tracked, count.limited), (400 * 60, 400));
    }
    assert_eq!(limiter.stats().inserted, 400 * THREADS);
}

#[test]
fn threads_that_meet_a_new_key_give_it_one_record() {
    let limiter = limiter(&Options::new().keys(4_000));
    let one = Policy::per_minute(1);
    let counts = together(|_| {
        let mut count = Count::default();
        for key in 0..2_000_u64 {
            count.add(&limiter.check_at(&key.to_ne_bytes(), one, 1, NOW).unwrap());
        }
        count
    });
    let sum = Count::sum(&counts);
    assert_eq!((sum.tracked, sum.limited), (2_000, 2_000 * (THREADS - 1)));
    let stats = limiter.stats();
    assert_eq!((stats.inserted, stats.keys_held), (2_000, 2_000));
}

// A full table.

/// Fresh keys from all threads, far more than the table has records.
fn flood(limiter: &Limiter<'_>, policy: Policy, each: u64, now: u64) -> Count {
    Count::sum(&together(|thread| {
        let mut count = Count::default();
        for key in 0..each {
            let key = format!("{now} {thread} {key}");
            count.add(&limiter.check_at(key.as_bytes(), policy, 1, now).unwrap());
        }
        count
    }))
}

#[test]
fn a_full_table_that_denies_counts_every_denial() {
    let limiter = full_table(OnFull::Deny);
    let count = flood(&limiter, SIXTY, 500, NOW);
    let full = THREADS * 500 - WAYS;
    assert_eq!(
        count,
        Count {
            tracked: WAYS,
            full,
            ..Count::default()
        }
    );
    let stats = limiter.stats();
    // A record that has not been charged yet owes nothing and may be taken
    // back, so some keys may have been given one twice.
    assert_eq!((stats.full, stats.keys_held), (full, WAYS));
    assert_consistent(&stats);
    let denied = limiter.check_at(b"one more", SIXTY, 1, NOW).unwrap();
    assert_eq!((denied.remaining(), denied.retry_after_s), (0, 1));
    assert_eq!(limiter.stats().full, full + 1);
}

#[test]
fn a_full_table_that_allows_counts_every_request_it_did_not_track() {
    let limiter = full_table(OnFull::Allow);
    let count = flood(&limiter, SIXTY, 500, NOW);
    let untracked = THREADS * 500 - WAYS;
    assert_eq!(
        count,
        Count {
            tracked: WAYS,
            untracked,
            ..Count::default()
        }
    );
    assert_eq!(limiter.stats().full, untracked);
    assert_eq!(limiter.stats().keys_held, WAYS);
}

#[test]
fn fresh_keys_reset_nobodys_count_and_lock_nobody_out_for_longer_than_a_window() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let limiter = full_table(on_full);
        for round in 0..5 {
            let now = NOW + round * MINUTE;
            let victim = |cost, now| limiter.check_at(b"victim", SIXTY, cost, now).unwrap();
            // In every round its record may be another one.
            let spent = victim(60, now);
            assert_eq!((spent.outcome, spent.used), (Outcome::Allowed, 60));
            assert!(!spent.untracked);
            for later in [0, 1, MINUTE / 2, MINUTE - 1] {
                flood(&limiter, SIXTY, 300, now + later);
                let refused = victim(1, now + later);
                assert_eq!((refused.outcome, refused.used), (Outcome::Limited, 60));
            }
            // The flood's newest are a millisecond younger than the victim's
            // window, and still the victim gets its quota at once.
        }
        let stats = limiter.stats();
        assert!(stats.keys_held <= WAYS && stats.full > 0);
    }
}

#[test]
fn once_a_flood_is_a_window_old_every_record_can_be_had() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let limiter = full_table(on_full);
        for round in 0..20 {
            let now = NOW + round * MINUTE;
            let count = flood(&limiter, SIXTY, 100, now);
            assert_eq!(count.tracked, WAYS, "round {round}");
            assert_eq!(count.full + count.untracked, THREADS * 100 - WAYS);
        }
        let stats = limiter.stats();
        assert_eq!(stats.keys_held, WAYS);
        assert_eq!(stats.full, 20 * (THREADS * 100 - WAYS));
    }
}

// Evictions.

fn assert_consistent(stats: &Stats) {
    assert_eq!(stats.keys_held, stats.inserted - stats.evicted, "{stats:?}");
    assert!(stats.keys_held <= stats.keys_capacity, "{stats:?}");
}

#[test]
fn counters_are_consistent_after_a_storm_of_evictions() {
    const KEYS: u64 = 30_000;
    // A window of a second, and keys so fast that records are always short.
    let options = Options::new().keys(1).cells(8).max_window_ms(1_000);
    let limiter = limiter(&options);
    let policy = Policy::new(3, 1_000).unwrap();
    let time = AtomicU64::new(NOW * 3);
    let counts = together(|thread| {
        let mut count = Count::default();
        for key in 0..KEYS {
            let now = time.fetch_add(1, Ordering::Relaxed) / 3;
            // Every fourth returns to one that others use too.
            let key = if key % 4 == 0 {
                format!("shared {}", key % 64)
            } else {
                format!("{thread} {key}")
            };
            count.add(&limiter.check_at(key.as_bytes(), policy, 1, now).unwrap());
        }
        count
    });
    let sum = Count::sum(&counts);
    let stats = limiter.stats();
    assert_consistent(&stats);
    assert_eq!(sum.full, stats.full);
    assert_eq!(
        sum.tracked + sum.limited + sum.full,
        THREADS * KEYS,
        "{sum:?}"
    );
    assert!(stats.evicted > 5_000 && stats.full > 5_000, "{stats:?}");
    // The counters tell what the table holds: a flood after everything has
    // expired takes every record, and evicts exactly those that were held.
    let later = NOW * 3 + 10 * MINUTE;
    let flood = flood(&limiter, policy, 100, later);
    assert_eq!(flood.tracked, WAYS);
    let after = limiter.stats();
    assert_consistent(&after);
    assert_eq!(after.keys_held, WAYS);
}
