//! Regions from before a reboot, and many processes that open at once.
//!
//! The processes are this test binary, started again: `worker` does nothing in
//! a usual run.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]

use mavera_rl::{Limiter, OpenError, Options, Policy};
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "MAVERA_WORKER";
const DIRECTORY: &str = "MAVERA_WORKER_DIRECTORY";
const NUMBER: &str = "MAVERA_WORKER_NUMBER";

const PROCESSES: usize = 8;
const ROUNDS: usize = 6;
const LIMIT: u32 = 1_000;
const POLICY: Policy = Policy::per_minute(60);

// A region's header, in words.
const MAGIC: u64 = u64::from_le_bytes(*b"MAVERARL");
const SEAL: u64 = 3;
const SETTINGS: std::ops::Range<u64> = 4..19;
const BOOT: [u64; 2] = [4 + 9, 4 + 10];
const TIME_NAMESPACE: u64 = 4 + 11;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// Writes words into a region's settings, and the checksum as the library
/// makes it.
fn rewrite(path: &Path, words: &[(u64, u64)], sealed: bool) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let write = |index: u64, value: u64| {
        file.write_all_at(&value.to_ne_bytes(), index * 8).unwrap();
    };
    for &(index, value) in words {
        write(index, value);
    }
    if sealed {
        let seal = SETTINGS.fold(MAGIC, |sum, index| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, index * 8).unwrap();
            (sum.rotate_left(23) ^ u64::from_ne_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        write(SEAL, seal);
    }
}

const ANOTHER_BOOT: [(u64, u64); 2] = [(BOOT[0], 1), (BOOT[1], 2)];

fn inode(path: &Path) -> u64 {
    path.metadata().unwrap().ino()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_region_from_before_a_reboot_is_replaced_and_old_handles_answer_on() {
    // Either word alone is another boot.
    for words in [&ANOTHER_BOOT[..], &ANOTHER_BOOT[..1], &ANOTHER_BOOT[1..]] {
        let directory = directory();
        let path = directory.path().join("region");
        let old = Limiter::open(&path, &Options::new().keys(100).cells(8)).unwrap();
        assert!(old.check(b"key", POLICY, 50).unwrap().is_allowed());
        let before = inode(&path);
        rewrite(&path, words, true);

        // With options that the old one would not agree with.
        let new = Limiter::open(&path, &Options::new().keys(300).cells(64)).unwrap();
        assert_ne!(inode(&path), before);
        assert_eq!(names(directory.path()), ["region"]);
        assert_eq!(new.stats().cells, 64);
        assert_eq!(new.peek(b"key", POLICY, 1).unwrap().used, 0);
        assert_eq!(new.check(b"key", POLICY, 7).unwrap().used, 7);

        assert_eq!(old.check(b"key", POLICY, 10).unwrap().used, 60);
        assert!(!old.check(b"key", POLICY, 1).unwrap().is_allowed());
        assert_eq!(old.check(b"another", POLICY, 1).unwrap().used, 1);

        // The new one stays.
        let after = inode(&path);
        let again = Limiter::open(&path, &Options::new()).unwrap();
        assert_eq!(inode(&path), after);
        assert_eq!(again.peek(b"key", POLICY, 1).unwrap().used, 7);
    }
}

#[test]
fn a_boot_id_without_its_checksum_is_damage() {
    let directory = directory();
    let path = directory.path().join("region");
    Limiter::open(&path, &Options::new().keys(100)).unwrap();
    let before = inode(&path);
    rewrite(&path, &ANOTHER_BOOT, false);
    match Limiter::open(&path, &Options::new()) {
        Err(OpenError::Format { why, .. }) => assert!(why.contains("checksum"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(inode(&path), before);
    // The words as they were, under the checksum as it is: whole again.
    rewrite(&path, &[], true);
    Limiter::open(&path, &Options::new()).unwrap();
}

#[test]
fn another_time_namespace_is_a_mismatch_and_not_a_reboot() {
    let directory = directory();
    let path = directory.path().join("region");
    Limiter::open(&path, &Options::new().keys(100)).unwrap();
    let before = inode(&path);
    rewrite(&path, &[(TIME_NAMESPACE, 12_345)], true);
    match Limiter::open(&path, &Options::new()) {
        Err(OpenError::Mismatch { option, found, .. }) => {
            assert_eq!((option, found), ("time namespace", 12_345));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(inode(&path), before);
}

// Many processes at once.

fn options() -> Options {
    Options::new().keys(100)
}

#[test]
fn worker() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let number = std::env::var(NUMBER).unwrap();
    fs::write(directory.join(format!("ready-{number}")), b"").unwrap();
    // The barrier: all read one pipe, which ends for all at once.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let limiter = Limiter::open(directory.join("regions/region"), &options()).unwrap();
    let admitted = (0..LIMIT)
        .filter(|_| {
            let decision = limiter.check(b"key", Policy::per_minute(LIMIT), 1);
            decision.unwrap().is_allowed()
        })
        .count();
    fs::write(
        directory.join(format!("total-{number}")),
        admitted.to_string(),
    )
    .unwrap();
}

/// Opens `regions/region` in several processes at once, each of which tries
/// to spend the whole quota; what was admitted to all.
fn open_at_once(directory: &Path) -> u32 {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut workers: Vec<Child> = (0..PROCESSES)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
                .env(ROLE, "open")
                .env(DIRECTORY, directory)
                .env(NUMBER, number.to_string())
                .stdin(reader.try_clone().unwrap())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let ready = |number| directory.join(format!("ready-{number}")).exists();
    let end = Instant::now() + Duration::from_secs(60);
    while !(0..PROCESSES).all(ready) {
        assert!(Instant::now() < end, "a worker did not start");
        std::thread::yield_now();
    }
    drop(writer);
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    let total = |number| {
        let text = fs::read_to_string(directory.join(format!("total-{number}")));
        text.unwrap().parse::<u32>().unwrap()
    };
    (0..PROCESSES).map(total).sum()
}

#[test]
fn processes_that_create_at_once_share_one_region() {
    for _ in 0..ROUNDS {
        let directory = directory();
        let regions = directory.path().join("regions");
        fs::create_dir(&regions).unwrap();
        assert_eq!(open_at_once(directory.path()), LIMIT);
        assert_eq!(names(&regions), ["region"]);
        let limiter = Limiter::open(regions.join("region"), &options()).unwrap();
        let policy = Policy::per_minute(LIMIT);
        assert_eq!(limiter.peek(b"key", policy, 1).unwrap().used, LIMIT);
    }
}

#[test]
fn processes_that_replace_a_stale_region_at_once_share_one_new_region() {
    for _ in 0..ROUNDS {
        let directory = directory();
        let regions = directory.path().join("regions");
        fs::create_dir(&regions).unwrap();
        let path = regions.join("region");
        let old = Limiter::open(&path, &options()).unwrap();
        let policy = Policy::per_minute(LIMIT);
        assert!(old.check(b"key", policy, 400).unwrap().is_allowed());
        let before = inode(&path);
        rewrite(&path, &ANOTHER_BOOT, true);
        assert_eq!(open_at_once(directory.path()), LIMIT);
        assert_ne!(inode(&path), before);
        assert_eq!(names(&regions), ["region"]);
        let new = Limiter::open(&path, &options()).unwrap();
        assert_eq!(new.peek(b"key", policy, 1).unwrap().used, LIMIT);
        // Nobody spent there, and it answers still.
        assert_eq!(old.check(b"key", policy, 1).unwrap().used, 401);
    }
}
