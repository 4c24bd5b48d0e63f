//! Exact sliding-window rate limits, shared by threads, processes and
//! languages through one region of memory.
//!
//! ```
//! use mavera_rl::{Limiter, Options, Policy};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("limits");
//! // Every process that opens the path shares its limits.
//! let limiter = Limiter::open(&path, &Options::new().keys(10_000))?;
//! let decision = limiter.check(b"customer-42", Policy::per_minute(60), 1)?;
//! assert!(decision.is_allowed());
//! assert_eq!(decision.remaining(), 59);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In any span of one window never more than the limit is admitted; a refusal
//! writes nothing; a process may die between any two instructions. What is
//! promised, and what is not, is in the README.
//!
//! # Layers
//! A file uses only what stands above it here; `tests/layers.rs` checks that.
//!
//! | file | |
//! |---|---|
//! | `sync` | the only home of atomics |
//! | `word` | bit layouts |
//! | `time`, `error`, `limit`, `decision`, `options` | values; pure |
//! | `window` | the sliding window: one head, one ring |
//! | `slots` | which processes' permits count |
//! | `permits` | requests in flight, without a counter |
//! | `table` | from a key's hash to its record |
//! | `hash` | from a key to its hash |
//! | `layout` | offsets in a region; pure |
//! | `region` | bytes to words; the core's only `unsafe` |
//! | `clock`, `shm`, `process` | readings, region files, who holds permits (feature `std`) |
//! | `limiter` | what a gateway calls |
//! | `plan` | tiers and endpoints (plan files with `std`) |
//! | `admit` | permit and quota in one call, by the plan (feature `std`) |
//! | `http` | headers and bodies, into a caller's buffer |
//! | `ffi` | the C ABI (feature `ffi`) |
//!
//! Without default features the crate is `no_std`, allocates nothing and takes
//! the time from its caller: [`Limiter::in_memory`], `check_at`.

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(
    loom,
    expect(dead_code, reason = "models run the window and the table alone")
)]

#[cfg(all(feature = "std", not(loom)))]
mod admit;
#[cfg(all(feature = "std", not(loom)))]
mod clock;
#[cfg(not(loom))]
mod decision;
mod error;
#[cfg(not(loom))]
mod hash;
#[cfg(not(loom))]
pub mod http;
#[cfg(not(loom))]
mod layout;
mod limit;
#[cfg(not(loom))]
mod limiter;
#[cfg(not(loom))]
mod options;
mod permits;
#[cfg(not(loom))]
pub mod plan;
#[cfg(all(feature = "std", not(loom)))]
mod process;
#[cfg(not(loom))]
mod region;
#[cfg(all(feature = "std", not(loom)))]
mod shm;
mod slots;
mod sync;
mod table;
mod time;
mod window;
mod word;

#[cfg(all(feature = "ffi", not(loom)))]
pub mod ffi;

#[cfg(all(feature = "crash-points", not(loom)))]
#[doc(hidden)]
pub use sync::crash;

pub use error::Error;
pub use limit::Policy;
#[cfg(all(feature = "std", not(loom)))]
pub use {admit::Admission, shm::OpenError};
#[cfg(not(loom))]
pub use {
    decision::{Decision, Outcome},
    limiter::{Acquired, Held, Limiter, Permit, Released, Request, Stats},
    options::{ClockKind, OnFull, Options},
};
