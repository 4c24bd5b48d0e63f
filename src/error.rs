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
            Self::Tier => write!(f, "the plan has no such tier"),
            Self::Memory { needed, given } => write!(
                f,
                "the region needs {needed} bytes of memory, but {given} were given"
            ),
        }
    }
}

impl core::error::Error for Error {}
