//! Known mistakes of other limiters, by their symptoms, each with where it was
//! seen. Times are the caller's, so all numbers are exact.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::http::{Flavour, Response};
use mavera_rl::{ClockKind, Decision, Error, Limiter, OnFull, Options, Outcome, Policy, Request};

const MINUTE: u64 = 60_000;
const SIXTY: Policy = Policy::per_minute(60);
/// A caller's clock that has been running for a while.
const NOW: u64 = 1_000_000_000;

fn limiter() -> Limiter<'static> {
    Limiter::private(&Options::new().keys(1000).clock(ClockKind::Caller)).unwrap()
}

fn at(limiter: &Limiter<'_>, policy: Policy, now: u64) -> Decision {
    limiter.check_at(b"key", policy, 1, now).unwrap()
}

/// How many of `tries` are admitted.
fn admitted(limiter: &Limiter<'_>, policy: Policy, now: u64, tries: u32) -> u32 {
    let allowed = |_: &u32| at(limiter, policy, now).is_allowed();
    u32::try_from((0..tries).filter(allowed).count()).unwrap()
}

fn headers(decision: &Decision, unix_ms: u64) -> String {
    let mut out = [0; 512];
    let length = Response::new(decision, unix_ms).headers(Flavour::Legacy, &mut out);
    String::from_utf8(out.get(..length).unwrap().to_vec()).unwrap()
}

// Time.

/// golang/go#56287: a thread that was late with an older reading moved the
/// limiter's time back, and the next reading refilled the same span again.
#[test]
fn a_late_threads_older_reading_mints_no_quota() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
    for late in [1, 500, MINUTE, 10 * MINUTE] {
        assert_eq!(admitted(&limiter, SIXTY, NOW - late, 5), 0, "{late}");
        assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE - 1, 5), 0, "{late}");
    }
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE, 61), 60);
}

/// governor#299: cores whose clocks disagreed by a little denied at random.
#[test]
fn readings_that_jitter_back_and_forth_deny_nobody_with_quota() {
    let limiter = limiter();
    for (step, jitter) in (0..60).zip([0, 7, 3, 11, 1].into_iter().cycle()) {
        let decision = at(&limiter, SIXTY, NOW + step * 2 - jitter);
        assert!(decision.is_allowed(), "{step}");
        assert_eq!(u64::from(decision.used), step + 1);
    }
    assert!(!at(&limiter, SIXTY, NOW + 200).is_allowed());
}

/// httprate: an increment that came late, for a window already left, cleared
/// the counters of the present one.
#[test]
fn a_late_increment_wipes_no_counters() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 10), 10);
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE, 50), 50);
    // From before the first of them.
    assert_eq!(at(&limiter, SIXTY, NOW - 3 * MINUTE).used, 51);
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE, 20), 9);
    assert_eq!(admitted(&limiter, SIXTY, NOW + 2 * MINUTE - 1, 20), 0);
}

/// go-limiter#57: `now - last` of unsigned numbers wrapped, and the bucket was
/// filled to the brim.
#[test]
fn a_clock_that_steps_back_wraps_into_no_refill() {
    for back in [1, MINUTE, NOW, NOW - 1] {
        let limiter = limiter();
        assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
        let decision = at(&limiter, SIXTY, NOW - back);
        assert_eq!((decision.outcome, decision.used), (Outcome::Limited, 60));
        // It must wait for the clock to come back, and then the window out.
        assert_eq!(decision.retry_after_ms, MINUTE + back, "{back}");
    }
}

/// The same at the other end: the clock's greatest value, and one past it.
#[test]
fn a_clock_at_the_end_of_its_range_opens_no_window() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
    assert!(at(&limiter, SIXTY, NOW + (1 << 39)).is_allowed());
    for now in [u64::MAX / 2, u64::MAX, 0] {
        let before = limiter.peek_at(b"key", SIXTY, 0, now).unwrap().used;
        let open = admitted(&limiter, SIXTY, now, 100);
        assert!(before + open <= 60, "{now}: {before} and {open}");
    }
}

/// HAProxy: after a reboot the clock began anew, below what was stored. A
/// caller's clock that restarts in the same region can only be stricter; a
/// region file from before a reboot is replaced (`stale_regions.rs`).
#[test]
fn a_clock_that_restarts_mints_no_quota() {
    // Uptime, and Unix time, which falls by more than a region's lead.
    for start in [NOW, 1_700_000_000_000] {
        let limiter = limiter();
        assert_eq!(admitted(&limiter, SIXTY, start, 60), 60);
        for restarted in [0, 1, 5, MINUTE, MINUTE + 1] {
            assert_eq!(admitted(&limiter, SIXTY, restarted, 5), 0, "{restarted}");
        }
        // Another key is not affected.
        let other = limiter.check_at(b"other", SIXTY, 60, 5).unwrap();
        assert!(other.is_allowed());
        assert_eq!(admitted(&limiter, SIXTY, start + MINUTE, 61), 60);
    }
}

// Rounding.

/// Fractions lost per refill: asked often enough, half the quota was gone.
#[test]
fn asking_every_millisecond_costs_nobody_a_fraction() {
    let limiter = limiter();
    let policy = Policy::new(7, 1_000).unwrap();
    let mut total = 0;
    for ms in 0..10_000 {
        total += u32::from(at(&limiter, policy, NOW + ms).is_allowed());
    }
    assert_eq!(total, 70);
}

/// httprate#47, flask-limiter#62, apisix#9978: Retry-After rounded down, 0 or
/// always the same.
#[test]
fn retry_after_is_rounded_up_follows_the_clock_and_is_never_0() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
    for (later, seconds) in [
        (0, 60),
        (1, 60),
        (999, 60),
        (1_000, 59),
        (1_001, 59),
        (58_999, 2),
        (59_000, 1),
        (59_001, 1),
        (59_999, 1),
    ] {
        let decision = at(&limiter, SIXTY, NOW + later);
        assert_eq!(decision.retry_after_s, seconds, "{later}");
        assert_eq!(decision.retry_after_ms, MINUTE - later);
        let text = headers(&decision, 1_700_000_000_000);
        assert!(
            text.ends_with(&format!("\r\nRetry-After: {seconds}\r\n")),
            "{text}"
        );
        // Exactly so much is enough, and one less is not.
        let wait = NOW + later + decision.retry_after_ms;
        assert!(
            limiter
                .peek_at(b"key", SIXTY, 1, wait)
                .unwrap()
                .is_allowed()
        );
        assert!(
            !limiter
                .peek_at(b"key", SIXTY, 1, wait - 1)
                .unwrap()
                .is_allowed()
        );
    }
    assert!(at(&limiter, SIXTY, NOW + MINUTE).is_allowed());
}

/// slowapi sent Reset as a float, go-limiter as an invalid date.
#[test]
fn reset_is_whole_unix_seconds_and_agrees_with_retry_after() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
    let refused = at(&limiter, SIXTY, NOW + 12_345);
    assert_eq!(
        headers(&refused, 1_700_000_000_000),
        "X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 0\r\n\
         X-RateLimit-Reset: 1700000048\r\nRetry-After: 48\r\n"
    );
    let allowed = at(&limiter, SIXTY, NOW + MINUTE + 500);
    assert_eq!(
        headers(&allowed, 1_700_000_000_001),
        "X-RateLimit-Limit: 60\r\nX-RateLimit-Remaining: 59\r\n\
         X-RateLimit-Reset: 1700000061\r\n"
    );
}

// Windows.

/// A bucket, a fixed window and two counters admit up to twice the limit in
/// some minute: 119 or 120 of 60.
#[test]
fn the_edge_of_a_window_admits_no_second_burst() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 1), 1);
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE - 1, 119), 59);
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE, 119), 1);
    assert_eq!(admitted(&limiter, SIXTY, NOW + 2 * MINUTE - 2, 119), 0);
    assert_eq!(admitted(&limiter, SIXTY, NOW + 2 * MINUTE - 1, 119), 59);
}

/// Refused requests that extend the block: a client that retries is never let
/// in again.
#[test]
fn refused_requests_extend_no_block() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
    for ms in 0..MINUTE {
        assert!(!at(&limiter, SIXTY, NOW + ms).is_allowed());
    }
    assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE, 61), 60);
}

/// lua-resty-limit-traffic#54: a request that was refused had been charged for
/// part of what it asked.
#[test]
fn a_refusal_charges_nothing_not_even_a_part() {
    let limiter = limiter();
    let ask = |cost| limiter.check_at(b"key", SIXTY, cost, NOW).unwrap();
    assert!(ask(55).is_allowed());
    for _ in 0..10 {
        let refused = ask(6);
        assert_eq!((refused.outcome, refused.used), (Outcome::Limited, 55));
    }
    assert_eq!(ask(5).used, 60);
    let never = limiter.check_at(b"key", SIXTY, 61, NOW);
    assert_eq!(
        never,
        Err(Error::Cost {
            cost: 61,
            limit: 60
        })
    );
    assert_eq!(limiter.check_at(b"key", SIXTY, 0, NOW).unwrap().used, 60);
}

/// A tier's change that forgets what was spent: changing it back and forth
/// would be a fresh quota each time.
#[test]
fn a_changed_tier_keeps_what_was_spent() {
    let limiter = limiter();
    assert_eq!(admitted(&limiter, SIXTY, NOW, 61), 60);
    let higher = Policy::per_minute(120);
    assert_eq!(admitted(&limiter, higher, NOW, 121), 60);
    let lower = at(&limiter, SIXTY, NOW);
    assert_eq!((lower.used, lower.remaining()), (120, 0));
    assert_eq!(admitted(&limiter, higher, NOW + 1, 1), 0);
}

// Concurrency.

/// Our own: a Starter's 60 requests in 60 different milliseconds filled the
/// ring, and after an upgrade it was refused for a minute with quota left.
#[test]
fn an_upgraded_key_has_its_new_quota_at_once() {
    for greater in [120, 240, 600] {
        let limiter = limiter();
        let mut allowed = 0;
        for ms in 0..60 {
            allowed += u32::from(at(&limiter, SIXTY, NOW + ms).is_allowed());
        }
        let policy = Policy::per_minute(greater);
        for ms in (100..50_000).step_by(50_000 / 600) {
            allowed += u32::from(at(&limiter, policy, NOW + ms).is_allowed());
        }
        assert_eq!(allowed, greater);
    }
}

/// Sentinel#628, Netflix/concurrency-limits#140: checked, then incremented;
/// between the two everybody got in.
#[test]
fn threads_that_check_together_are_not_all_let_in() {
    const THREADS: u64 = 4;
    let limiter = limiter();
    let barrier = std::sync::Barrier::new(4);
    for round in 0..200 {
        let now = NOW + round * MINUTE;
        let allowed: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        admitted(&limiter, Policy::per_minute(3), now, 3)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(allowed, 3, "{round}");
    }
}

/// LeapArray: a bucket that was published before it was cleared still counted
/// what had expired, or lost what was new.
#[test]
fn a_window_that_expires_under_several_threads_opens_exactly_once() {
    let limiter = limiter();
    let barrier = std::sync::Barrier::new(2);
    for round in 0..500 {
        // Half of it expires between the two readings.
        let now = NOW + round * 10 * MINUTE;
        assert_eq!(admitted(&limiter, SIXTY, now, 30), 30);
        assert_eq!(admitted(&limiter, SIXTY, now + 1, 30), 30);
        let [early, late] = std::thread::scope(|scope| {
            [MINUTE, MINUTE + 1]
                .map(|later| {
                    let barrier = &barrier;
                    let limiter = &limiter;
                    scope.spawn(move || {
                        barrier.wait();
                        admitted(limiter, SIXTY, now + later, 61)
                    })
                })
                .map(|thread| thread.join().unwrap())
        });
        assert_eq!(early + late, 60, "{round}: {early} and {late}");
    }
}

// Memory.

/// governor#171: a map that only grew. Millions of keys, one after another,
/// stay within a table of 512.
#[test]
fn keys_that_come_and_go_take_no_more_memory() {
    let options = Options::new().keys(400).clock(ClockKind::Caller).cells(8);
    let limiter = Limiter::private(&options).unwrap();
    let bytes = limiter.stats().bytes;
    // 200 new keys a minute, each for one request.
    for key in 0..500_000_u64 {
        let now = NOW + key * MINUTE / 200;
        let decision = limiter.check_at(&key.to_ne_bytes(), SIXTY, 1, now).unwrap();
        assert_eq!((decision.outcome, decision.used), (Outcome::Allowed, 1));
    }
    let stats = limiter.stats();
    assert_eq!((stats.bytes, stats.full), (bytes, 0));
    assert_eq!(stats.inserted, 500_000);
    assert!(stats.keys_held <= stats.keys_capacity);
}

/// Caps on the number of keys that drop the oldest: an attacker with many keys
/// resets everybody's limit.
#[test]
fn a_flood_of_keys_resets_nobodys_limit() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let options = Options::new().keys(1).clock(ClockKind::Caller);
        let limiter = Limiter::private(&options.on_full(on_full)).unwrap();
        assert_eq!(admitted(&limiter, SIXTY, NOW, 60), 60);
        for key in 0..10_000_u64 {
            let _ = limiter
                .check_at(&key.to_ne_bytes(), SIXTY, 1, NOW + 1)
                .unwrap();
        }
        let stats = limiter.stats();
        assert_eq!((stats.keys_held, stats.evicted), (256, 0));
        assert_eq!(stats.full, 10_000 - 255);
        assert_eq!(admitted(&limiter, SIXTY, NOW + MINUTE - 1, 9), 0);
    }
}

/// httprate merged keys by an unkeyed 64-bit hash: whoever finds two keys with
/// one hash spends another's quota. Here each region hashes with a secret of
/// its own, and similar keys are as different as any.
#[test]
fn similar_keys_are_not_merged() {
    let limiter = Limiter::private(&Options::new().keys(20_000).clock(ClockKind::Caller)).unwrap();
    let policy = Policy::per_minute(1);
    let mut keys: Vec<Vec<u8>> = vec![vec![]];
    // Lengths of zeros, single bits, and what differs only in its end.
    keys.extend((1..200).map(|length| vec![0; length]));
    for bit in 0..256 {
        let mut key = vec![0; 32];
        *key.get_mut(bit / 8).unwrap() |= 1 << (bit % 8);
        keys.push(key);
    }
    keys.extend((0..15_000).map(|number| format!("customer-{number}").into_bytes()));
    for key in &keys {
        let first = limiter.check_at(key, policy, 1, NOW).unwrap();
        assert!(first.is_allowed() && !first.untracked, "{key:?}");
    }
    for key in &keys {
        assert!(!limiter.check_at(key, policy, 1, NOW).unwrap().is_allowed());
    }
    assert_eq!(limiter.stats().keys_held, keys.len() as u64);
}

/// fastapi-limiter#80: one bucket for everybody.
#[test]
fn every_key_and_every_window_has_a_count_of_its_own() {
    let options = Options::new().keys(100).clock(ClockKind::Caller);
    let limiter = Limiter::private(&options).unwrap();
    let second = Policy::new(60, 1_000).unwrap();
    for key in [&b"a"[..], b"b", b"", b"a\0"] {
        for policy in [SIXTY, second] {
            for used in 1..=60 {
                let decision = limiter.check_at(key, policy, 1, NOW).unwrap();
                assert_eq!((decision.outcome, decision.used), (Outcome::Allowed, used));
            }
            let refused = limiter.check_at(key, policy, 1, NOW).unwrap();
            assert_eq!(refused.outcome, Outcome::Limited);
        }
    }
    assert_eq!(limiter.stats().keys_held, 8);
}

/// pingora-limits: an assertion that killed the host's worker. Numbers at the
/// ends of their ranges are answers or errors.
#[test]
fn numbers_at_the_ends_of_their_ranges_panic_nowhere() {
    let options = Options::new().keys(100).clock(ClockKind::Caller);
    let limiter = Limiter::private(&options.max_window_ms(u32::MAX)).unwrap();
    let limits = [0, 1, 2, Policy::MAX_LIMIT - 1, Policy::MAX_LIMIT];
    let ends = [
        0,
        1,
        1 << 40,
        u64::MAX / 2,
        u64::MAX / 2 + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let long = vec![7; 1 << 10];
    for window in [1, 2, 60_000, u32::MAX - 1, u32::MAX] {
        for policy in limits.map(|limit| Policy::new(limit, window).unwrap()) {
            for now in ends {
                for cost in [0, 1, policy.limit(), u32::MAX] {
                    for key in [&b""[..], b"key", &long] {
                        let answer = limiter.check_at(key, policy, cost, now);
                        assert_eq!(answer.is_err(), cost > policy.limit());
                        let request = Request { key, policy, cost };
                        let mut answers = [Err(Error::Tier); 2];
                        let done = limiter.check_many_at(&[request; 2], now, &mut answers);
                        assert_eq!(done, 2);
                        if let Ok(decision) = answer {
                            let mut out = [0; 4];
                            let response = Response::new(&decision, u64::MAX);
                            response.headers(Flavour::Both, &mut out);
                            response.body(&mut out);
                        }
                    }
                }
            }
        }
    }
    assert!(Policy::new(Policy::MAX_LIMIT + 1, 1).is_err());
    assert!(Policy::new(1, 0).is_err());
}
