//! What a caller asks for: so many requests in so long a window.

use crate::error::Error;
use crate::word::MAX_LIMIT;

/// A limit: at most `limit` units in any span of `window_ms` milliseconds.
///
/// It is passed with every call, so a key's tier changes by passing another
/// number: what the key has spent is kept, because the limit is no part of
/// the record. The window's length is: one key under two lengths is two
/// records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    limit: u32,
    window_ms: u32,
}

impl Policy {
    /// The greatest limit, 2^23 units.
    pub const MAX_LIMIT: u32 = MAX_LIMIT;

    /// `limit` units (0…2^23) per `window_ms` milliseconds (from 1). A limit
    /// of 0 admits nothing.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Window`] when a number is out of range.
    pub const fn new(limit: u32, window_ms: u32) -> Result<Self, Error> {
        if limit > MAX_LIMIT {
            return Err(Error::Limit { limit });
        }
        if window_ms == 0 {
            return Err(Error::Window {
                window_ms,
                max_window_ms: u32::MAX,
            });
        }
        Ok(Self { limit, window_ms })
    }

    /// `limit` units per sliding minute; a limit above [`Policy::MAX_LIMIT`]
    /// counts as that.
    pub const fn per_minute(limit: u32) -> Self {
        Self {
            limit: if limit > MAX_LIMIT { MAX_LIMIT } else { limit },
            window_ms: 60_000,
        }
    }

    /// Most units admitted in one window.
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// The window's length in milliseconds.
    pub const fn window_ms(self) -> u32 {
        self.window_ms
    }
}
