//! Regions that were overwritten, at rest or while in use. What they answer
//! may be wrong; they neither crash, nor hang, nor reach outside.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "a test scribbles over a region in use")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]

use mavera_rl::{ClockKind, Decision, Error, Limiter, OnFull, OpenError, Options, Policy, Request};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HEADER: usize = 4096;
const WORD: usize = 8;
/// The settings' place in the header, after magic, byte order, version, seal.
const SEAL: usize = 3;
const SETTINGS: std::ops::Range<usize> = 4..19;
const BOOT: std::ops::Range<usize> = 13..15;
const MAGIC: u64 = u64::from_le_bytes(*b"MAVERARL");
/// More than any of this takes, many times over.
const PATIENCE: Duration = Duration::from_secs(120);

const POLICIES: [(u32, u32); 4] = [(60, 60_000), (600, 60_000), (3, 1), (1 << 23, 60_000)];

/// Not random, but unlike for all seeds.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A word that somebody might leave: random, or at an end of some field.
    fn word(&mut self) -> u64 {
        let random = self.next();
        match self.next() % 8 {
            0 => 0,
            1 => u64::MAX,
            2 => random & 0xFFFF,
            3 => 1 << (random % 64),
            4 => u64::MAX << (random % 64),
            5 => u64::MAX >> (random % 64),
            _ => random,
        }
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn region(directory: &Path, options: &Options) -> PathBuf {
    let path = directory.join("region");
    let limiter = Limiter::open(&path, options).unwrap();
    for key in 0_u8..100 {
        let policy = Policy::per_minute(60);
        let answer = match limiter.stats().clock {
            ClockKind::Caller => limiter.check_at(&[key], policy, 1, 1 << 20),
            _ => limiter.check(&[key], policy, 1),
        };
        answer.unwrap();
    }
    path
}

fn writable(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Some of everything a limiter can be asked, by the region's clock.
fn ask(limiter: &Limiter<'_>, dice: &mut Dice, times: u32) {
    let caller = limiter.stats().clock == ClockKind::Caller;
    let longest = limiter.stats().max_window_ms;
    for _ in 0..times {
        let (limit, window) = *POLICIES
            .get(usize::try_from(dice.next() % 4).unwrap())
            .unwrap();
        let policy = Policy::new(limit, window.min(longest)).unwrap();
        let key = (dice.next() % 300).to_ne_bytes();
        let now = dice.word();
        let cost = u32::try_from(dice.next() % 4).unwrap();
        let fits = |answer: Result<Decision, Error>| match answer {
            Ok(decision) => assert!(decision.remaining() <= limit),
            Err(error) => panic!("{error}"),
        };
        match (dice.next() % 5, caller) {
            (0, false) => fits(limiter.peek(&key, policy, cost)),
            (0, true) => fits(limiter.peek_at(&key, policy, cost, now)),
            (1, _) => {
                let request = Request {
                    key: &key,
                    policy,
                    cost,
                };
                let (requests, mut answers) = ([request; 20], [Err(Error::Tier); 20]);
                if caller {
                    limiter.check_many_at(&requests, now, &mut answers);
                } else {
                    limiter.check_many(&requests, &mut answers);
                }
                answers.into_iter().for_each(fits);
            }
            (2, _) => {
                let max = 1 + dice.next() as u32 % 16;
                let acquired = limiter.acquire(&key, 1, max, 0).unwrap();
                assert!(limiter.in_flight(&key, 1) <= 16);
                drop(acquired);
            }
            (_, false) => fits(limiter.check(&key, policy, cost)),
            (_, true) => fits(limiter.check_at(&key, policy, cost, now)),
        }
    }
}

/// Runs `body` in a thread, and fails when it does not end.
fn in_time(what: &'static str, body: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    match ended.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: hangs"),
        _ => thread.join().unwrap(),
    }
}

// The header.

fn word_at(bytes: &[u8], index: usize) -> u64 {
    let at = index * WORD;
    u64::from_ne_bytes(bytes.get(at..at + WORD).unwrap().try_into().unwrap())
}

fn put(bytes: &mut [u8], index: usize, value: u64) {
    let at = index * WORD;
    bytes
        .get_mut(at..at + WORD)
        .unwrap()
        .copy_from_slice(&value.to_ne_bytes());
}

/// The checksum as the library makes it: what has it is no accident.
fn seal(bytes: &mut [u8]) {
    let sum = SETTINGS.fold(MAGIC, |sum, index| {
        (sum.rotate_left(23) ^ word_at(bytes, index)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    });
    put(bytes, SEAL, sum);
}

#[test]
fn any_word_of_the_header_may_be_anything() {
    in_time("header", || {
        let directory = directory();
        let path = region(directory.path(), &Options::new().keys(1).cells(8));
        let intact = fs::read(&path).unwrap();
        let file = writable(&path);
        let mut dice = Dice::new(1);
        let (mut errors, mut opened) = (0, 0);
        for index in 0..HEADER / WORD {
            let original = word_at(&intact, index);
            let mut values = vec![0, 1, u64::MAX, original ^ 1, original.wrapping_add(1)];
            values.extend((0..4).map(|_| dice.word()));
            for value in values {
                let at = (index * WORD) as u64;
                file.write_all_at(&value.to_ne_bytes(), at).unwrap();
                match Limiter::open(&path, &Options::new()) {
                    Ok(limiter) => {
                        assert!(!SETTINGS.contains(&index) || value == original);
                        ask(&limiter, &mut dice, 20);
                        opened += 1;
                    }
                    Err(error) => {
                        assert!(
                            index < SETTINGS.end && value != original,
                            "{index}: {error}"
                        );
                        errors += 1;
                    }
                }
                file.write_all_at(&intact, 0).unwrap();
            }
        }
        assert!(errors > 100 && opened > 4_000, "{errors} {opened}");
    });
}

/// Whether a setting, alone, can have another value.
fn may_be(index: usize, value: u64) -> bool {
    let narrow = u32::try_from(value).is_ok();
    match index - SETTINGS.start {
        // The longest window, the clock, who is heard when full, the slack.
        3 => narrow && value > 0,
        4 => (1..=3).contains(&value),
        5 => (1..=2).contains(&value),
        6 => narrow,
        // The secret; the boot, whose region is replaced.
        7..=10 => true,
        // Keys, of which one set is enough for 200.
        12 => (1..=200).contains(&value),
        // Keys in flight, of which one set is enough for 32.
        13 => (1..=32).contains(&value),
        // Sizes, and the time namespace.
        _ => false,
    }
}

/// The checksum finds accidents; the values are examined besides.
#[test]
fn settings_that_cannot_be_are_refused_even_under_a_right_checksum() {
    in_time("settings", || {
        let directory = directory();
        let path = region(directory.path(), &Options::new().keys(1).cells(8));
        let intact = fs::read(&path).unwrap();
        let mut dice = Dice::new(2);
        let mut refused = 0;
        for index in SETTINGS {
            let original = word_at(&intact, index);
            let mut values = vec![0, 1, 2, 3, 9, 16, 1 << 32, u64::MAX, original << 32];
            values.extend((0..50).map(|_| dice.word()));
            if BOOT.contains(&index) {
                // A new region each, at its default size.
                values.truncate(4);
            }
            for value in values {
                let mut bytes = intact.clone();
                put(&mut bytes, index, value);
                seal(&mut bytes);
                fs::write(&path, bytes).unwrap();
                match Limiter::open(&path, &Options::new()) {
                    Ok(limiter) => {
                        assert!(
                            value == original || may_be(index, value),
                            "{index}: {value}"
                        );
                        ask(&limiter, &mut dice, 20);
                    }
                    Err(OpenError::Format { why, .. }) => {
                        assert!(why.contains("a damaged region"), "{why}");
                        refused += 1;
                    }
                    Err(OpenError::Mismatch { option, .. }) => {
                        assert_eq!(option, "time namespace");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                fs::remove_file(&path).unwrap();
            }
        }
        assert!(refused > 300, "{refused}");
    });
}

// The body.

fn options(seed: u64) -> Options {
    let clocks = [ClockKind::Precise, ClockKind::Coarse, ClockKind::Caller];
    let policies = [OnFull::Deny, OnFull::Allow];
    let pick = |of: usize| usize::try_from(seed).unwrap() % of;
    Options::new()
        .keys(250)
        .cells(*[8, 64, 16].get(pick(3)).unwrap())
        .clock(*clocks.get(pick(3)).unwrap())
        .on_full(*policies.get(pick(2)).unwrap())
}

#[test]
fn any_body_is_answered_by_several_threads() {
    in_time("body", || {
        for seed in 0..60 {
            let directory = directory();
            let path = region(directory.path(), &options(seed));
            let file = writable(&path);
            let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
            let mut dice = Dice::new(seed);
            let words = (HEADER..length).step_by(WORD);
            let body: Vec<u8> = match seed {
                0 | 1 => vec![0xFF; length - HEADER],
                2 | 3 => words.flat_map(|_| dice.next().to_ne_bytes()).collect(),
                _ => words.flat_map(|_| dice.word().to_ne_bytes()).collect(),
            };
            file.write_all_at(&body, HEADER as u64).unwrap();
            let limiter = Limiter::open(&path, &Options::new()).unwrap();
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let limiter = &limiter;
                    scope.spawn(move || ask(limiter, &mut Dice::new(seed * 3 + thread), 1_000));
                }
            });
            let _ = limiter.stats();
        }
    });
}

/// The words of a region's file, through a mapping of their own.
fn words(file: &File) -> &'static [AtomicU64] {
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    // SAFETY: a new mapping of the whole file, kept for ever; any bytes are
    // valid atomics.
    unsafe {
        let base = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        std::slice::from_raw_parts(base.cast(), length / WORD)
    }
}

#[test]
fn a_hostile_writer_stops_nobody() {
    in_time("writer", || {
        for seed in 0..6 {
            let directory = directory();
            let path = region(directory.path(), &options(seed));
            let limiter = Limiter::open(&path, &Options::new()).unwrap();
            let words = words(&writable(&path));
            let end = Instant::now() + Duration::from_millis(300);
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut dice = Dice::new(seed);
                    let mut written = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // The header too: it was read once, and is counters.
                        let at = usize::try_from(dice.next()).unwrap() % words.len();
                        words.get(at).unwrap().store(dice.word(), Ordering::Relaxed);
                        written += 1;
                    }
                    written
                });
                let checks = [1, 2].map(|thread| {
                    let limiter = &limiter;
                    scope.spawn(move || {
                        let mut dice = Dice::new(seed * 3 + thread);
                        let mut rounds = 0_u64;
                        while Instant::now() < end {
                            ask(limiter, &mut dice, 20);
                            rounds += 1;
                        }
                        rounds
                    })
                });
                let rounds = checks.map(|check| check.join());
                stop.store(true, Ordering::Relaxed);
                assert!(writer.join().unwrap() > 10_000);
                for rounds in rounds {
                    assert!(rounds.unwrap() > 10);
                }
            });
        }
    });
}
