//! What the system lets a region have: permissions, and memory that is there.
//!
//! What needs a process of its own runs in this test binary, started again:
//! `worker` does nothing in a usual run.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "tests change user, umask and mounts")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mavera_rl::{Limiter, OpenError, Options, Policy};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const ROLE: &str = "MAVERA_WORKER";
const DIRECTORY: &str = "MAVERA_WORKER_DIRECTORY";
const PAGE: usize = 4096;
const POLICY: Policy = Policy::per_minute(60);
/// Nobody's user and group.
const NOBODY: u32 = 65_534;
/// What a worker returns that may not do what it was asked to.
const CANNOT: i32 = 77;

const fn small() -> Options {
    Options::new().keys(1).cells(8)
}

/// A directory in memory, as regions should be, that other users may enter.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn kind(error: &OpenError) -> ErrorKind {
    match error {
        OpenError::System { source, .. } => source.kind(),
        _ => panic!("{error:?}"),
    }
}

// Holes.

fn blocks(path: &Path) -> u64 {
    path.metadata().unwrap().blocks().wrapping_mul(512)
}

/// A copy with a hole wherever a page is zero.
fn sparse_copy(bytes: &[u8], path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    let mut at = 0_u64;
    for page in bytes.chunks(PAGE) {
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(page, at).unwrap();
        }
        at = at.wrapping_add(page.len() as u64);
    }
}

#[test]
fn the_holes_of_a_copy_are_filled_when_it_is_attached() {
    let directory = directory();
    let (path, copy) = (directory.path().join("a"), directory.path().join("b"));
    let limiter = Limiter::open(&path, &Options::new().keys(2_000)).unwrap();
    limiter.check(b"key", POLICY, 7).unwrap();
    let length = path.metadata().unwrap().len();
    assert!(blocks(&path) >= length);
    sparse_copy(&fs::read(&path).unwrap(), &copy);
    assert!(blocks(&copy) < length / 10, "{} of {length}", blocks(&copy));
    let copied = Limiter::open(&copy, &Options::new()).unwrap();
    assert!(blocks(&copy) >= length);
    assert_eq!(copied.peek(b"key", POLICY, 1).unwrap().used, 7);
}

// Processes of their own.

fn run(role: &str, directory: &Path) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

/// Says, past the test harness, what could not be tested.
fn skip(what: &str) {
    let text = format!("NOT TESTED: {what}\n");
    std::io::stderr().write_all(text.as_bytes()).unwrap();
}

fn is_root() -> bool {
    // SAFETY: has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn worker() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    match role.as_str() {
        "modes" => create_under_umasks(&directory),
        "stranger" => open_as_a_stranger(&directory),
        "full" => fill_a_file_system(&directory),
        _ => panic!("{role}"),
    }
}

fn create_under_umasks(directory: &Path) {
    for umask in [0, 0o022, 0o077, 0o777] {
        // SAFETY: changes a number of this process.
        unsafe { libc::umask(umask) };
        for mode in [None, Some(0o600), Some(0o640), Some(0o666), Some(0o777)] {
            let path = directory.join(format!("{umask:o}-{mode:?}"));
            let options = mode.map_or(small(), |mode| small().mode(mode));
            Limiter::open(&path, &options).unwrap();
            let found = path.metadata().unwrap().mode() & 0o7777;
            assert_eq!(found, mode.unwrap_or(0o600), "{umask:o}");
        }
    }
}

#[test]
fn the_mode_is_0600_or_as_asked_whatever_the_umask() {
    let directory = directory();
    assert!(run("modes", directory.path()).success());
    assert_eq!(names(directory.path()).len(), 20);
}

fn open_as_a_stranger(directory: &Path) {
    // SAFETY: changes this process's own user and group.
    if unsafe { libc::setgid(NOBODY) != 0 || libc::setuid(NOBODY) != 0 } {
        std::process::exit(CANNOT);
    }
    for (name, allowed) in [("private", false), ("shared", true), ("absent", false)] {
        match Limiter::open(directory.join(name), &Options::new()) {
            Ok(limiter) => {
                assert!(allowed, "{name}");
                assert_eq!(limiter.check(b"key", POLICY, 1).unwrap().used, 8);
            }
            Err(error) => {
                assert!(!allowed, "{name}");
                assert_eq!(kind(&error), ErrorKind::PermissionDenied, "{name}");
            }
        }
    }
}

#[test]
fn another_user_opens_only_what_the_mode_lets_him() {
    if !is_root() {
        return skip("another user's region, which needs root");
    }
    let directory = directory();
    for (name, mode) in [("private", 0o600), ("shared", 0o666)] {
        let options = small().mode(mode);
        let limiter = Limiter::open(directory.path().join(name), &options).unwrap();
        limiter.check(b"key", POLICY, 7).unwrap();
    }
    match run("stranger", directory.path()) {
        status if status.code() == Some(CANNOT) => skip("another user: setuid is refused"),
        status => assert!(status.success(), "{status}"),
    }
    assert_eq!(names(directory.path()), ["private", "shared"]);
}

#[test]
fn a_region_without_permissions_is_an_error() {
    if is_root() {
        // Root may open it all the same; the test above speaks for others.
        return;
    }
    let directory = directory();
    let path = directory.path().join("region");
    Limiter::open(&path, &small()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let error = Limiter::open(&path, &small()).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::PermissionDenied);
}

// A full file system.

/// Bytes of a file system, and how many of them are free.
fn space(directory: &Path) -> (u64, u64) {
    let name = CString::new(directory.as_os_str().as_bytes()).unwrap();
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: a string that ends with NUL; the result is filled on success.
    let found = unsafe {
        assert_eq!(libc::statvfs(name.as_ptr(), found.as_mut_ptr()), 0);
        found.assume_init()
    };
    let bytes = |blocks: u64| blocks.wrapping_mul(found.f_frsize);
    (bytes(found.f_blocks), bytes(found.f_bfree))
}

fn assert_out_of_space(error: &OpenError) {
    assert_eq!(kind(error), ErrorKind::StorageFull);
    assert!(
        error.to_string().contains("reserve the region's memory"),
        "{error}"
    );
}

#[test]
fn a_region_larger_than_its_file_system_is_an_error_and_leaves_nothing() {
    let directory = directory();
    let (total, before) = space(directory.path());
    // A key takes more than 512 bytes.
    let keys = total / 512;
    let path = directory.path().join("region");
    let error = Limiter::open(&path, &Options::new().keys(keys)).unwrap_err();
    assert_out_of_space(&error);
    assert!(names(directory.path()).is_empty());
    // Others use it too.
    let (_, after) = space(directory.path());
    assert!(before.saturating_sub(after) < total / 8, "{before} {after}");
}

/// Mounts a file system of one MiB that only this process sees.
fn mount_one_mib(directory: &Path) -> bool {
    let at = CString::new(directory.as_os_str().as_bytes()).unwrap();
    let private = libc::MS_PRIVATE | libc::MS_REC;
    let none = std::ptr::null();
    // SAFETY: strings that end with NUL; what is mounted is seen by this
    // process alone.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
            && libc::mount(
                c"tmpfs".as_ptr(),
                at.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=1m".as_ptr().cast(),
            ) == 0
    }
}

fn fill_a_file_system(directory: &Path) {
    if !mount_one_mib(directory) {
        std::process::exit(CANNOT);
    }
    let (total, empty) = space(directory);
    assert_eq!(total, 1 << 20);
    let path = directory.join("region");
    let open = |keys| Limiter::open(&path, &Options::new().keys(keys));

    // Larger than all of it, and than what is left.
    assert_out_of_space(&open(10_000).unwrap_err());
    assert!(names(directory).is_empty());
    assert_eq!(space(directory).1, empty);
    let ballast = directory.join("ballast");
    fs::write(&ballast, vec![1; 600 << 10]).unwrap();
    let left = space(directory).1;
    assert_out_of_space(&open(700).unwrap_err());
    assert_eq!(names(directory), ["ballast"]);
    assert_eq!(space(directory).1, left);

    // One that fits works on when there is no room for anything else.
    fs::remove_file(&ballast).unwrap();
    let limiter = open(700).unwrap();
    let bytes = fs::read(&path).unwrap();
    let copy = directory.join("copy");
    sparse_copy(&bytes, &copy);
    let (_, left) = space(directory);
    fs::write(&ballast, vec![1; usize::try_from(left).unwrap()]).unwrap();
    assert_eq!(space(directory).1, 0);
    for key in 0_u32..700 {
        let decision = limiter.check(&key.to_ne_bytes(), POLICY, 60).unwrap();
        assert!(decision.is_allowed());
    }
    // A copy with holes that cannot be filled.
    assert_out_of_space(&Limiter::open(&copy, &Options::new()).unwrap_err());
    assert_eq!(names(directory), ["ballast", "copy", "region"]);
}

#[test]
fn a_full_file_system_is_an_error_at_open_and_never_a_signal_later() {
    let directory = directory();
    match run("full", directory.path()) {
        status if status.code() == Some(CANNOT) => {
            skip("a full file system, which needs root and mounts");
        }
        status => assert!(status.success(), "{status}"),
    }
    assert!(names(directory.path()).is_empty());
}
