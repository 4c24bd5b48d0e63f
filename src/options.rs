//! What a region is asked to be.

use crate::error::Error;
use crate::word::{MAX_CELLS, MAX_PERMIT_CELLS};

/// Whose clock a region counts time by. All who share a region share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ClockKind {
    /// CLOCK_BOOTTIME (CLOCK_MONOTONIC where it is missing), to the
    /// millisecond; about 20 ns a reading.
    Precise = 1,
    /// CLOCK_MONOTONIC_COARSE: about 3 ns a reading. Recorded times are moved
    /// twice its resolution later, so answers come up to that much later.
    Coarse = 2,
    /// The caller passes the time with every call (`check_at`).
    Caller = 3,
}

/// What a key hears that the table has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum OnFull {
    /// [`Outcome::Full`](crate::Outcome::Full): no limit is ever exceeded.
    Deny = 1,
    /// Allowed without being counted: no request is lost.
    Allow = 2,
}

/// Options of a region. What is not set has its default when a region is
/// created, and is whatever the region has when one is attached to; what is
/// set must then agree with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub(crate) keys: Option<u64>,
    pub(crate) cells: Option<u32>,
    pub(crate) max_window_ms: Option<u32>,
    pub(crate) clock: Option<ClockKind>,
    pub(crate) on_full: Option<OnFull>,
    pub(crate) mode: Option<u32>,
    pub(crate) secret: Option<[u64; 2]>,
    pub(crate) permit_keys: Option<u64>,
    pub(crate) permit_cells: Option<u32>,
}

impl Options {
    /// Default of [`Options::keys`].
    pub const DEFAULT_KEYS: u64 = 100_000;
    /// Default of [`Options::cells`]: exact for limits up to 60.
    pub const DEFAULT_CELLS: u32 = 64;
    /// Default of [`Options::max_window_ms`]: the contract's minute.
    pub const DEFAULT_MAX_WINDOW_MS: u32 = 60_000;
    /// Default of [`Options::mode`].
    pub const DEFAULT_MODE: u32 = 0o600;
    /// Default of [`Options::permit_keys`], or `keys` if that is less.
    pub const DEFAULT_PERMIT_KEYS: u64 = 4096;
    /// Default of [`Options::permit_cells`].
    pub const DEFAULT_PERMIT_CELLS: u32 = 16;

    const MIN_CELLS: u32 = 8;
    /// 2^32 keys need more memory than hosts have, and their arithmetic still
    /// fits into 64 bits.
    const MAX_KEYS: u64 = 1 << 32;

    /// Everything at its default.
    pub const fn new() -> Self {
        Self {
            keys: None,
            cells: None,
            max_window_ms: None,
            clock: None,
            on_full: None,
            mode: None,
            secret: None,
            permit_keys: None,
            permit_cells: None,
        }
    }

    /// Keys active within one window, 1…2^32. The table holds 32 % more.
    #[must_use]
    pub const fn keys(mut self, keys: u64) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Cells of a key's ring, a power of two, 8…1024. Limits up to `cells` − 4
    /// are exact to the millisecond; above, times are rounded up to the
    /// smallest power of two ≥ window / (`cells` − 4). Memory per key is about
    /// 10.6 bytes × `cells`.
    #[must_use]
    pub const fn cells(mut self, cells: u32) -> Self {
        self.cells = Some(cells);
        self
    }

    /// The longest window any policy may have, in milliseconds, from 1. A
    /// record is free for another key this long after its last admission.
    #[must_use]
    pub const fn max_window_ms(mut self, ms: u32) -> Self {
        self.max_window_ms = Some(ms);
        self
    }

    /// Whose clock counts.
    #[must_use]
    pub const fn clock(mut self, clock: ClockKind) -> Self {
        self.clock = Some(clock);
        self
    }

    /// What to do when every record belongs to a key that still owes.
    #[must_use]
    pub const fn on_full(mut self, on_full: OnFull) -> Self {
        self.on_full = Some(on_full);
        self
    }

    /// Permission bits of a new region file; the umask does not apply.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The secret that keys are hashed with; drawn from the system if it is not
    /// given, which it must be where there is none. It must be random. An
    /// existing region keeps its own.
    #[must_use]
    pub const fn secret(mut self, secret: [u64; 2]) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Keys with requests in flight at one time, each counted once for every
    /// class it has them in, 1…2^32. The table has room for twice as many.
    #[must_use]
    pub const fn permit_keys(mut self, keys: u64) -> Self {
        self.permit_keys = Some(keys);
        self
    }

    /// Most permits of a key and class, a multiple of 8, 8…256. Memory per key
    /// in flight is about 16 bytes × (`permit_cells` + 2).
    #[must_use]
    pub const fn permit_cells(mut self, cells: u32) -> Self {
        self.permit_cells = Some(cells);
        self
    }

    pub(crate) fn permit_keys_or_default(&self) -> u64 {
        let keys = self.keys.unwrap_or(Self::DEFAULT_KEYS);
        self.permit_keys
            .unwrap_or(keys.min(Self::DEFAULT_PERMIT_KEYS))
    }

    /// # Errors
    /// [`Error::Option`] names the option that is out of its range.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let wrong = |name, value, must| Err(Error::Option { name, value, must });
        match *self {
            Self {
                keys: Some(keys), ..
            } if keys == 0 || keys > Self::MAX_KEYS => wrong("keys", keys, "from 1 to 2^32"),
            Self {
                permit_keys: Some(keys),
                ..
            } if keys == 0 || keys > Self::MAX_KEYS => wrong("permit_keys", keys, "from 1 to 2^32"),
            Self {
                permit_cells: Some(cells),
                ..
            } if !cells.is_multiple_of(8) || !(8..=MAX_PERMIT_CELLS).contains(&cells) => wrong(
                "permit_cells",
                cells.into(),
                "a multiple of 8 from 8 to 256",
            ),
            Self {
                cells: Some(cells), ..
            } if !cells.is_power_of_two() || !(Self::MIN_CELLS..=MAX_CELLS).contains(&cells) => {
                wrong("cells", cells.into(), "a power of two from 8 to 1024")
            }
            Self {
                max_window_ms: Some(0),
                ..
            } => wrong("max_window_ms", 0, "at least 1"),
            Self {
                mode: Some(mode), ..
            } if mode & !0o777 != 0 || mode & 0o600 != 0o600 => wrong(
                "mode",
                mode.into(),
                "permission bits that let the owner read and write",
            ),
            _ => Ok(()),
        }
    }
}
