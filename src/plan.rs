//! Tiers and endpoints as data.
//!
//! The built-in plan is the contract of Mavera's public API: 60, 120, 240 and
//! 600 requests a sliding minute, and how many requests of a key may be in
//! flight on an endpoint. With the feature `std`, [`Plan`] can be read from a
//! TOML file and its numbers changed while it is in use.

use crate::limit::Policy;

#[cfg(feature = "std")]
mod file;
#[cfg(feature = "std")]
mod table;
#[cfg(feature = "std")]
pub use {file::PlanError, table::Plan};

/// The contract's tiers. Enterprise customers negotiate their own numbers.
pub const TIERS: [(&str, Policy); 4] = [
    ("starter", Policy::per_minute(60)),
    ("basic", Policy::per_minute(120)),
    ("professional", Policy::per_minute(240)),
    ("enterprise", Policy::per_minute(600)),
];

/// The contract's endpoints, and how many requests of one key may be in flight
/// on each.
pub const ENDPOINTS: [(&str, u32); 3] = [
    ("/mave/chat", 10),
    ("/focus-groups", 5),
    ("/video-analyses", 3),
];

/// Most requests in flight that an endpoint can be given.
pub const MAX_IN_FLIGHT: u32 = 256;
