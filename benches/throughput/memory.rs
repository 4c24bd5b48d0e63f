//! Memory per key, measured: what a region file with all its keys occupies.

use crate::contestant::key;
use mavera_rl::{Limiter, Options, Policy};
use std::os::unix::fs::MetadataExt;

/// Bytes per key of a region of so many cells, for as many keys as it was
/// asked for, all of them in it.
pub(crate) fn per_key(cells: u32) -> f64 {
    const KEYS: u64 = 100_000;
    const BLOCK: u64 = 512;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region");
    let options = Options::new().keys(KEYS).cells(cells);
    let limiter = Limiter::open(&path, &options).unwrap();
    for number in 0..KEYS {
        limiter
            .check(&key(number), Policy::per_minute(60), 1)
            .unwrap();
    }
    let stats = limiter.stats();
    assert_eq!((stats.keys_held, stats.full), (KEYS, 0));
    (path.metadata().unwrap().blocks() * BLOCK) as f64 / KEYS as f64
}
