//! A refusal and a peek write nothing: they succeed on a region that may not
//! be written.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "the tests change a mapping's protection")]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::{Decision, Error, Limiter, Options, Outcome, Policy, Request};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const CONTROL: &str = "MAVERA_CONTROL";
const POLICY: Policy = Policy::per_minute(60);

/// Makes this process's mappings of a file read-only; how many there are.
fn protect(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    // By its number: the mapping is older than the file's name.
    let inode = path.metadata().unwrap().ino().to_string();
    let mut protected = 0_usize;
    for line in maps.lines() {
        if line.split_whitespace().nth(4) != Some(&inode) {
            continue;
        }
        let (from, rest) = line.split_once('-').unwrap();
        let (to, _) = rest.split_once(' ').unwrap();
        let from = usize::from_str_radix(from, 16).unwrap();
        let to = usize::from_str_radix(to, 16).unwrap();
        let base = std::ptr::with_exposed_provenance_mut(from);
        // SAFETY: the range is the region's mapping; who writes to it dies.
        let failed = unsafe { libc::mprotect(base, to.saturating_sub(from), libc::PROT_READ) };
        assert_eq!(failed, 0);
        protected = protected.saturating_add(1);
    }
    protected
}

fn spent(directory: &Path) -> Limiter<'static> {
    let path = directory.join("region");
    let limiter = Limiter::open(&path, &Options::new().keys(100)).unwrap();
    for _ in 0..60 {
        assert!(limiter.check(b"spent", POLICY, 1).unwrap().is_allowed());
    }
    limiter.check(b"other", POLICY, 7).unwrap();
    assert_eq!(protect(&path), 1);
    limiter
}

#[test]
fn refusals_and_peeks_succeed_on_a_region_mapped_read_only() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let limiter = spent(directory.path());
    let refused = |decision: Result<Decision, Error>| {
        let decision = decision.unwrap();
        assert_eq!(decision.outcome, Outcome::Limited);
        assert_eq!(decision.used, 60);
    };
    for _ in 0..1000 {
        refused(limiter.check(b"spent", POLICY, 1));
        refused(limiter.check(b"spent", POLICY, 60));
        refused(limiter.peek(b"spent", POLICY, 1));
    }
    assert_eq!(limiter.peek(b"other", POLICY, 1).unwrap().used, 7);
    assert_eq!(limiter.peek(b"nobody", POLICY, 1).unwrap().used, 0);
    assert_eq!(limiter.check(b"other", POLICY, 0).unwrap().used, 7);
    let requests = [Request {
        key: b"spent",
        policy: POLICY,
        cost: 1,
    }; 40];
    let mut answers = [Err(Error::Tier); 40];
    assert_eq!(limiter.check_many(&requests, &mut answers), 40);
    answers.into_iter().for_each(refused);
    assert_eq!(limiter.stats().keys_held, 2);
}

/// Not a test of its own: the process in which a check that admits must die.
#[test]
fn control() {
    let Some(directory) = std::env::var_os(CONTROL) else {
        return;
    };
    let limiter = spent(Path::new(&directory));
    let _ = limiter.check(b"other", POLICY, 1);
}

#[test]
fn an_admission_on_the_same_mapping_is_a_fault() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "control", "--test-threads=1"])
        .env(CONTROL, directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{output:?}");
}
