//! The peers, doing the same requests.
//!
//! governor (GCRA, keyed by a DashMap, hashed with std's SipHash-1-3) is the
//! usual choice. Its default clock is quanta's: the processor's TSC, read
//! without the kernel and without ordering. It admits up to twice its limit in some windows. Its hot key gains a
//! unit each nanosecond and is always admitted.
//!
//! rate-net's sliding log is exact, with a mutex and a growing log for each
//! key, the kernel's monotonic clock and a faster hash (ahash). Its hot key has its documented maximum, 65,536, in 2 ms: always
//! admitted, and the log stays as short as its speed allows.
//!
//! The other limits are ours; keys are quiet.

use crate::contestant::{BUSY, Contestant, LOTS, QUIET, SOME, key, pick};
use crate::crew::Crew;
use governor::{DefaultKeyedRateLimiter, Quota};
use rate_net::{Algorithm, Eviction, MAX_SLIDING_LOG_LIMIT, RateLimiter};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

/// What a peer's contestants are called.
pub(crate) struct Names {
    pub(crate) hot: &'static str,
    pub(crate) denied: &'static str,
    pub(crate) one_key_2: &'static str,
    pub(crate) keys_2: &'static str,
    pub(crate) at_100k: &'static str,
    pub(crate) at_1m: &'static str,
}

pub(crate) const GOVERNOR: Names = Names {
    hot: "governor keyed: admitted",
    denied: "governor keyed: denied",
    one_key_2: "governor keyed: 2 threads on one key",
    keys_2: "governor keyed: 2 threads on different keys",
    at_100k: "governor keyed: 100 k quiet keys at random",
    at_1m: "governor keyed: 1 M quiet keys at random",
};

pub(crate) const LOG: Names = Names {
    hot: "rate-net exact log: admitted",
    denied: "rate-net exact log: denied",
    one_key_2: "rate-net exact log: 2 threads on one key",
    keys_2: "rate-net exact log: 2 threads on different keys",
    at_100k: "rate-net exact log: 100 k quiet keys at random",
    at_1m: "rate-net exact log: 1 M quiet keys at random",
};

/// A limiter with one policy for all keys.
trait Peer: Send + Sync + Sized + 'static {
    /// Never refuses a hot key.
    fn ample() -> Self;
    /// 60 units in a window.
    fn sixty_in(window: Duration) -> Self;
    fn admits(&self, key: [u8; 16]) -> bool;
}

impl Peer for DefaultKeyedRateLimiter<[u8; 16]> {
    fn ample() -> Self {
        Self::keyed(Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap()))
    }

    fn sixty_in(window: Duration) -> Self {
        let burst = NonZeroU32::new(60).unwrap();
        let quota = Quota::with_period(window / 60).unwrap();
        Self::keyed(quota.allow_burst(burst))
    }

    #[inline(always)]
    fn admits(&self, key: [u8; 16]) -> bool {
        self.check_key(&key).is_ok()
    }
}

fn log(limit: u32, window: Duration) -> RateLimiter {
    let quota = rate_net::Quota::rate(limit, window).unwrap();
    let limiter = RateLimiter::with_quota(quota).with_algorithm(Algorithm::SlidingWindowLog);
    // It is to keep all keys, as ours does.
    limiter.with_eviction(Eviction::capacity(2 * LOTS as usize))
}

impl Peer for RateLimiter {
    fn ample() -> Self {
        log(MAX_SLIDING_LOG_LIMIT, Duration::from_millis(2))
    }

    fn sixty_in(window: Duration) -> Self {
        log(60, window)
    }

    #[inline(always)]
    fn admits(&self, key: [u8; 16]) -> bool {
        self.check_bytes(key).is_allow()
    }
}

fn hot<P: Peer>(name: &'static str) -> Contestant {
    let peer = P::ample();
    Contestant::new(name, move |_| assert!(peer.admits(black_box(key(7)))))
}

fn denied<P: Peer>(name: &'static str) -> Contestant {
    let peer = P::sixty_in(BUSY);
    for _ in 0..60 {
        peer.admits(key(7));
    }
    Contestant::new(name, move |_| {
        black_box(peer.admits(black_box(key(7))));
    })
}

/// Two threads, each asking for the key that `of` gives it.
fn shared<P: Peer>(name: &'static str, crew: &Rc<Crew>, of: fn(u64) -> u64) -> Contestant {
    let peer = P::ample();
    Contestant::on_threads(name, crew, 2, move |thread| {
        black_box(peer.admits(black_box(key(of(thread)))));
    })
}

fn at_random<P: Peer>(name: &'static str, keys: u64) -> Contestant {
    let peer = P::sixty_in(QUIET);
    for number in 0..keys {
        peer.admits(key(number));
    }
    Contestant::new(name, move |number| {
        black_box(peer.admits(key(pick(number, keys))));
    })
}

fn of<P: Peer>(names: &Names, crew: &Rc<Crew>) -> Vec<Contestant> {
    vec![
        hot::<P>(names.hot),
        denied::<P>(names.denied),
        shared::<P>(names.one_key_2, crew, |_| 7),
        shared::<P>(names.keys_2, crew, |thread| thread),
        at_random::<P>(names.at_100k, SOME),
        at_random::<P>(names.at_1m, LOTS),
    ]
}

pub(crate) fn governor(crew: &Rc<Crew>) -> Vec<Contestant> {
    of::<DefaultKeyedRateLimiter<_>>(&GOVERNOR, crew)
}

pub(crate) fn rate_net(crew: &Rc<Crew>) -> Vec<Contestant> {
    of::<RateLimiter>(&LOG, crew)
}
