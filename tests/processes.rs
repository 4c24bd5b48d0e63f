//! Several processes on one region: exact totals, strict traces, and kills at
//! random instants.
//!
//! The processes are this test binary, run again: `worker` does nothing in a
//! usual run, and what `MAVERA_WORKER` says in one that a test has started.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "tests map memory and read the clock")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "numbers of a test's own"
)]

#[path = "oracle/trace.rs"]
mod trace;

use mavera_rl::{ClockKind, Limiter, Options, Policy};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROLE: &str = "MAVERA_WORKER";
const DIRECTORY: &str = "MAVERA_WORKER_DIRECTORY";
const NUMBER: &str = "MAVERA_WORKER_NUMBER";

/// Whom the kills are to leave unharmed: one busy key, and many that come and
/// go.
const BUSY: u32 = 8_000_000;
const QUIET: u32 = 3;
const QUIET_KEYS: usize = 3_000;

fn spawn(role: &str, directory: &Path, number: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .env(NUMBER, number.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn finish(children: Vec<Child>) {
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    match role.as_str() {
        "total" => spend_all(&directory, number),
        "endless" => spend_for_ever(&directory, number),
        trace => spend_and_record(&directory, number, Trace::named(trace)),
    }
}

fn open(directory: &Path, options: &Options) -> Limiter<'static> {
    Limiter::open(directory.join("region"), options).unwrap()
}

/// A directory in memory, as regions should be.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

// Exact totals.

const TOTAL: u32 = 7_777;
const KEYS: [&[u8]; 3] = [b"one", b"two", b"three"];

fn spend_all(directory: &Path, number: usize) {
    let limiter = open(directory, &Options::new().keys(100));
    let mut admitted = [0_u32; KEYS.len()];
    for _ in 0..TOTAL {
        for (key, admitted) in KEYS.iter().zip(&mut admitted) {
            let decision = limiter.check(key, Policy::per_minute(TOTAL), 1).unwrap();
            *admitted += u32::from(decision.is_allowed());
        }
    }
    let text = format!("{} {} {}", admitted[0], admitted[1], admitted[2]);
    std::fs::write(directory.join(format!("total-{number}")), text).unwrap();
}

#[test]
fn four_processes_admit_exactly_the_limit_of_each_key() {
    let directory = directory();
    finish(
        (0..4)
            .map(|n| spawn("total", directory.path(), n))
            .collect(),
    );
    let mut totals = [0_u32; KEYS.len()];
    for number in 0..4 {
        let text = std::fs::read_to_string(directory.path().join(format!("total-{number}")));
        for (total, admitted) in totals.iter_mut().zip(text.unwrap().split(' ')) {
            *total += admitted.parse::<u32>().unwrap();
        }
    }
    assert_eq!(totals, [TOTAL; KEYS.len()]);
}

// Strict traces.

/// What processes do together while everything is recorded.
#[derive(Clone, Copy)]
struct Trace {
    name: &'static str,
    clock: ClockKind,
    limit: u32,
    window_ms: u32,
    /// Least part of what the windows allow that must have been admitted:
    /// recorded times are rounded up, by more with a coarse clock, and a busy
    /// machine may stop everybody for a while.
    live: f64,
}

const TRACES: [Trace; 4] = [
    Trace {
        name: "precise, exact",
        clock: ClockKind::Precise,
        limit: 40,
        window_ms: 40,
        live: 0.6,
    },
    Trace {
        name: "precise, in quanta",
        clock: ClockKind::Precise,
        limit: 700,
        window_ms: 50,
        live: 0.6,
    },
    Trace {
        name: "coarse, exact",
        clock: ClockKind::Coarse,
        limit: 40,
        window_ms: 100,
        live: 0.4,
    },
    Trace {
        name: "coarse, in quanta",
        clock: ClockKind::Coarse,
        limit: 700,
        window_ms: 100,
        live: 0.4,
    },
];

const RECORDED: Duration = Duration::from_millis(900);
const RECORDERS: usize = 3;

impl Trace {
    fn named(name: &str) -> Self {
        *TRACES.iter().find(|trace| trace.name == name).unwrap()
    }
}

fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec into ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    assert_eq!(failed, 0);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn spend_and_record(directory: &Path, number: usize, trace: Trace) {
    let options = Options::new().keys(100).clock(trace.clock);
    let limiter = open(directory, &options);
    let policy = Policy::new(trace.limit, trace.window_ms).unwrap();
    let mut recorded = Vec::new();
    let end = Instant::now() + RECORDED;
    while Instant::now() < end {
        let before = now_ns();
        if limiter.check(b"key", policy, 1).unwrap().is_allowed() {
            recorded.extend_from_slice(&before.to_ne_bytes());
            recorded.extend_from_slice(&now_ns().to_ne_bytes());
        }
    }
    std::fs::write(directory.join(format!("trace-{number}")), recorded).unwrap();
}

#[test]
fn no_window_of_a_recorded_trace_exceeds_the_limit() {
    for trace in TRACES {
        let directory = directory();
        let recorders = 0..RECORDERS;
        finish(
            recorders
                .clone()
                .map(|n| spawn(trace.name, directory.path(), n))
                .collect(),
        );
        let mut admitted = Vec::new();
        for number in recorders {
            let path = directory.path().join(format!("trace-{number}"));
            for pair in std::fs::read(path).unwrap().chunks_exact(16) {
                let word =
                    |from: usize| u64::from_ne_bytes(pair[from..from + 8].try_into().unwrap());
                admitted.push((word(0), word(8), 1_u32));
            }
        }
        let window_ns = u64::from(trace.window_ms) * 1_000_000;
        if let Some(found) = trace::violation(&admitted, trace.limit, window_ns) {
            panic!("{}: {found}", trace.name);
        }
        // Live: the windows that fit were used.
        let first = admitted.iter().map(|a| a.0).min().unwrap();
        let last = admitted.iter().map(|a| a.1).max().unwrap();
        let windows = ((last - first) / window_ns) as f64;
        let expected = windows * f64::from(trace.limit) * trace.live;
        assert!(
            admitted.len() as f64 >= expected,
            "{}: {} admitted, expected {expected}",
            trace.name,
            admitted.len()
        );
    }
}

// kill -9.

/// Counters in shared memory, one for each key: what was told to be admitted.
fn counters(directory: &Path) -> &'static [AtomicU64] {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join("counters"))
        .unwrap();
    let bytes = (QUIET_KEYS + 1) * 8;
    file.set_len(bytes as u64).unwrap();
    // SAFETY: a new mapping of a file long enough, kept for ever; any bytes
    // are valid atomics.
    unsafe {
        let base = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            std::os::fd::AsRawFd::as_raw_fd(&file),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        std::slice::from_raw_parts(base.cast(), QUIET_KEYS + 1)
    }
}

fn kill_options() -> Options {
    Options::new().keys(4_000).cells(16)
}

/// The key behind a counter, and its limit.
fn key(index: usize) -> (Vec<u8>, Policy) {
    let limit = if index == 0 { BUSY } else { QUIET };
    (
        format!("key-{index}").into_bytes(),
        Policy::per_minute(limit),
    )
}

/// Not random, but unlike in all processes.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn spend_for_ever(directory: &Path, number: usize) {
    let limiter = open(directory, &kill_options());
    let counters = counters(directory);
    let mut state = number as u64 + 1;
    loop {
        let index = match next(&mut state) {
            dice if dice % 4 > 0 => 0,
            dice => 1 + (dice / 4) as usize % QUIET_KEYS,
        };
        let (key, policy) = key(index);
        if limiter.check(&key, policy, 1).unwrap().is_allowed() {
            counters[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn kills_at_random_instants_lose_nothing_and_block_nobody() {
    const WORKERS: usize = 4;
    const KILLS: usize = 150;

    let directory = directory();
    let limiter = open(directory.path(), &kill_options());
    let counters = counters(directory.path());
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|n| spawn("endless", directory.path(), n))
        .collect();
    let mut state = 88_172_645_463_325_252;
    for kill in 0..KILLS {
        // Until the workers have done some more, or have nothing left to do.
        let patience = Duration::from_micros(2_000 + next(&mut state) % 18_000);
        let end = Instant::now() + patience;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let victim = &mut workers[next(&mut state) as usize % WORKERS];
        victim.kill().unwrap();
        victim.wait().unwrap();
        *victim = spawn("endless", directory.path(), WORKERS + kill);
    }
    for worker in &mut workers {
        worker.kill().unwrap();
        worker.wait().unwrap();
    }

    let mut lost = 0;
    let mut spent = 0;
    for (index, counter) in counters.iter().enumerate() {
        let (key, policy) = key(index);
        let told = counter.load(Ordering::Relaxed);
        let used = limiter.peek(&key, policy, 1).unwrap().used;
        assert!(
            told <= u64::from(policy.limit()),
            "key {index}: {told} admitted"
        );
        assert!(
            told <= u64::from(used),
            "key {index}: {told} admitted, {used} known"
        );
        lost += u64::from(used) - told;
        spent += told;
        // Whoever comes now gets exactly what is left.
        for left in (0..policy.limit() - used).rev() {
            let decision = limiter.check(&key, policy, 1).unwrap();
            assert!(decision.is_allowed() && decision.remaining() == left);
        }
        assert!(!limiter.check(&key, policy, 1).unwrap().is_allowed());
    }
    // A worker that was killed after its check and before its count.
    assert!(
        lost <= (KILLS + WORKERS) as u64,
        "{lost} charged and not told"
    );
    assert!(spent > 10_000, "{spent} spent: the workers hardly ran");
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{KILLS} kills, {spent} admitted, {lost} charged and not told"
    )
    .unwrap();
}
