//! The limiter.
//!
//! Admitted: a limit of 2^23 in 10 ms, which is never reached. Denied: 60 an
//! hour, spent. Many keys: 60 in a window that makes them quiet or busy.

use crate::contestant::{BUSY, BUSY_FROM, Contestant, LOTS, QUIET, SOME, after, key, pick};
use crate::crew::Crew;
use crate::stopwatch::{Stopwatch, Took};
use mavera_rl::{ClockKind, Decision, Error, Limiter, Options, Policy, Request};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const HOT: &str = "check: admitted";
pub(crate) const HOT_COARSE: &str = "check: admitted, coarse clock";
pub(crate) const HOT_CALLER: &str = "check: admitted, caller's clock";
pub(crate) const DENIED: &str = "check: denied";
pub(crate) const NEW_RUN: &str = "check: a new run each time, caller's clock";
pub(crate) const PEEK: &str = "peek";
pub(crate) const ONE_KEY_2: &str = "check: 2 threads on one key";
pub(crate) const KEYS_2: &str = "check: 2 threads on different keys";
pub(crate) const DENIED_1: &str = "check: denied, 1 thread of the crew";
pub(crate) const DENIED_1_RAN: &str = "check: denied, 1 thread of the crew, processor time";
pub(crate) const DENIED_2_RAN: &str = "check: denied, 2 threads on one key, processor time";
pub(crate) const DENIED_2: &str = "check: denied, 2 threads on one key";
pub(crate) const AT_100K: &str = "check: 100 k quiet keys at random";
pub(crate) const AT_1M: &str = "check: 1 M quiet keys at random";
pub(crate) const AT_100K_WAITING: &str = "check: 100 k quiet keys, one after the other";
pub(crate) const AT_1M_WAITING: &str = "check: 1 M quiet keys, one after the other";
pub(crate) const MANY_1M: &str = "check_many: 1 M quiet keys at random";
pub(crate) const BUSY_1M: &str = "check: 1 M busy keys at random";
pub(crate) const BUSY_1M_WAITING: &str = "check: 1 M busy keys, one after the other";
pub(crate) const BUSY_MANY_1M: &str = "check_many: 1 M busy keys at random";

const BATCH: usize = 256;
const HOUR_MS: u32 = 3_600_000;

type Shared = Arc<Limiter<'static>>;

fn policy(limit: u32, window_ms: u32) -> Policy {
    Policy::new(limit, window_ms).unwrap()
}

fn limiter(keys: u64, clock: ClockKind) -> Shared {
    let options = Options::new().keys(keys).clock(clock);
    Arc::new(Limiter::private(&options.max_window_ms(HOUR_MS)).unwrap())
}

fn ask(limiter: &Limiter<'_>, number: u64, policy: Policy) -> Decision {
    limiter.check(black_box(&key(number)), policy, 1).unwrap()
}

/// A hot key that is always admitted.
fn admitted() -> Vec<Contestant> {
    let ample = policy(Policy::MAX_LIMIT, 10);
    let clocked = |name, clock| {
        let limiter = limiter(1000, clock);
        Contestant::new(name, move |_| {
            assert!(black_box(ask(&limiter, 7, ample)).is_allowed());
        })
    };
    // The time steps by a millisecond every so many requests.
    let at = |name, policy, requests| {
        let limiter = limiter(1000, ClockKind::Caller);
        Contestant::new(name, move |number| {
            let decision = limiter.check_at(black_box(&key(7)), policy, 1, number / requests);
            assert!(black_box(decision.unwrap()).is_allowed());
        })
    };
    vec![
        clocked(HOT, ClockKind::Precise),
        clocked(HOT_COARSE, ClockKind::Coarse),
        at(HOT_CALLER, ample, 1 << 16),
        at(NEW_RUN, policy(60, 59), 1),
    ]
}

/// A limiter whose key 7 has nothing left for an hour, and the policy.
fn spent() -> (Shared, Policy) {
    let limiter = limiter(1000, ClockKind::Precise);
    let policy = policy(60, HOUR_MS);
    limiter.check(&key(7), policy, 60).unwrap();
    (limiter, policy)
}

/// A hot key that is always refused: nothing is written.
fn denied(crew: &Rc<Crew>) -> Vec<Contestant> {
    let (limiter, policy) = spent();
    let threads = |name, threads, time| {
        let limiter = limiter.clone();
        Contestant::timed_on_threads(name, crew, threads, time, move |_| {
            assert!(!black_box(ask(&limiter, 7, policy)).is_allowed());
        })
    };
    let wall: fn(Took) -> Took = |took| took;
    let ran: fn(Took) -> Took = Took::by_processor;
    let on_crew = [
        threads(DENIED_1, 1, wall),
        threads(DENIED_2, 2, wall),
        threads(DENIED_1_RAN, 1, ran),
        threads(DENIED_2_RAN, 2, ran),
    ];
    let peeked = limiter.clone();
    let mut all = vec![
        Contestant::new(DENIED, move |_| {
            assert!(!black_box(ask(&limiter, 7, policy)).is_allowed());
        }),
        Contestant::new(PEEK, move |_| {
            let decision = peeked.peek(black_box(&key(7)), policy, 1).unwrap();
            assert!(!black_box(decision).is_allowed());
        }),
    ];
    all.extend(on_crew);
    all
}

/// Two threads, admitted.
fn shared(crew: &Rc<Crew>) -> [Contestant; 2] {
    let ample = policy(Policy::MAX_LIMIT, 10);
    let [one, two] = [(); 2].map(|()| limiter(1000, ClockKind::Precise));
    [
        Contestant::on_threads(ONE_KEY_2, crew, 2, move |_| {
            assert!(black_box(ask(&one, 7, ample)).is_allowed());
        }),
        Contestant::on_threads(KEYS_2, crew, 2, move |thread| {
            assert!(black_box(ask(&two, thread, ample)).is_allowed());
        }),
    ]
}

/// With all keys in the table, each having asked so often. By chance a few of
/// 1 M may find their set full, which the memory table counts; a turn does not
/// notice.
fn filled(keys: u64, policy: Policy, times: u64) -> Shared {
    let limiter = limiter(keys, ClockKind::Precise);
    for _ in 0..times {
        for number in 0..keys {
            ask(&limiter, number, policy);
        }
    }
    limiter
}

fn at_random(name: &'static str, limiter: Shared, keys: u64, policy: Policy) -> Contestant {
    Contestant::new(name, move |number| {
        black_box(ask(&limiter, pick(number, keys), policy));
    })
}

/// The next key is known only when the check before has answered.
fn waiting(name: &'static str, limiter: Shared, keys: u64, policy: Policy) -> Contestant {
    let mut last = 0;
    Contestant::new(name, move |number| {
        let decision = ask(&limiter, pick(after(last, number), keys), policy);
        last = u64::from(black_box(decision).used);
    })
}

fn many(name: &'static str, limiter: Shared, keys: u64, policy: Policy) -> Contestant {
    let mut asked = 0;
    Contestant::timed(name, move |requests| {
        let mut answers = [const { Err(Error::Tier) }; BATCH];
        let watch = Stopwatch::start();
        for _ in 0..requests.div_ceil(BATCH as u64) {
            let names: [_; BATCH] = std::array::from_fn(|n| key(pick(asked + n as u64, keys)));
            let batch = names.each_ref().map(|name| Request {
                key: name,
                policy,
                cost: 1,
            });
            black_box(limiter.check_many(&batch, &mut answers));
            asked += BATCH as u64;
        }
        // As if just as many had been made as were asked for.
        let made = requests.div_ceil(BATCH as u64) * BATCH as u64;
        Took::of(&[watch.stop()]).scaled(requests as f64 / made as f64)
    })
}

/// All that is asked of many keys in one state.
struct Crowd {
    limiter: Shared,
    keys: u64,
    policy: Policy,
}

impl Crowd {
    fn new(keys: u64, window: Duration, times: u64) -> Self {
        let policy = policy(60, u32::try_from(window.as_millis()).unwrap());
        Self {
            limiter: filled(keys, policy, times),
            keys,
            policy,
        }
    }

    fn asked(&self, by: Ways, name: &'static str) -> Contestant {
        by(name, self.limiter.clone(), self.keys, self.policy)
    }
}

type Ways = fn(&'static str, Shared, u64, Policy) -> Contestant;

pub(crate) fn contestants(crew: &Rc<Crew>) -> Vec<Contestant> {
    let some = Crowd::new(SOME, QUIET, 1);
    let lots = Crowd::new(LOTS, QUIET, 1);
    let busy = Crowd::new(LOTS, BUSY, BUSY_FROM);
    let mut all = admitted();
    all.extend(denied(crew));
    all.extend(shared(crew));
    all.extend([
        some.asked(at_random, AT_100K),
        some.asked(waiting, AT_100K_WAITING),
        lots.asked(at_random, AT_1M),
        lots.asked(waiting, AT_1M_WAITING),
        lots.asked(many, MANY_1M),
        busy.asked(at_random, BUSY_1M),
        busy.asked(waiting, BUSY_1M_WAITING),
        busy.asked(many, BUSY_MANY_1M),
    ]);
    all
}
