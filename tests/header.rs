//! The committed header is what the sources generate.
//!
//! `MAVERA_RL_BLESS=1` writes it anew.

#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

#[test]
fn the_committed_header_is_what_the_sources_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    config.cpp_compat = true;
    let ffi = root.join("src/ffi");
    let mut builder = cbindgen::Builder::new().with_config(config);
    // The header's order: codes, the region, checks, permits, plans, admission,
    // responses.
    for file in [
        "code",
        "last_error",
        "handle",
        "check",
        "permit",
        "plan",
        "admit",
        "response",
    ] {
        builder = builder.with_src(ffi.join(file).with_extension("rs"));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let path = root.join("include/mavera_rl.h");
    if std::env::var_os("MAVERA_RL_BLESS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "include/mavera_rl.h is not what src/ffi generates; \
         run MAVERA_RL_BLESS=1 cargo test --test header and commit it"
    );
}
