//! Tiers and endpoints as data.
//!
//! The built-in plan is the contract of Mavera's public API: 60, 120, 240 and
//! 600 requests a sliding minute, and how many requests of a key may be in
//! flight on an endpoint. With the feature `std`, [`Plan`] can be read from a
//! TOML file and its numbers changed while it is in use, and finds the endpoint
//! of a request by its path.

use crate::limit::Policy;

#[cfg(feature = "std")]
mod file;
#[cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "only a plan matches paths")
)]
mod path;
#[cfg(feature = "std")]
mod table;
pub use path::class_id;
#[cfg(feature = "std")]
pub use {
    file::PlanError,
    table::{Endpoint, Plan},
};

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
