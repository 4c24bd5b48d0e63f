//! Permits across processes: forks, kills, stops, full slots, and an outside
//! observer that counts who is alive.
//!
//! The observer is a file of locks: who holds a permit must find one of `max`
//! bytes unlocked, and lock it. It is a lock of the process, which the kernel
//! drops while it closes a dead one's descriptors; the region's is one of an
//! open file, which it drops after that. So whoever is given a dead one's permit
//! finds its byte free, however long the dying takes. (Of two locks of open
//! files the higher descriptor's goes first, with time enough between for others
//! to see it: measured on Linux 6.18.)

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "fork, locks and seccomp are C functions")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]

use mavera_rl::{Acquired, Error, Held, Limiter, Options, Permit, Policy, Released};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROLE: &str = "MAVERA_WORKER";
const DIRECTORY: &str = "MAVERA_WORKER_DIRECTORY";
/// How long each torture lasts, in seconds; a minute in the long form.
const SECONDS: &str = "MAVERA_TORTURE_SECONDS";

const CLASS: u32 = 1;
const KEYS: [&[u8]; 3] = [b"one", b"two", b"three"];
const MAX: u32 = 3;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(directory: &Path) -> Limiter<'static> {
    Limiter::open(directory.join("region"), &Options::new().keys(100)).unwrap()
}

fn acquire<'l>(limiter: &'l Limiter<'_>, key: &[u8], max: u32) -> Option<Held<'l>> {
    match limiter.acquire(key, CLASS, max, 0).unwrap() {
        Acquired::Held(held) => Some(held),
        Acquired::Busy { .. } => None,
        Acquired::Full => panic!("the table is full"),
    }
}

/// As [`acquire`], of an owner that has just died: it may have been found alive
/// a few milliseconds ago.
fn acquire_soon<'l>(limiter: &'l Limiter<'_>, key: &[u8], max: u32) -> Held<'l> {
    let start = Instant::now();
    loop {
        if let Some(held) = acquire(limiter, key, max) {
            return held;
        }
        assert!(start.elapsed() < Duration::from_millis(500), "it leaks");
        std::thread::yield_now();
    }
}

fn keep(held: Option<Held<'_>>) -> Permit {
    held.unwrap().into_permit()
}

/// A child by `fork`, which ends with what `body` returns.
fn fork(body: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child runs only `body`, and leaves without the harness's
    // destructors.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            // Whatever becomes of the test, no child stays behind.
            libc::alarm(120);
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            libc::_exit(code.unwrap_or(101));
        }
        pid
    }
}

/// How it ended: its code, or 128 and the signal.
fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a child of ours.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

fn signal(pid: libc::pid_t, signal: i32) {
    // SAFETY: a child of ours.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

fn pause_for_ever() -> ! {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// One byte each way, to say that something was done.
struct Pipe([i32; 2]);

impl Pipe {
    fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        Self(ends)
    }

    fn tell(&self) {
        let from = b"!".as_ptr().cast();
        // SAFETY: writes a byte of ours.
        assert_eq!(unsafe { libc::write(self.0[1], from, 1) }, 1);
    }

    fn hear(&self) {
        let mut byte = 0_u8;
        let to = std::ptr::from_mut(&mut byte).cast();
        // SAFETY: reads into a byte of ours.
        assert_eq!(unsafe { libc::read(self.0[0], to, 1) }, 1);
    }
}

// Fork, as servers do it.

#[test]
fn a_limiter_opened_before_fork_is_used_after_it_and_a_dead_child_leaks_nothing() {
    let directory = directory();
    let limiter = open(directory.path());
    let pipe = Pipe::new();
    let child = fork(|| {
        let _held = (
            acquire(&limiter, b"key", 2).unwrap(),
            acquire(&limiter, b"key", 2).unwrap(),
        );
        pipe.tell();
        pause_for_ever()
    });
    pipe.hear();
    assert!(acquire(&limiter, b"key", 2).is_none());
    signal(child, libc::SIGKILL);
    assert_eq!(wait(child), 128 + libc::SIGKILL);
    let _again = acquire_soon(&limiter, b"key", 2);
    assert!(acquire(&limiter, b"key", 2).is_some());
}

#[test]
fn a_dead_parents_permits_are_free_though_its_child_lives() {
    let directory = directory();
    let pipe = Pipe::new();
    let grandchild = Pipe::new();
    let parent = fork(|| {
        let limiter = open(directory.path());
        let _permit = keep(acquire(&limiter, b"key", 1));
        // It never touches the limiter.
        fork(|| {
            grandchild.tell();
            pause_for_ever()
        });
        grandchild.hear();
        pipe.tell();
        pause_for_ever()
    });
    pipe.hear();
    let limiter = open(directory.path());
    assert!(acquire(&limiter, b"key", 1).is_none());
    signal(parent, libc::SIGKILL);
    wait(parent);
    drop(acquire_soon(&limiter, b"key", 1));
}

#[test]
fn a_parents_permits_stay_its_own() {
    let directory = directory();
    let limiter = open(directory.path());
    let permit = keep(acquire(&limiter, b"key", 1));
    let child = fork(|| {
        assert_eq!(limiter.release(permit), Released::NotHeld);
        assert_eq!(limiter.in_flight(b"key", CLASS), 1);
        assert!(acquire(&limiter, b"key", 1).is_none());
        let _kept = keep(acquire(&limiter, b"other", 1));
        0
    });
    assert_eq!(wait(child), 0);
    assert!(acquire(&limiter, b"key", 1).is_none());
    assert_eq!(limiter.release(permit), Released::Freed);
    // What the child did not give back is free.
    drop(acquire_soon(&limiter, b"other", 1));
}

#[test]
fn four_workers_of_one_master_hold_what_is_theirs() {
    let directory = directory();
    let limiter = open(directory.path());
    let pipe = Pipe::new();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pid = fork(|| {
                let _permit = keep(acquire(&limiter, b"key", 4));
                pipe.tell();
                pause_for_ever()
            });
            pipe.hear();
            pid
        })
        .collect();
    for (alive, &worker) in (0..4_u32).rev().zip(&workers) {
        assert!(acquire(&limiter, b"key", alive + 1).is_none());
        signal(worker, libc::SIGKILL);
        wait(worker);
        // Only the dead one's.
        drop(acquire_soon(&limiter, b"key", alive + 1));
        if alive > 0 {
            assert!(acquire(&limiter, b"key", alive).is_none());
        }
    }
}

#[test]
fn a_program_started_by_a_holder_keeps_nothing_alive() {
    let directory = directory();
    let pipe = Pipe::new();
    let path = directory.path().join("started");
    let holder = fork(|| {
        let limiter = open(directory.path());
        let _permit = keep(acquire(&limiter, b"key", 1));
        let mut started = Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(&path, started.id().to_string()).unwrap();
        pipe.tell();
        started.wait().unwrap();
        0
    });
    pipe.hear();
    let limiter = open(directory.path());
    assert!(acquire(&limiter, b"key", 1).is_none());
    signal(holder, libc::SIGKILL);
    wait(holder);
    drop(acquire_soon(&limiter, b"key", 1));
    let started = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    signal(started, libc::SIGKILL);
}

#[test]
fn a_private_limiter_is_a_copy_after_fork_in_which_nothing_is_in_flight() {
    let limiter = Limiter::private(&Options::new().keys(10)).unwrap();
    let permit = keep(acquire(&limiter, b"key", 1));
    let child = fork(|| {
        assert_eq!(limiter.release(permit), Released::NotHeld);
        let held = acquire(&limiter, b"key", 1);
        assert!(held.is_some() && acquire(&limiter, b"key", 1).is_none());
        0
    });
    assert_eq!(wait(child), 0);
    assert_eq!(limiter.release(permit), Released::Freed);
}

#[test]
fn a_stopped_owner_is_alive() {
    let directory = directory();
    let limiter = open(directory.path());
    let pipe = Pipe::new();
    let go_on = Pipe::new();
    let owner = fork(|| {
        let permit = keep(acquire(&limiter, b"key", 1));
        pipe.tell();
        go_on.hear();
        i32::from(limiter.release(permit) != Released::Freed)
    });
    pipe.hear();
    signal(owner, libc::SIGSTOP);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        assert!(acquire(&limiter, b"key", 1).is_none());
    }
    signal(owner, libc::SIGCONT);
    go_on.tell();
    assert_eq!(wait(owner), 0);
    assert!(acquire(&limiter, b"key", 1).is_some());
}

// Slots.

#[test]
fn when_all_slots_are_taken_the_next_is_told_so_and_a_dead_ones_is_used_again() {
    const SLOTS: u64 = 1023;
    let directory = directory();
    let limit = libc::rlimit {
        rlim_cur: 4096,
        rlim_max: 4096,
    };
    let child = fork(|| {
        // SAFETY: reads ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let mut all: Vec<_> = (0..=SLOTS).map(|_| open(directory.path())).collect();
        let last = all.pop().unwrap();
        let first = all.first().unwrap();
        let _kept = keep(acquire(first, b"key", 1));
        for limiter in all.iter().skip(1) {
            assert!(acquire(limiter, b"key", 1).is_none(), "its owner lives");
            assert!(acquire(limiter, b"other", 1).is_some());
        }
        let error = last.acquire(b"other", CLASS, 1, 0).unwrap_err();
        assert_eq!(error, Error::Slots);
        assert!(error.to_string().contains("1023 process slots"));
        drop(all.swap_remove(500));
        assert!(acquire(&last, b"other", 1).is_some());
        // And the first one's permit is free with it.
        drop(all.swap_remove(0));
        assert!(acquire(&last, b"key", 1).is_some());
        0
    });
    assert_eq!(wait(child), 0);
}

#[test]
fn without_a_descriptor_for_its_lock_a_process_is_told_so_and_has_its_quota() {
    let directory = directory();
    let parent = fork(|| {
        let limiter = open(directory.path());
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        let limit = libc::rlimit {
            rlim_cur: u64::try_from(next).unwrap(),
            rlim_max: 4096,
        };
        // SAFETY: reads ours.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        // Its child cannot open the file anew.
        wait(fork(|| {
            let error = limiter.acquire(b"key", CLASS, 1, 0).unwrap_err();
            let code = libc::EMFILE;
            assert_eq!(error, Error::Register { code });
            assert!(error.to_string().contains("system error 24"), "{error}");
            let policy = Policy::per_minute(60);
            i32::from(!limiter.check(b"key", policy, 1).unwrap().is_allowed())
        }))
    });
    assert_eq!(wait(parent), 0);
}

/// As daemons do that close what they do not know.
#[test]
fn who_closes_the_locks_descriptor_is_told_so_once_it_is_taken_for_dead() {
    let directory = directory();
    let (taken, go_on) = (Pipe::new(), Pipe::new());
    let careless = fork(|| {
        let limiter = open(directory.path());
        let permit = keep(acquire(&limiter, b"key", 1));
        let kept = [taken.0, go_on.0].concat();
        for descriptor in (3..64).filter(|descriptor| !kept.contains(descriptor)) {
            // SAFETY: no Rust object of this child's is used for it again.
            unsafe { libc::close(descriptor) };
        }
        taken.tell();
        go_on.hear();
        let error = limiter.acquire(b"key", CLASS, 1, 0).unwrap_err();
        let code = libc::EBADF;
        assert_eq!(error, Error::Register { code });
        i32::from(limiter.release(permit) != Released::NotHeld)
    });
    taken.hear();
    let limiter = open(directory.path());
    let held = acquire_soon(&limiter, b"key", 1);
    go_on.tell();
    assert_eq!(wait(careless), 0);
    assert_eq!(held.release(), Released::Freed);
}

#[test]
fn slots_of_dead_processes_are_used_again_without_end() {
    let directory = directory();
    let limiter = open(directory.path());
    for _ in 0..1100 {
        let child = fork(|| {
            let _permit = keep(acquire(&limiter, b"key", 1));
            0
        });
        assert_eq!(wait(child), 0);
    }
    assert!(acquire(&limiter, b"key", 1).is_some());
}

// No system call.

/// From here on the kernel does `that` at one of this thread's system calls,
/// and `other` at all others.
fn at_system_call(call: i64, that: u32, other: u32) {
    let step = |code: u32, jt, k: i64| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf: 0,
        k: u32::try_from(k).unwrap(),
    };
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    // Load the call's number; if it is that one, skip one.
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(is, 1, call),
        step(end, 0, other.into()),
        step(end, 0, that.into()),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: reads a program of ours.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &program), 0);
    }
}

#[test]
fn no_system_call_is_made_while_owners_live() {
    let directory = directory();
    let limiter = open(directory.path());
    let _others = (
        acquire(&limiter, b"key", 10).unwrap(),
        acquire(&limiter, b"key", 10).unwrap(),
    );
    let confined = |body: &dyn Fn(&Limiter<'_>)| {
        wait(fork(|| {
            // The first permit registers the process.
            drop(acquire(&limiter, b"key", 10).unwrap());
            // SAFETY: from here on only what follows runs, and it ends by the
            // one kind of exit that is allowed.
            unsafe {
                let (kept, kill) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
                at_system_call(libc::SYS_exit, kept, kill);
                body(&limiter);
                libc::syscall(libc::SYS_exit, 0);
            }
            1
        }))
    };
    let policy = Policy::per_minute(1_000_000);
    let ended = confined(&|limiter| {
        for number in 0_u64..100_000 {
            let held = acquire(limiter, b"key", 10);
            let other = acquire(limiter, &(number % 50).to_le_bytes(), 3);
            if held.is_none() || other.is_none() || limiter.in_flight(b"key", CLASS) != 3 {
                // SAFETY: as above.
                unsafe { libc::syscall(libc::SYS_exit, 2) };
            }
            // The clock's is none: it reads a page of the kernel's.
            let _ = limiter.check(b"key", policy, 1);
        }
    });
    assert_eq!(ended, 0);
    // The trap works.
    let ended = confined(&|_| {
        // SAFETY: asks for our number.
        unsafe { libc::getppid() };
    });
    assert_eq!(ended, 128 + libc::SIGSYS);
}

/// Calls of `fcntl` that the kernel handed to [`count_call`].
static CALLS: AtomicU64 = AtomicU64::new(0);

/// What `fcntl` then returns is no answer, so the owner is taken to be alive.
extern "C" fn count_call(_: i32) {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn an_owner_is_asked_after_once_in_a_few_milliseconds() {
    let directory = directory();
    let limiter = open(directory.path());
    let _held = acquire(&limiter, b"key", 1).unwrap();
    let child = fork(|| {
        drop(acquire(&limiter, b"other", 1).unwrap());
        let handler: extern "C" fn(i32) = count_call;
        // SAFETY: the handler only adds to a number.
        unsafe { libc::signal(libc::SIGSYS, handler as libc::sighandler_t) };
        let (trap, kept) = (libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_ALLOW);
        at_system_call(libc::SYS_fcntl, trap, kept);
        let (start, mut refused) = (Instant::now(), 0_u64);
        while start.elapsed() < Duration::from_millis(100) {
            assert!(acquire(&limiter, b"key", 1).is_none());
            refused += 1;
        }
        let most = u64::try_from(start.elapsed().as_millis()).unwrap() / 5 + 1;
        let calls = CALLS.load(Ordering::Relaxed);
        i32::from(calls == 0 || calls > most || refused < 10 * calls)
    });
    assert_eq!(wait(child), 0);
}

// Torture.

fn spawn(role: &str, directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    // With whoever started it ends what would not end by itself.
    // SAFETY: asks for a signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let path = directory.join("observer");
    let observer = File::options().read(true).write(true).open(path).unwrap();
    let limiter = open(&directory);
    let mut random = u64::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for turn in 0_usize.. {
        if role == "until told" && directory.join("stop").exists() {
            return;
        }
        let key = turn % KEYS.len();
        let Some(held) = acquire(&limiter, KEYS.get(key).unwrap(), MAX) else {
            continue;
        };
        let byte = observe(&observer, key);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(100 + (random >> 32) % 400) {
            std::hint::spin_loop();
        }
        lock(&observer, byte, libc::F_UNLCK);
        assert_eq!(
            held.release(),
            Released::Freed,
            "taken from an owner that lives"
        );
    }
}

fn lock(file: &File, byte: i64, kind: i32) -> bool {
    let lock = libc::flock {
        l_type: i16::try_from(kind).unwrap(),
        l_whence: 0,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: reads a lock of ours.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) == 0 }
}

/// Locks one of the bytes that a key's holders share; there must be one. Others
/// move while we look, but hardly ever fifty times away from us.
fn observe(observer: &File, key: usize) -> i64 {
    let first = i64::try_from(key).unwrap() * i64::from(MAX);
    for _ in 0..50 {
        for byte in first..first + i64::from(MAX) {
            if lock(observer, byte, libc::F_WRLCK) {
                return byte;
            }
        }
    }
    panic!("more than {MAX} alive hold a permit of one key");
}

fn seconds() -> Duration {
    let seconds = std::env::var(SECONDS)
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

fn all_are_free(limiter: &Limiter<'_>) {
    for key in KEYS {
        let all: Vec<_> = (0..MAX).map(|_| acquire(limiter, key, MAX)).collect();
        assert!(all.iter().all(Option::is_some), "a permit is missing");
        assert!(acquire(limiter, key, MAX).is_none());
    }
}

#[test]
fn kills_at_random_instants_leak_no_permit_and_mint_none() {
    let directory = directory();
    std::fs::write(directory.path().join("observer"), "").unwrap();
    let limiter = open(directory.path());
    let mut workers: Vec<_> = (0..8).map(|_| spawn("endless", directory.path())).collect();
    let start = Instant::now();
    let mut kills = 0_usize;
    while start.elapsed() < seconds() {
        std::thread::sleep(Duration::from_millis(50));
        let count = workers.len();
        let victim = workers.get_mut(kills * 5 % count).unwrap();
        // Whoever saw more than there may be has ended by itself.
        assert!(victim.try_wait().unwrap().is_none(), "a worker has failed");
        victim.kill().unwrap();
        victim.wait().unwrap();
        *victim = spawn("endless", directory.path());
        kills += 1;
    }
    for worker in &mut workers {
        assert!(worker.try_wait().unwrap().is_none(), "a worker has failed");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    all_are_free(&limiter);
    assert!(kills > 0);
}

#[test]
fn nothing_is_taken_from_whoever_is_stopped() {
    let directory = directory();
    std::fs::write(directory.path().join("observer"), "").unwrap();
    let limiter = open(directory.path());
    let mut workers: Vec<_> = (0..8)
        .map(|_| spawn("until told", directory.path()))
        .collect();
    let start = Instant::now();
    let mut stops = 0_usize;
    while start.elapsed() < seconds() {
        let worker = workers.get(stops * 5 % workers.len()).unwrap();
        let pid = libc::pid_t::try_from(worker.id()).unwrap();
        signal(pid, libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(50));
        signal(pid, libc::SIGCONT);
        stops += 1;
    }
    std::fs::write(directory.path().join("stop"), "").unwrap();
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success(), "a worker has failed");
    }
    all_are_free(&limiter);
    assert!(stops > 0);
}
