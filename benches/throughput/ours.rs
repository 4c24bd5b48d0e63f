//! The limiter.

use crate::contestant::{Contestant, key, pick};
use mavera_rl::{ClockKind, Error, Limiter, Options, Policy, Request};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

pub(crate) const HOT: &str = "check: admitted";
pub(crate) const HOT_COARSE: &str = "check: admitted, coarse clock";
pub(crate) const HOT_CALLER: &str = "check: admitted, caller's clock";
pub(crate) const DENIED: &str = "check: denied";
pub(crate) const NEW_RUN: &str = "check: a new run each time, caller's clock";
pub(crate) const PEEK: &str = "peek";
pub(crate) const ONE_KEY_2: &str = "check: 2 threads on one key";
pub(crate) const KEYS_2: &str = "check: 2 threads on different keys";
pub(crate) const DENIED_2: &str = "check: denied, 2 threads";
pub(crate) const AT_100K: &str = "check: 100 k keys at random";
pub(crate) const AT_1M: &str = "check: 1 M keys at random";
pub(crate) const AT_1M_WAITING: &str = "check: 1 M keys, one after the other";
pub(crate) const MANY_1M: &str = "check_many: 1 M keys at random";

/// The contract's Starter.
const STARTER: Policy = Policy::per_minute(60);
const BATCH: usize = 256;

/// A limit that is never reached.
fn ample() -> Policy {
    Policy::new(Policy::MAX_LIMIT, 10).unwrap()
}

fn limiter(keys: u64, clock: ClockKind) -> Arc<Limiter<'static>> {
    let options = Options::new().keys(keys).clock(clock);
    Arc::new(Limiter::private(&options).unwrap())
}

/// With all keys in the table, so that no round pays for that.
fn filled(keys: u64) -> Arc<Limiter<'static>> {
    let limiter = limiter(keys, ClockKind::Precise);
    for number in 0..keys {
        limiter.check(&key(number), STARTER, 1).unwrap();
    }
    assert_eq!(limiter.stats().full, 0);
    limiter
}

fn admitted(name: &'static str, clock: ClockKind) -> Contestant {
    let limiter = limiter(1000, clock);
    let policy = ample();
    match clock {
        ClockKind::Caller => Contestant::new(name, move |_| {
            let decision = limiter.check_at(black_box(&key(7)), policy, 1, 5);
            black_box(decision.unwrap());
        }),
        _ => Contestant::new(name, move |_| {
            black_box(limiter.check(black_box(&key(7)), policy, 1).unwrap());
        }),
    }
}

/// A limiter whose key 7 has nothing left.
fn spent() -> Arc<Limiter<'static>> {
    let limiter = limiter(1000, ClockKind::Precise);
    limiter.check(&key(7), denied(), 60).unwrap();
    limiter
}

/// Starter's, over an hour's window: it stays denied while it is measured.
fn denied() -> Policy {
    Policy::per_minute(60)
}

fn many(limiter: Arc<Limiter<'static>>, keys: u64) -> Contestant {
    let mut asked = 0;
    Contestant::timed(MANY_1M, move |requests| {
        let mut answers = [const { Err(Error::Tier) }; BATCH];
        let start = Instant::now();
        for _ in 0..requests.div_ceil(BATCH as u64) {
            let names: [_; BATCH] = std::array::from_fn(|n| key(pick(asked + n as u64, keys)));
            let batch = names.each_ref().map(|name| Request {
                key: name,
                policy: STARTER,
                cost: 1,
            });
            black_box(limiter.check_many(&batch, &mut answers));
            asked += BATCH as u64;
        }
        // As if just as many had been made as were asked for.
        let made = requests.div_ceil(BATCH as u64) * BATCH as u64;
        start.elapsed().mul_f64(requests as f64 / made as f64)
    })
}

pub(crate) fn contestants() -> Vec<Contestant> {
    const SOME: u64 = 100_000;
    const LOTS: u64 = 1_000_000;
    let (hot, same, apart) = (
        spent(),
        limiter(1000, ClockKind::Precise),
        limiter(1000, ClockKind::Precise),
    );
    let (cold, spent_2, stepping) = (spent(), spent(), limiter(1000, ClockKind::Caller));
    let (some, lots) = (filled(SOME), filled(LOTS));
    let (lots_waiting, lots_many) = (lots.clone(), lots.clone());
    let policy = ample();
    let sliding = Policy::new(60, 59).unwrap();
    let mut last = 0_u64;
    vec![
        admitted(HOT, ClockKind::Precise),
        admitted(HOT_COARSE, ClockKind::Coarse),
        admitted(HOT_CALLER, ClockKind::Caller),
        Contestant::new(DENIED, move |_| {
            black_box(hot.check(black_box(&key(7)), denied(), 1).unwrap());
        }),
        Contestant::new(NEW_RUN, move |number| {
            let decision = stepping.check_at(black_box(&key(7)), sliding, 1, number);
            black_box(decision.unwrap());
        }),
        Contestant::new(PEEK, move |_| {
            black_box(cold.peek(black_box(&key(8)), STARTER, 1).unwrap());
        }),
        Contestant::on_two_threads(ONE_KEY_2, move |_, _| {
            black_box(same.check(black_box(&key(7)), policy, 1).unwrap());
        }),
        Contestant::on_two_threads(KEYS_2, move |thread, _| {
            black_box(apart.check(black_box(&key(thread)), policy, 1).unwrap());
        }),
        Contestant::on_two_threads(DENIED_2, move |_, _| {
            black_box(spent_2.check(black_box(&key(7)), denied(), 1).unwrap());
        }),
        Contestant::new(AT_100K, move |number| {
            black_box(some.check(&key(pick(number, SOME)), STARTER, 1).unwrap());
        }),
        Contestant::new(AT_1M, move |number| {
            black_box(lots.check(&key(pick(number, LOTS)), STARTER, 1).unwrap());
        }),
        Contestant::new(AT_1M_WAITING, move |number| {
            // The next key is known only when this check has answered.
            let number = number.wrapping_add(last & 0x100_0000);
            let decision = lots_waiting.check(&key(pick(number, LOTS)), STARTER, 1);
            last = decision.unwrap().used.into();
        }),
        many(lots_many, LOTS),
    ]
}
