//! The peers, doing the same requests.
//!
//! governor (GCRA, keyed by a DashMap, its default clock) is the usual choice,
//! though it admits up to twice its limit in some windows; rate-net's sliding
//! log is exact, with a mutex and a growing log for each key.

use crate::contestant::{Contestant, key, pick};
use governor::{DefaultKeyedRateLimiter, Quota};
use rate_net::{Algorithm, Eviction, RateLimiter};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const GOVERNOR: &str = "governor keyed: admitted";
pub(crate) const GOVERNOR_DENIED: &str = "governor keyed: denied";
pub(crate) const GOVERNOR_ONE_KEY_2: &str = "governor keyed: 2 threads on one key";
pub(crate) const GOVERNOR_KEYS_2: &str = "governor keyed: 2 threads on different keys";
pub(crate) const GOVERNOR_100K: &str = "governor keyed: 100 k keys at random";
pub(crate) const GOVERNOR_1M: &str = "governor keyed: 1 M keys at random";
pub(crate) const LOG: &str = "rate-net exact log: admitted";
pub(crate) const LOG_DENIED: &str = "rate-net exact log: denied";
pub(crate) const LOG_ONE_KEY_2: &str = "rate-net exact log: 2 threads on one key";
pub(crate) const LOG_KEYS_2: &str = "rate-net exact log: 2 threads on different keys";
pub(crate) const LOG_100K: &str = "rate-net exact log: 100 k keys at random";
pub(crate) const LOG_1M: &str = "rate-net exact log: 1 M keys at random";

const SOME: u64 = 100_000;
const LOTS: u64 = 1_000_000;
/// As ours: a limit that is never reached.
const AMPLE: u32 = 1 << 23;
const AMPLE_WINDOW: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_secs(60);

type Governor = Arc<DefaultKeyedRateLimiter<[u8; 16]>>;
type Log = Arc<RateLimiter>;

fn governor(quota: Quota) -> Governor {
    Arc::new(DefaultKeyedRateLimiter::keyed(quota))
}

/// One cell a nanosecond: never reached.
fn governor_ample() -> Governor {
    governor(Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap()))
}

fn governor_starter() -> Governor {
    governor(Quota::per_minute(NonZeroU32::new(60).unwrap()))
}

fn log(limit: u32, window: Duration) -> Log {
    let quota = rate_net::Quota::rate(limit, window).unwrap();
    let limiter = RateLimiter::with_quota(quota).with_algorithm(Algorithm::SlidingWindowLog);
    // It is to keep all keys, as ours does.
    Arc::new(limiter.with_eviction(Eviction::capacity(2 * LOTS as usize)))
}

fn governor_at(name: &'static str, keys: u64) -> Contestant {
    let limiter = governor_starter();
    for number in 0..keys {
        let _ = limiter.check_key(&key(number));
    }
    Contestant::new(name, move |number| {
        let _ = black_box(limiter.check_key(&key(pick(number, keys))));
    })
}

fn log_at(name: &'static str, keys: u64) -> Contestant {
    let limiter = log(60, MINUTE);
    for number in 0..keys {
        let _ = limiter.check_bytes(key(number));
    }
    Contestant::new(name, move |number| {
        let _ = black_box(limiter.check_bytes(key(pick(number, keys))));
    })
}

pub(crate) fn contestants() -> Vec<Contestant> {
    let (ample, same, apart) = (governor_ample(), governor_ample(), governor_ample());
    let spent = governor_starter();
    for _ in 0..60 {
        let _ = spent.check_key(&key(7));
    }
    let logs: [_; 3] = std::array::from_fn(|_| log(AMPLE, AMPLE_WINDOW));
    let [log_ample, log_same, log_apart] = logs;
    let log_spent = log(60, MINUTE);
    let _ = log_spent.check_n_bytes(key(7), 60);
    vec![
        Contestant::new(GOVERNOR, move |_| {
            assert!(ample.check_key(black_box(&key(7))).is_ok());
        }),
        Contestant::new(GOVERNOR_DENIED, move |_| {
            let _ = black_box(spent.check_key(black_box(&key(7))));
        }),
        Contestant::on_two_threads(GOVERNOR_ONE_KEY_2, move |_, _| {
            let _ = black_box(same.check_key(black_box(&key(7))));
        }),
        Contestant::on_two_threads(GOVERNOR_KEYS_2, move |thread, _| {
            let _ = black_box(apart.check_key(black_box(&key(thread))));
        }),
        governor_at(GOVERNOR_100K, SOME),
        governor_at(GOVERNOR_1M, LOTS),
        Contestant::new(LOG, move |_| {
            assert!(log_ample.check_bytes(black_box(key(7))).is_allow());
        }),
        Contestant::new(LOG_DENIED, move |_| {
            let _ = black_box(log_spent.check_bytes(black_box(key(7))));
        }),
        Contestant::on_two_threads(LOG_ONE_KEY_2, move |_, _| {
            let _ = black_box(log_same.check_bytes(black_box(key(7))));
        }),
        Contestant::on_two_threads(LOG_KEYS_2, move |thread, _| {
            let _ = black_box(log_apart.check_bytes(black_box(key(thread))));
        }),
        log_at(LOG_100K, SOME),
        log_at(LOG_1M, LOTS),
    ]
}
