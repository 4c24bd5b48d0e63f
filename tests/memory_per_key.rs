//! What a key costs, measured: the blocks of a region's file that holds all
//! the keys it was asked for.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "tests")]

use mavera_rl::{Limiter, Options, Policy};
use std::os::unix::fs::MetadataExt;

/// Bytes that a region for `keys` keys occupies with all of them in it.
fn occupied(keys: u64, cells: u32) -> u64 {
    const BLOCK: u64 = 512;
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("region");
    // A secret that is always the same: by chance one of 100,000 keys finds its
    // set full in one region of two hundred.
    // Permits are apart: their number does not grow with the keys.
    let options = Options::new()
        .keys(keys)
        .cells(cells)
        .permit_keys(1)
        .secret([1, 2]);
    let limiter = Limiter::open(&path, &options).unwrap();
    for number in 0..keys {
        let key = number.to_le_bytes();
        assert!(
            limiter
                .check(&key, Policy::per_minute(60), 1)
                .unwrap()
                .is_allowed()
        );
    }
    let stats = limiter.stats();
    assert_eq!((stats.keys_held, stats.full), (keys, 0));
    path.metadata().unwrap().blocks().saturating_mul(BLOCK)
}

#[test]
fn a_key_takes_at_most_700_bytes_at_64_cells_and_200_at_16() {
    const KEYS: u64 = 100_000;
    assert!(occupied(KEYS, 64) <= KEYS.saturating_mul(700));
    assert!(occupied(KEYS, 16) <= KEYS.saturating_mul(200));
}
