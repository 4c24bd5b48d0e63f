//! A check allocates nothing, whatever its answer.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::http::{Flavour, Response};
use mavera_rl::plan::Plan;
use mavera_rl::{
    Acquired, ClockKind, Decision, Error, Limiter, OnFull, Options, Outcome, Policy, Request,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    /// Calls of the allocator by this thread.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts its calls.
struct Counting;

fn count() {
    // A thread that is ending counts no more.
    let _ = CALLS.try_with(|calls| calls.set(calls.get().wrapping_add(1)));
}

// SAFETY: hands on to the system's allocator what it is given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `body` returns, and how often it called the allocator.
fn calls<T>(body: impl FnOnce() -> T) -> (T, u64) {
    let before = CALLS.get();
    let result = body();
    (result, CALLS.get().wrapping_sub(before))
}

/// What `body` returns, which must not have called the allocator.
fn none<T>(what: &str, body: impl FnOnce() -> T) -> T {
    let (result, calls) = calls(body);
    assert_eq!(calls, 0, "{what}");
    result
}

type Answers = [Result<Decision, Error>];

const SIXTY: Policy = Policy::per_minute(60);
const NOW: u64 = 1_000_000_000;
const MINUTE: u64 = 60_000;

fn with_caller(options: &Options) -> Limiter<'static> {
    Limiter::private(&options.clock(ClockKind::Caller)).unwrap()
}

#[test]
fn the_counter_sees_allocations_of_every_kind() {
    let (boxed, taken) = calls(|| black_box(Box::new(7_u64)));
    assert_eq!(taken, 1);
    assert_eq!(calls(|| drop(boxed)).1, 1);
    let (mut bytes, taken) = calls(|| black_box(vec![0_u8; 100]));
    assert_eq!(taken, 1);
    assert_eq!(calls(|| bytes.reserve_exact(1000)).1, 1);
    let text = calls(|| black_box(format!("{}", bytes.len()))).1;
    assert!(text > 0);
    assert_eq!(calls(|| black_box(7)).1, 0);
}

#[test]
fn checks_and_peeks_by_every_clock_allocate_nothing() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    for clock in [ClockKind::Precise, ClockKind::Coarse] {
        let options = Options::new().keys(100).clock(clock);
        let path = directory.path().join(format!("{clock:?}"));
        for limiter in [
            Limiter::private(&options).unwrap(),
            Limiter::open(&path, &options).unwrap(),
        ] {
            let check = || limiter.check(b"key", SIXTY, 1).unwrap();
            assert!(none("a new key", check).is_allowed());
            for _ in 1..60 {
                assert!(none("admitted", check).is_allowed());
            }
            assert!(!none("refused", check).is_allowed());
            let peek = || limiter.peek(b"key", SIXTY, 1).unwrap();
            assert_eq!(none("peek", peek).used, 60);
            let absent = || limiter.peek(b"absent", SIXTY, 1).unwrap();
            assert_eq!(none("peek of nobody", absent).used, 0);
            assert_eq!(none("stats", || limiter.stats()).keys_held, 1);
        }
    }
}

#[test]
fn the_ways_through_a_window_allocate_nothing() {
    // A limit in quanta, and one that is exact.
    for limit in [60, 600] {
        let limiter = with_caller(&Options::new().keys(100));
        let policy = Policy::per_minute(limit);
        let check = |now| limiter.check_at(b"key", policy, 1, now).unwrap();
        // New runs, runs that go on, expiry, laps and rewinds.
        for step in 0..20_000_u64 {
            let now = NOW.wrapping_add(step.wrapping_mul(step % 97));
            none("a check", || check(now));
        }
        for step in 1..100 {
            let now = NOW.wrapping_mul(2).wrapping_add(MINUTE.wrapping_mul(step));
            assert!(none("after a quiet window", || check(now)).is_allowed());
        }
    }
}

#[test]
fn permits_and_admissions_allocate_nothing() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = Options::new().keys(100);
    let path = directory.path().join("region");
    let plan = Plan::default();
    for limiter in [
        Limiter::private(&options).unwrap(),
        Limiter::open(&path, &options).unwrap(),
    ] {
        let acquire = || limiter.acquire(b"key", 1, 2, 0).unwrap();
        // The first one registers the process.
        let first = none("a first permit", acquire);
        let second = none("another", acquire);
        assert!(matches!(second, Acquired::Held(_)));
        let third = none("busy", acquire);
        assert!(matches!(third, Acquired::Busy { in_flight: 2 }));
        assert_eq!(none("in flight", || limiter.in_flight(b"key", 1)), 2);
        none("releases", || drop((first, second)));
        let leased = none("a lease", || limiter.acquire(b"key", 1, 2, 1000).unwrap());
        none("its release", || drop(leased));
        for key in 0_u64..300 {
            let key = key.to_le_bytes();
            none("new keys, and evictions", || {
                drop(limiter.acquire(&key, 1, 1, 0).unwrap());
            });
        }
        let admit = || {
            let target = b"/x/../video%2Danalyses?id=7";
            limiter
                .admit(&plan, b"key", Some("starter"), target)
                .unwrap()
        };
        let held: Vec<_> = (0..3).map(|_| none("admitted", admit)).collect();
        assert!(held.iter().all(|admission| admission.decision.is_allowed()));
        assert!(!none("refused", admit).decision.is_allowed());
    }
}

#[test]
fn errors_allocate_nothing() {
    let limiter = with_caller(&Options::new().keys(100));
    let error = none("cost", || limiter.check_at(b"key", SIXTY, 61, NOW));
    assert!(error.is_err());
    let error = none("clock", || limiter.check(b"key", SIXTY, 1));
    assert!(error.is_err());
    let day = Policy::new(60, 86_400_000).unwrap();
    let error = none("window", || limiter.check_at(b"key", day, 1, NOW));
    assert!(error.is_err());
}

#[test]
fn a_full_table_and_evictions_allocate_nothing() {
    for on_full in [OnFull::Deny, OnFull::Allow] {
        let limiter = with_caller(&Options::new().keys(1).on_full(on_full));
        let check = |key: u64, now| limiter.check_at(&key.to_ne_bytes(), SIXTY, 1, now).unwrap();
        for key in 0..256 {
            assert!(none("a new key", || check(key, NOW)).is_allowed());
        }
        let full = none("full", || check(256, NOW));
        assert!(full.untracked || full.outcome == Outcome::Full);
        let later = NOW.wrapping_add(MINUTE);
        for key in 1_000..1_256 {
            let evicting = none("evicting", || check(key, later));
            assert!(evicting.is_allowed() && !evicting.untracked);
        }
        let stats = none("stats", || limiter.stats());
        assert_eq!((stats.evicted, stats.full), (256, 1));
    }
}

#[test]
fn a_batch_allocates_nothing() {
    let keys: Vec<[u8; 8]> = (0..300_u64).map(u64::to_ne_bytes).collect();
    let requests: Vec<_> = keys
        .iter()
        .map(|key| Request {
            key,
            policy: SIXTY,
            cost: 30,
        })
        .collect();
    let mut answers = vec![Err(Error::Tier); requests.len()];
    let limiter = Limiter::private(&Options::new().keys(1_000)).unwrap();
    let caller = with_caller(&Options::new().keys(1_000));
    for round in 0..3 {
        let mut batch = |what, check: &dyn Fn(&mut Answers) -> usize| {
            assert_eq!(none(what, || check(&mut answers)), requests.len());
            for answer in &answers {
                assert_eq!(answer.unwrap().is_allowed(), round < 2);
            }
        };
        batch("check_many", &|out| limiter.check_many(&requests, out));
        batch("check_many_at", &|out| {
            caller.check_many_at(&requests, NOW, out)
        });
    }
}

#[test]
fn headers_and_bodies_allocate_nothing() {
    let limiter = with_caller(&Options::new().keys(100));
    for cost in [60, 1] {
        let decision = limiter.check_at(b"key", SIXTY, cost, NOW).unwrap();
        let refused = !decision.is_allowed();
        let mut out = [0_u8; 512];
        let response = none("values", || Response::new(&decision, 1_700_000_000_000));
        for flavour in [Flavour::Legacy, Flavour::Ietf, Flavour::Both] {
            let length = none("headers", || response.headers(flavour, &mut out));
            assert!(length > 30);
            let header = none("a header", || response.header(flavour, 0, &mut out));
            assert!(header.is_some());
        }
        let length = none("body", || response.body(&mut out));
        assert_eq!(length > 0, refused);
    }
}

#[test]
fn a_limiter_in_the_callers_memory_allocates_nothing_from_its_birth() {
    let options = Options::new().keys(1).clock(ClockKind::Caller);
    let words = none("words_needed", || Limiter::words_needed(&options)).unwrap();
    let mut memory = vec![0_u64; words];
    let limiter = none("in_memory", || Limiter::in_memory(&mut memory, &options)).unwrap();
    let check = || limiter.check_at(b"key", SIXTY, 1, NOW).unwrap();
    assert!(none("a check", check).is_allowed());
    none("drop", || drop(limiter));
}
