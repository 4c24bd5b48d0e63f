//! What cannot be done without: a CAS, a clock, a hash, a cache line.

#![expect(unsafe_code, reason = "a clock and a mapping, as the limiter has them")]

use crate::contestant::{Contestant, key, pick};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const CAS: &str = "bare CAS";
pub(crate) const CAS_CLOCK: &str = "bare CAS + clock";
pub(crate) const CAS_HASH_CLOCK: &str = "bare CAS + hash + clock";
pub(crate) const CAS_SHARED: &str = "bare CAS, 2 threads on one word";
pub(crate) const LINE_1M_WAITING: &str = "one line per key, 1 M keys, one after the other";

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

fn count(word: &AtomicU64, add: u64) {
    let mut seen = word.load(Ordering::Acquire);
    while let Err(found) =
        word.compare_exchange(seen, seen + add, Ordering::AcqRel, Ordering::Acquire)
    {
        seen = found;
    }
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
        let index = hash(key) as usize % self.0.len();
        let word = &self.0[index][0];
        count(word, clock_ms() & 1);
        word.load(Ordering::Relaxed)
    }
}

pub(crate) fn contestants() -> Vec<Contestant> {
    const MANY: u64 = 1_000_000;
    let word = || AtomicU64::new(0);
    let (plain, clocked, hashed, shared) = (word(), word(), word(), word());
    let lines = Lines::new(MANY as usize);
    let mut last = 0;
    vec![
        Contestant::new(CAS, move |_| count(black_box(&plain), 1)),
        Contestant::new(CAS_CLOCK, move |_| count(black_box(&clocked), clock_ms())),
        Contestant::new(CAS_HASH_CLOCK, move |_| {
            count(&hashed, clock_ms() ^ hash(black_box(&key(7))));
        }),
        Contestant::on_two_threads(CAS_SHARED, move |_, _| count(&shared, 1)),
        Contestant::new(LINE_1M_WAITING, move |number| {
            last = lines.count(&key(pick(number.wrapping_add(last & 0x100_0000), MANY)));
        }),
    ]
}
