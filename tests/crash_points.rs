//! A process dies before its k-th atomic operation, for every k of whatever it
//! does: then the region must be whole and serve.
//!
//!     cargo test --features crash-points --test crash_points

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "fork is a C function")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]

use mavera_rl::{Acquired, Held, Limiter, Options, Policy, Released, crash};
use std::time::{Duration, Instant};

const CLASS: u32 = 1;
const MAX: u32 = 3;

fn acquire<'l>(limiter: &'l Limiter<'_>, key: &[u8]) -> Option<Held<'l>> {
    match limiter.acquire(key, CLASS, MAX, 0).unwrap() {
        Acquired::Held(held) => Some(held),
        Acquired::Busy { in_flight } => {
            assert!(in_flight >= MAX);
            None
        }
        Acquired::Full => panic!("the table is full"),
    }
}

/// A permit of a key of which one must be free, but for an owner that was just
/// found alive.
fn acquire_soon<'l>(limiter: &'l Limiter<'_>, key: &[u8], k: u64) -> Held<'l> {
    let start = Instant::now();
    loop {
        if let Some(held) = acquire(limiter, key) {
            return held;
        }
        assert!(
            start.elapsed() < Duration::from_millis(500),
            "leaked at {k}"
        );
    }
}

/// Runs `body` in a child that dies before its k-th operation; `true` if it
/// had fewer.
fn dies_at(k: u64, body: &dyn Fn()) -> bool {
    let mut status = 0;
    // SAFETY: the child runs only `body`, and leaves without destructors.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            // It dies by SIGABRT, and nobody wants to look at it.
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            crash::arm(k);
            body();
            crash::arm(0);
            libc::_exit(0);
        }
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
    }
    if libc::WIFSIGNALED(status) {
        assert_eq!(libc::WTERMSIG(status), libc::SIGABRT);
        return false;
    }
    assert_eq!(libc::WEXITSTATUS(status), 0);
    true
}

/// Dies at every point of `body` in turn, and after each death looks at the
/// region by `whole`.
fn at_every_point(body: impl Fn(&Limiter<'_>), whole: impl Fn(&Limiter<'_>, u64)) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = Options::new().keys(10).permit_keys(10);
    let limiter = Limiter::open(directory.path().join("region"), &options).unwrap();
    let mut k = 1;
    while !dies_at(k, &|| body(&limiter)) {
        whole(&limiter, k);
        k += 1;
        assert!(k < 100_000);
    }
    whole(&limiter, k);
    assert!(k > 5, "nothing was done");
}

/// All permits of a key are to be had, and no more.
fn all_are_free(limiter: &Limiter<'_>, key: &[u8], k: u64) {
    let all: Vec<_> = (0..MAX).map(|_| acquire_soon(limiter, key, k)).collect();
    assert!(acquire(limiter, key).is_none(), "too many at {k}");
    assert_eq!(limiter.in_flight(key, CLASS), MAX);
    for held in all {
        assert_eq!(held.release(), Released::Freed);
    }
    assert_eq!(limiter.in_flight(key, CLASS), 0);
}

/// A key that the parent has not touched yet, so that the child inserts it.
fn fresh(k: u64) -> [u8; 8] {
    k.to_le_bytes()
}

#[test]
fn registering_inserting_acquiring_and_releasing_leak_nothing() {
    at_every_point(
        |limiter| {
            let first = acquire(limiter, b"key").unwrap();
            let second = acquire(limiter, b"key").unwrap();
            assert_eq!(first.release(), Released::Freed);
            let third = acquire(limiter, b"key").unwrap();
            let _kept = (second.into_permit(), third.into_permit());
        },
        |limiter, k| all_are_free(limiter, b"key", k),
    );
}

#[test]
fn a_dead_owners_permits_are_reclaimed_by_one_who_dies_too() {
    at_every_point(
        |limiter| {
            // All three are the last child's that got so far.
            let mut held: Vec<_> = (0..MAX).filter_map(|_| acquire(limiter, b"key")).collect();
            while let Some(held) = held.pop() {
                let _kept = held.into_permit();
            }
        },
        |limiter, k| {
            // Look, but leave what is stale to the next child.
            if k % 7 == 0 {
                all_are_free(limiter, b"key", k);
            }
        },
    );
}

#[test]
fn evicting_leaves_every_key_its_permits() {
    // More keys than the one set has ways: each insertion evicts.
    at_every_point(
        |limiter| {
            for number in 0..80_u64 {
                drop(acquire(limiter, &fresh(1000 + number)));
            }
            let _kept = acquire(limiter, &fresh(1)).unwrap().into_permit();
        },
        |limiter, k| {
            all_are_free(limiter, &fresh(1), k);
            all_are_free(limiter, &fresh(1000 + k % 80), k);
        },
    );
}

#[test]
fn a_living_owners_permit_outlives_them_all() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = Options::new().keys(10);
    let limiter = Limiter::open(directory.path().join("region"), &options).unwrap();
    let held = acquire(&limiter, b"key").unwrap();
    let mut k = 1;
    while !dies_at(k, &|| {
        for number in 0..70_u64 {
            drop(acquire(&limiter, &fresh(number)));
        }
        drop(acquire(&limiter, b"key"));
    }) {
        // Late points are many and alike.
        k += 1 + k / 50;
    }
    // A dead one's may count beside it, until somebody wants it.
    assert!(limiter.in_flight(b"key", CLASS) >= 1);
    assert_eq!(held.release(), Released::Freed);
    all_are_free(&limiter, b"key", k);
}

#[test]
fn a_check_is_charged_once_or_not_at_all() {
    let policy = Policy::per_minute(1_000_000);
    let told = std::cell::Cell::new(0_u32);
    at_every_point(
        |limiter| {
            let decision = limiter.check(b"key", policy, 1).unwrap();
            assert!(decision.is_allowed());
        },
        |limiter, k| {
            let used = limiter.peek(b"key", policy, 0).unwrap().used;
            assert!(
                used == told.get() || used == told.get() + 1,
                "{used} at {k}"
            );
            told.set(used);
            let decision = limiter.check(b"key", policy, 1).unwrap();
            told.set(decision.used);
        },
    );
}
