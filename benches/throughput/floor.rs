//! What cannot be done without: a CAS, a clock, a hash, a cache line.

#![expect(unsafe_code, reason = "a clock and a mapping, as the limiter has them")]

use crate::contestant::{Contestant, LOTS, SOME, after, key, pick};
use crate::crew::Crew;
use crossbeam_utils::CachePadded;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const CAS: &str = "bare CAS";
pub(crate) const CAS_CLOCK: &str = "bare CAS + clock";
pub(crate) const CAS_HASH_CLOCK: &str = "bare CAS + hash + clock";
pub(crate) const CAS_SHARED: &str = "bare CAS, 2 threads on one word";
pub(crate) const PAIR: &str = "bare CAS pair";
pub(crate) const PAIR_HASH: &str = "bare CAS pair + hash";
pub(crate) const PAIR_2: &str = "bare CAS pair, 2 threads on one record";
pub(crate) const LINE_100K: &str = "one line per key: 100 k keys at random";
pub(crate) const LINE_1M: &str = "one line per key: 1 M keys at random";
pub(crate) const LINE_100K_WAITING: &str = "one line per key: 100 k keys, one after the other";
pub(crate) const LINE_1M_WAITING: &str = "one line per key: 1 M keys, one after the other";

fn clock_ms() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec into ours.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(1, 2);
    hasher.write_u64(60_000);
    hasher.write(key);
    let hash = hasher.finish128();
    hash.h1 ^ hash.h2
}

/// What the word is then.
fn count(word: &AtomicU64, add: u64) -> u64 {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let new = seen.wrapping_add(add);
        match word.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return new,
            Err(found) => seen = found,
        }
    }
}

/// A record of permits: 16 cells in two cache lines.
#[derive(Default)]
struct Cells(CachePadded<[AtomicU64; 16]>);

impl Cells {
    /// Takes the first free one of ten, and gives it back.
    fn pair(&self, by: u64) {
        const FREE: u64 = 0;
        let cas = |cell: &AtomicU64, from, to| {
            let done = cell.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            done.is_ok()
        };
        let taken = self.0.iter().take(10).find(|cell| {
            let seen = cell.load(Ordering::Acquire);
            seen == FREE && cas(cell, seen, by)
        });
        assert!(taken.is_some_and(|cell| cas(cell, by, FREE)));
    }
}

fn pairs(crew: &Rc<Crew>) -> [Contestant; 3] {
    let [plain, hashed, shared] = [(); 3].map(|()| Cells::default());
    [
        Contestant::new(PAIR, move |_| black_box(&plain).pair(black_box(1))),
        Contestant::new(PAIR_HASH, move |_| {
            black_box(&hashed).pair(hash(black_box(&key(7))) | 1);
        }),
        Contestant::on_threads(PAIR_2, crew, 2, move |thread| shared.pair(thread + 1)),
    ]
}

/// A counter for each key, a cache line apart.
struct Lines(&'static [[AtomicU64; 8]]);

impl Lines {
    /// Memory as the limiter has it: zero pages, huge ones if there are any.
    fn new(keys: usize) -> Self {
        let bytes = keys * 64;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, kept for ever; zero bytes are atomics.
        let lines = unsafe {
            let base = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            libc::madvise(base, bytes, libc::MADV_HUGEPAGE);
            std::slice::from_raw_parts(base.cast::<[AtomicU64; 8]>(), keys)
        };
        // Every page is there before the first round.
        lines
            .iter()
            .for_each(|line| line[0].store(1, Ordering::Relaxed));
        Self(lines)
    }

    fn count(&self, key: &[u8]) -> u64 {
        // As the limiter picks its set: a product, not a division.
        let index = ((hash(key) >> 32) * self.0.len() as u64) >> 32;
        count(&self.0[index as usize][0], clock_ms() & 1)
    }
}

/// Independent, and each waiting for the one before.
fn lines(keys: u64, name: &'static str, waiting: &'static str) -> [Contestant; 2] {
    let lines = Lines::new(keys as usize);
    let same_lines = Lines(lines.0);
    let mut last = 0;
    [
        Contestant::new(name, move |number| {
            black_box(lines.count(&key(pick(number, keys))));
        }),
        Contestant::new(waiting, move |number| {
            last = same_lines.count(&key(pick(after(last, number), keys)));
        }),
    ]
}

pub(crate) fn contestants(crew: &Rc<Crew>) -> Vec<Contestant> {
    let word = || AtomicU64::new(0);
    let (plain, clocked, hashed, shared) = (word(), word(), word(), word());
    let mut all = vec![
        Contestant::new(CAS, move |_| {
            black_box(count(black_box(&plain), 1));
        }),
        Contestant::new(CAS_CLOCK, move |_| {
            black_box(count(black_box(&clocked), clock_ms()));
        }),
        Contestant::new(CAS_HASH_CLOCK, move |_| {
            black_box(count(&hashed, clock_ms() ^ hash(black_box(&key(7)))));
        }),
        Contestant::on_threads(CAS_SHARED, crew, 2, move |_| {
            black_box(count(&shared, 1));
        }),
    ];
    all.extend(pairs(crew));
    all.extend(lines(SOME, LINE_100K, LINE_100K_WAITING));
    all.extend(lines(LOTS, LINE_1M, LINE_1M_WAITING));
    all
}
