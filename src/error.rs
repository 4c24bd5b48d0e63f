//! What can be wrong with a call. A refusal is not an error.

use core::fmt;

/// A call that cannot be answered, with the values that are at odds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A limit above 2^23.
    Limit {
        /// The limit asked for.
        limit: u32,
    },
    /// A window of 0, or longer than the region admits.
    Window {
        /// The window asked for, in milliseconds.
        window_ms: u32,
        /// The region's longest, in milliseconds.
        max_window_ms: u32,
    },
    /// The cost exceeds the limit: no wait would ever be enough.
    Cost {
        /// The units asked for.
        cost: u32,
        /// The limit.
        limit: u32,
    },
    /// `check` on a region whose caller supplies the time, or `check_at` on
    /// one that reads a clock.
    Clock {
        /// Whether the region expects the time from its caller.
        caller_supplies: bool,
    },
    /// An option out of its range.
    Option {
        /// The option's name.
        name: &'static str,
        /// The value asked for.
        value: u64,
        /// What it must be.
        must: &'static str,
    },
    /// The plan has no tier of that name.
    Tier,
    /// More permits than a record of the region has, or none.
    Max {
        /// The number asked for.
        max: u32,
        /// The region's greatest.
        permit_cells: u32,
    },
    /// A lease of more than a day, or one where the caller supplies the time.
    Lease {
        /// The lease asked for, in milliseconds.
        lease_ms: u32,
    },
    /// All slots of the region belong to processes that are alive.
    Slots,
    /// The system did not let this process register with the region.
    Register {
        /// The system's error number.
        code: i32,
    },
    /// The memory given is too small for the options.
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes given.
        given: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Limit { limit } => {
                write!(
                    f,
                    "limit {limit} is above the greatest, {}",
                    crate::word::MAX_LIMIT
                )
            }
            Self::Window { window_ms: 0, .. } => write!(f, "window_ms must be at least 1"),
            Self::Window {
                window_ms,
                max_window_ms,
            } => write!(
                f,
                "window_ms {window_ms} is longer than the region's max_window_ms {max_window_ms}; \
                 create the region with a longer one"
            ),
            Self::Cost { cost, limit } => write!(
                f,
                "cost {cost} exceeds limit {limit}: no wait would ever be enough"
            ),
            Self::Clock {
                caller_supplies: true,
            } => write!(
                f,
                "this region's caller supplies the time: call check_at or peek_at"
            ),
            Self::Clock {
                caller_supplies: false,
            } => write!(
                f,
                "this region reads its own clock: call check or peek, without a time"
            ),
            Self::Option { name, value, must } => {
                write!(f, "{name} is {value}, but must be {must}")
            }
            Self::Max { max, permit_cells } => write!(
                f,
                "max is {max}, but must be from 1 to the region's permit_cells, {permit_cells}"
            ),
            Self::Lease { lease_ms } => write!(
                f,
                "a lease of {lease_ms} ms cannot be had: it must be at most a day, and the region \
                 must read its own clock"
            ),
            Self::Slots => write!(
                f,
                "all 1023 process slots of the region are taken by processes that are alive"
            ),
            Self::Register { code } => write!(
                f,
                "cannot register this process with the region: system error {code}"
            ),
            Self::Tier => write!(f, "the plan has no such tier"),
            Self::Memory { needed, given } => write!(
                f,
                "the region needs {needed} bytes of memory, but {given} were given"
            ),
        }
    }
}

impl core::error::Error for Error {}
