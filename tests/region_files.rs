//! What may lie at a region's path: nothing, a region, or anything else. Each
//! is a limiter or a clean error, and an error leaves nothing behind.

#![cfg(not(loom))]
#![expect(unsafe_code, reason = "a test makes a FIFO")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use mavera_rl::{ClockKind, Error, Limiter, OnFull, OpenError, Options, Policy};
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

const POLICY: Policy = Policy::per_minute(60);

const fn small() -> Options {
    Options::new().keys(1).cells(8)
}

/// A directory in memory, as regions should be.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// An intact region's bytes.
fn intact() -> Vec<u8> {
    let directory = directory();
    let path = directory.path().join("region");
    let limiter = Limiter::open(&path, &small()).unwrap();
    limiter.check(b"key", POLICY, 7).unwrap();
    fs::read(&path).unwrap()
}

/// Opens a file of these bytes, which must be an error that names the path
/// and leaves the file as it was.
fn refused(bytes: &[u8]) -> OpenError {
    let directory = directory();
    let path = directory.path().join("region");
    fs::write(&path, bytes).unwrap();
    let error = Limiter::open(&path, &Options::new()).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(names(directory.path()), ["region"]);
    error
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn why(error: &OpenError) -> &str {
    match error {
        OpenError::Format { why, .. } => why,
        _ => panic!("{error:?}"),
    }
}

fn kind(error: &OpenError) -> ErrorKind {
    match error {
        OpenError::System { source, .. } => source.kind(),
        _ => panic!("{error:?}"),
    }
}

fn assert_loop(error: &OpenError) {
    match error {
        OpenError::System { source, .. } => assert_eq!(source.raw_os_error(), Some(libc::ELOOP)),
        _ => panic!("{error:?}"),
    }
}

// Files that are not regions.

#[test]
fn a_truncated_region_is_refused_with_its_length() {
    let bytes = intact();
    for length in [
        1,
        8,
        31,
        32,
        4095,
        4096,
        4097,
        8192,
        bytes.len().wrapping_sub(1),
    ] {
        let error = refused(bytes.get(..length).unwrap());
        assert!(why(&error).contains(&format!("{length} bytes")), "{error}");
    }
}

#[test]
fn a_region_with_more_behind_it_is_refused() {
    let mut bytes = intact();
    let whole = bytes.len();
    bytes.push(0);
    let error = refused(&bytes);
    assert!(
        why(&error).contains(&format!("{whole} by its header")),
        "{error}"
    );
}

#[test]
fn an_empty_file_is_refused() {
    assert!(why(&refused(b"")).contains("0 bytes"));
}

#[test]
fn text_is_refused() {
    let text = b"listen 8080;\n".repeat(2000);
    assert!(why(&refused(&text)).contains("not a region"));
    assert!(why(&refused(&vec![0; 1 << 16])).contains("not a region"));
}

#[test]
fn another_layout_version_is_refused_with_both_numbers() {
    for version in [0_u64, 1, 3, 1 << 40] {
        let mut bytes = intact();
        bytes
            .get_mut(16..24)
            .unwrap()
            .copy_from_slice(&version.to_ne_bytes());
        let error = refused(&bytes);
        let text = error.to_string();
        assert!(text.contains(&format!("version {version},")), "{text}");
        assert!(text.contains("version 2;"), "{text}");
        let OpenError::Version {
            found, supported, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((found, supported), (version, 2));
    }
}

#[test]
fn a_directory_is_refused() {
    let directory = directory();
    let error = Limiter::open(directory.path(), &small()).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::IsADirectory);
}

#[test]
fn a_fifo_is_refused_without_waiting_for_its_other_end() {
    let directory = directory();
    let path = directory.path().join("fifo");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: a string that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let error = Limiter::open(&path, &small()).unwrap_err();
    assert!(why(&error).contains("not a regular file"), "{error}");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let directory = directory();
    let target = directory.path().join("target");
    let link = directory.path().join("link");
    symlink(&target, &link).unwrap();
    let dangling = Limiter::open(&link, &small()).unwrap_err();
    assert_loop(&dangling);
    assert_eq!(names(directory.path()), ["link"]);
    Limiter::open(&target, &small()).unwrap();
    let error = Limiter::open(&link, &small()).unwrap_err();
    assert_loop(&error);
}

#[test]
fn a_missing_directory_is_an_error_and_is_not_made() {
    let directory = directory();
    let path = directory.path().join("missing/region");
    let error = Limiter::open(&path, &small()).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NotFound);
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_path_without_a_file_name_is_refused() {
    for path in ["", "/", "..", "/dev/shm/.."] {
        let error = Limiter::open(path, &small()).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::InvalidInput, "{path:?}");
    }
}

#[test]
fn a_path_that_only_a_directory_can_have_is_refused() {
    let directory = directory();
    let path = directory.path().join("region/");
    assert!(Limiter::open(&path, &small()).is_err());
    assert!(names(directory.path()).is_empty());
    Limiter::open(directory.path().join("region"), &small()).unwrap();
    assert!(Limiter::open(&path, &small()).is_err());
    assert_eq!(names(directory.path()), ["region"]);
}

// Options.

#[test]
fn every_option_that_differs_is_named_with_both_values() {
    let directory = directory();
    let path = directory.path().join("region");
    let options = small().max_window_ms(60_000).clock(ClockKind::Precise);
    let _created = Limiter::open(&path, &options.on_full(OnFull::Deny)).unwrap();
    let ask = Options::new();
    for (asked, name, had, wanted) in [
        (ask.keys(2), "keys", 1, 2),
        (ask.cells(1024), "cells", 8, 1024),
        (ask.max_window_ms(59_999), "max_window_ms", 60_000, 59_999),
        (ask.clock(ClockKind::Coarse), "clock", 1, 2),
        (ask.clock(ClockKind::Caller), "clock", 1, 3),
        (ask.on_full(OnFull::Allow), "on_full", 1, 2),
        // One that differs among others that agree.
        (small().on_full(OnFull::Allow), "on_full", 1, 2),
    ] {
        let error = Limiter::open(&path, &asked).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("{name} is {had} ")), "{text}");
        assert!(text.contains(&format!("but {wanted} was")), "{text}");
        let OpenError::Mismatch {
            option,
            found,
            asked,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((option, found, asked), (name, had, wanted));
    }
}

#[test]
fn an_option_out_of_its_range_is_refused_before_the_file_is_touched() {
    let directory = directory();
    let path = directory.path().join("region");
    let ask = Options::new();
    for (asked, wrong) in [
        (ask.keys(0), "keys"),
        (ask.keys(1 << 33), "keys"),
        (ask.cells(7), "cells"),
        (ask.cells(2048), "cells"),
        (ask.max_window_ms(0), "max_window_ms"),
        (ask.mode(0o4600), "mode"),
        (ask.mode(0o400), "mode"),
    ] {
        match Limiter::open(&path, &asked).unwrap_err() {
            OpenError::Option(Error::Option { name, .. }) => assert_eq!(name, wrong),
            error => panic!("{error:?}"),
        }
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn unset_options_attach_to_whatever_the_region_has() {
    let directory = directory();
    let path = directory.path().join("region");
    let options = Options::new()
        .keys(300)
        .cells(32)
        .max_window_ms(5_000)
        .clock(ClockKind::Caller)
        .on_full(OnFull::Allow);
    let created = Limiter::open(&path, &options).unwrap();
    let attached = Limiter::open(&path, &Options::new()).unwrap();
    let again = Limiter::open(&path, &options).unwrap();
    let policy = Policy::new(3, 5_000).unwrap();
    for (limiter, used) in [(&created, 1), (&attached, 2), (&again, 3)] {
        assert_eq!(limiter.check_at(b"key", policy, 1, 9).unwrap().used, used);
        assert_eq!(limiter.stats(), created.stats());
    }
    assert_eq!(attached.stats().keys_capacity, 512);
    assert_eq!(attached.stats().max_window_ms, 5_000);
}
