//! Permits through the public API, in one process.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mavera_rl::{
    Acquired, ClockKind, Error, Held, Limiter, OnFull, Options, Permit, Policy, Released,
};
use std::time::{Duration, Instant};

const VIDEO: u32 = 3;
const CHAT: u32 = 10;

fn limiter() -> Limiter<'static> {
    Limiter::private(&Options::new().keys(100)).unwrap()
}

fn acquire<'l>(limiter: &'l Limiter<'_>, key: &[u8], max: u32) -> Option<Held<'l>> {
    match limiter.acquire(key, VIDEO, max, 0).unwrap() {
        Acquired::Held(held) => Some(held),
        Acquired::Busy { in_flight } => {
            assert!(in_flight >= max);
            None
        }
        Acquired::Full => panic!("the table is full"),
    }
}

#[test]
fn a_guard_gives_its_permit_back() {
    let limiter = limiter();
    let held: Vec<_> = (0..3)
        .map(|_| acquire(&limiter, b"key", 3).unwrap())
        .collect();
    assert_eq!(limiter.in_flight(b"key", VIDEO), 3);
    assert!(acquire(&limiter, b"key", 3).is_none());
    drop(held);
    assert_eq!(limiter.in_flight(b"key", VIDEO), 0);
    assert!(acquire(&limiter, b"key", 3).is_some());
}

#[test]
fn keys_and_classes_do_not_know_of_each_other() {
    let limiter = limiter();
    let _video = acquire(&limiter, b"key", 1).unwrap();
    assert!(acquire(&limiter, b"key", 1).is_none());
    assert!(acquire(&limiter, b"other", 1).is_some());
    assert!(matches!(
        limiter.acquire(b"key", CHAT, 1, 0),
        Ok(Acquired::Held(_))
    ));
    // Nor do permits and quota.
    let policy = Policy::per_minute(1);
    assert!(limiter.check(b"key", policy, 1).unwrap().is_allowed());
}

#[test]
fn a_second_release_changes_nothing() {
    let limiter = limiter();
    let first = acquire(&limiter, b"key", 1).unwrap().into_permit();
    assert_eq!(limiter.release(first), Released::Freed);
    assert_eq!(limiter.release(first), Released::NotHeld);
    let second = acquire(&limiter, b"key", 1).unwrap();
    assert_eq!(limiter.release(first), Released::NotHeld);
    assert_eq!(limiter.in_flight(b"key", VIDEO), 1);
    assert_eq!(second.release(), Released::Freed);
}

#[test]
fn a_permit_is_given_back_by_another_thread() {
    let limiter = limiter();
    let permit = acquire(&limiter, b"key", 1).unwrap().into_permit();
    std::thread::scope(|scope| {
        let released = scope.spawn(|| limiter.release(permit)).join().unwrap();
        assert_eq!(released, Released::Freed);
    });
    assert!(acquire(&limiter, b"key", 1).is_some());
}

#[test]
fn a_limit_is_lowered_and_raised_while_permits_are_out() {
    let limiter = limiter();
    let mut held: Vec<_> = (0..10)
        .map(|_| acquire(&limiter, b"key", 10).unwrap())
        .collect();
    // The first eight are back; two beyond the lower limit remain.
    held.drain(..8);
    assert_eq!(limiter.in_flight(b"key", VIDEO), 2);
    let third = acquire(&limiter, b"key", 3).unwrap();
    assert!(acquire(&limiter, b"key", 3).is_none());
    assert!(acquire(&limiter, b"key", 2).is_none());
    let fourth = acquire(&limiter, b"key", 4).unwrap();
    held.clear();
    assert!(acquire(&limiter, b"key", 2).is_none());
    drop((third, fourth));
    assert!(acquire(&limiter, b"key", 1).is_some());
}

#[test]
fn a_class_may_have_as_many_as_the_region_has_cells() {
    let options = Options::new().keys(10).permit_cells(256);
    let limiter = Limiter::private(&options).unwrap();
    let held: Vec<_> = (0..256)
        .map(|_| acquire(&limiter, b"key", 256).unwrap())
        .collect();
    assert!(acquire(&limiter, b"key", 256).is_none());
    drop(held);
    for max in [0, 257, u32::MAX] {
        let error = limiter.acquire(b"key", VIDEO, max, 0).unwrap_err();
        let permit_cells = 256;
        assert_eq!(error, Error::Max { max, permit_cells });
    }
}

#[test]
fn a_lease_ends_and_a_late_release_then_changes_nothing() {
    let limiter = limiter();
    let Acquired::Held(held) = limiter.acquire(b"key", VIDEO, 1, 1000).unwrap() else {
        panic!("refused");
    };
    let lost = held.into_permit();
    let start = Instant::now();
    let next = loop {
        if let Some(held) = acquire(&limiter, b"key", 1) {
            break held;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "it never ended");
        std::thread::yield_now();
    };
    assert!(
        start.elapsed() >= Duration::from_millis(990),
        "it ended early"
    );
    assert!(
        start.elapsed() <= Duration::from_millis(3100),
        "it ended late"
    );
    assert_eq!(limiter.release(lost), Released::NotHeld);
    assert_eq!(limiter.in_flight(b"key", VIDEO), 1);
    drop(next);
    let too_long = 24 * 60 * 60 * 1000 + 1;
    let error = limiter.acquire(b"key", VIDEO, 1, too_long).unwrap_err();
    assert_eq!(error, Error::Lease { lease_ms: too_long });
}

#[test]
fn where_the_caller_supplies_the_time_there_are_permits_but_no_leases() {
    let limiter = Limiter::private(&Options::new().keys(10).clock(ClockKind::Caller)).unwrap();
    assert!(acquire(&limiter, b"key", 1).is_some());
    let error = limiter.acquire(b"key", VIDEO, 1, 5).unwrap_err();
    assert_eq!(error, Error::Lease { lease_ms: 5 });
}

#[test]
fn a_full_table_answers_by_policy_and_idle_records_are_used_again() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let options = Options::new().keys(10).on_full(on_full);
        let limiter = Limiter::private(&options).unwrap();
        let capacity = limiter.stats().permit_capacity;
        // Ten times as many keys as there are records, one after the other.
        for key in 0..10 * capacity {
            assert!(acquire(&limiter, &key.to_le_bytes(), 1).is_some());
        }
        let held: Vec<_> = (0..capacity)
            .map(|key| acquire(&limiter, &key.to_le_bytes(), 1).unwrap())
            .collect();
        assert_eq!(limiter.stats().full, 0);
        match limiter.acquire(b"one more", VIDEO, 1, 0).unwrap() {
            Acquired::Full => assert_eq!(on_full, OnFull::Deny),
            Acquired::Held(held) => {
                assert_eq!(on_full, OnFull::Allow);
                let permit = held.into_permit();
                assert!(permit.is_untracked());
                assert_eq!(limiter.release(permit), Released::Freed);
            }
            busy => panic!("{busy:?}"),
        }
        assert_eq!(limiter.stats().full, 1);
        // Nobody's permit was taken for it.
        for held in held {
            assert_eq!(held.release(), Released::Freed);
        }
    }
}

#[test]
fn a_permit_of_another_region_is_not_held() {
    let (one, other) = (limiter(), limiter());
    let permit = acquire(&one, b"key", 1).unwrap().into_permit();
    assert_eq!(other.release(permit), Released::NotHeld);
    assert_eq!(one.release(Permit::UNTRACKED), Released::Freed);
    assert_eq!(one.release(permit), Released::Freed);
}

/// Both hash alike, so that a key's permits lie in the same place.
#[test]
fn a_permit_of_a_region_with_the_same_secret_frees_nobodys() {
    let options = Options::new().keys(100).secret([1, 2]);
    let (one, other) = (
        Limiter::private(&options).unwrap(),
        Limiter::private(&options).unwrap(),
    );
    let permit = acquire(&one, b"key", 1).unwrap().into_permit();
    let others = acquire(&other, b"key", 1).unwrap();
    assert_eq!(other.release(permit), Released::NotHeld);
    assert_eq!(others.release(), Released::Freed);
    drop(one);
    let again = Limiter::private(&options).unwrap();
    let held = acquire(&again, b"key", 1).unwrap();
    assert_eq!(again.release(permit), Released::NotHeld);
    assert_eq!(held.release(), Released::Freed);
}

#[test]
fn many_threads_never_hold_more_than_there_are_and_nothing_is_left_over() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let limiter = limiter();
    let holders = AtomicU32::new(0);
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50_000 {
                    if let Some(held) = acquire(&limiter, b"key", 3) {
                        taken.fetch_add(1, Ordering::Relaxed);
                        assert!(holders.fetch_add(1, Ordering::AcqRel) < 3);
                        holders.fetch_sub(1, Ordering::AcqRel);
                        assert_eq!(held.release(), Released::Freed);
                    }
                }
            });
        }
    });
    assert!(taken.into_inner() > 50_000);
    assert_eq!(limiter.in_flight(b"key", VIDEO), 0);
    let all: Vec<_> = (0..3).map(|_| acquire(&limiter, b"key", 3)).collect();
    assert!(all.iter().all(Option::is_some));
}
