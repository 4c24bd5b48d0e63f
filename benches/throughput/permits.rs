//! The limiter's permits: one is taken and given back.
//!
//! Ten requests of a key may be in flight, as the contract says of
//! `/mave/chat`. Where a quota is asked as well, it is never reached.

use crate::contestant::{Contestant, SOME, key, pick};
use crate::crew::Crew;
use crate::memory;
use mavera_rl::plan::Plan;
use mavera_rl::{Acquired, Limiter, Options, Policy};
use std::hint::black_box;
use std::rc::Rc;

pub(crate) const HOT: &str = "permit";
pub(crate) const HOT_FILE: &str = "permit: region file";
pub(crate) const ONE_KEY_2: &str = "permit: 2 threads on one key";
pub(crate) const KEYS_2: &str = "permit: 2 threads on different keys";
pub(crate) const AT_100K: &str = "permit: 100 k keys at random";
pub(crate) const REFUSED: &str = "permit: refused";
pub(crate) const CHECK: &str = "check + permit";
pub(crate) const ADMIT: &str = "admit";

/// Most requests in flight.
pub(crate) const MAX: u32 = 10;
/// Any will do.
const CLASS: u32 = 1;
const PATH: &str = "/mave/chat";
const TIER: &str = "enterprise";

type Ours = Limiter<'static>;

fn options() -> Options {
    Options::new().keys(1000)
}

fn private() -> Ours {
    Limiter::private(&options()).unwrap()
}

/// Nobody else opens the file, and its directory is gone as soon as it is
/// open: nothing stays behind.
fn on_file() -> Ours {
    let directory = memory::directory();
    Limiter::open(directory.path().join("region"), &options()).unwrap()
}

#[inline(always)]
fn acquire(limiter: &Ours, number: u64) -> Acquired<'_> {
    limiter
        .acquire(black_box(&key(number)), CLASS, MAX, 0)
        .unwrap()
}

/// Takes a permit, which is to be had, and gives it back.
#[inline(always)]
fn pair(limiter: &Ours, number: u64) {
    assert!(matches!(
        black_box(acquire(limiter, number)),
        Acquired::Held(_)
    ));
}

fn hot(name: &'static str, limiter: Ours) -> Contestant {
    Contestant::new(name, move |_| pair(&limiter, 7))
}

/// Two threads, each with the key that `of` gives it.
fn shared(name: &'static str, crew: &Rc<Crew>, of: fn(u64) -> u64) -> Contestant {
    let limiter = private();
    Contestant::on_threads(name, crew, 2, move |thread| pair(&limiter, of(thread)))
}

/// With a record for every key from the beginning.
fn at_random(name: &'static str, keys: u64) -> Contestant {
    let limiter = Limiter::private(&options().permit_keys(keys)).unwrap();
    (0..keys).for_each(|number| pair(&limiter, number));
    Contestant::new(name, move |number| pair(&limiter, pick(number, keys)))
}

/// All are held, and none is given back.
fn refused(name: &'static str) -> Contestant {
    let limiter = private();
    (0..MAX).for_each(|_| std::mem::forget(acquire(&limiter, 7)));
    Contestant::new(name, move |_| {
        let answer = black_box(acquire(&limiter, 7));
        assert!(matches!(answer, Acquired::Busy { in_flight: MAX }));
    })
}

/// Permit and quota, in two calls and in one.
fn admitted() -> [Contestant; 2] {
    let ample = Policy::new(Policy::MAX_LIMIT, 10).unwrap();
    let [by_hand, limiter] = [(); 2].map(|()| private());
    let plan = Plan::default();
    plan.set_tier(TIER, ample).unwrap();
    [
        Contestant::new(CHECK, move |_| {
            let held = black_box(acquire(&by_hand, 7));
            assert!(matches!(held, Acquired::Held(_)));
            let decision = by_hand.check(black_box(&key(7)), ample, 1).unwrap();
            assert!(black_box(decision).is_allowed());
        }),
        Contestant::new(ADMIT, move |_| {
            let (tier, path) = black_box((TIER, PATH.as_bytes()));
            let admission = limiter.admit(&plan, black_box(&key(7)), Some(tier), path);
            let admission = black_box(admission.unwrap());
            assert!(admission.decision.is_allowed() && admission.permit.is_some());
        }),
    ]
}

pub(crate) fn contestants(crew: &Rc<Crew>) -> Vec<Contestant> {
    let mut all = vec![
        hot(HOT, private()),
        hot(HOT_FILE, on_file()),
        shared(ONE_KEY_2, crew, |_| 7),
        shared(KEYS_2, crew, |thread| thread),
        at_random(AT_100K, SOME),
        refused(REFUSED),
    ];
    all.extend(admitted());
    all
}
