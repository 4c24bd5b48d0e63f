//! Memory per key, measured: what a region file with all its keys occupies.

use crate::contestant::key;
use mavera_rl::{Limiter, Options, Policy, Stats};
use std::os::unix::fs::MetadataExt;
use tempfile::TempDir;

/// Where regions belong, or else wherever temporary files do.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Bytes per key of a region of so many cells, after each of the keys it was
/// made for has come by once, and what it has seen.
pub(crate) fn per_key(keys: u64, cells: u32) -> (f64, Stats) {
    const BLOCK: u64 = 512;
    let directory = directory();
    let path = directory.path().join("region");
    let options = Options::new().keys(keys).cells(cells).permit_keys(1);
    let limiter = Limiter::open(&path, &options).unwrap();
    for number in 0..keys {
        let starter = Policy::per_minute(60);
        limiter.check(&key(number), starter, 1).unwrap();
    }
    let bytes = path.metadata().unwrap().blocks() * BLOCK;
    (bytes as f64 / keys as f64, limiter.stats())
}
