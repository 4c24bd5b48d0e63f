//! Bit layouts of the shared words, packed and unpacked here and nowhere else.
//!
//! ```text
//! head         63      52 51      42 41        24 23          0
//!              gen:12     live:10    run:18       count:24
//! cell         63                24 23                        0
//!              time:40              start:24
//! tag, latest  63                22 21    14 13    12 11      0
//!              fingerprint:42       way:8    unused   gen:12
//! ```
//!
//! Pure: no atomics, no clock. Every field is masked on the way in, so a value
//! out of range cannot spill into its neighbour, and on the way out, so a
//! damaged word cannot yield one.

/// Mask of the lowest `bits` bits; `bits` is a constant below 64.
const fn mask(bits: u32) -> u64 {
    (1_u64 << bits).wrapping_sub(1)
}

const COUNT_BITS: u32 = 24;
const RUN_BITS: u32 = 18;
const LIVE_BITS: u32 = 10;
const GEN_BITS: u32 = 12;
const TIME_BITS: u32 = 40;
const FINGERPRINT_BITS: u32 = 42;
const WAY_BITS: u32 = 8;

const _: () = assert!(COUNT_BITS + RUN_BITS + LIVE_BITS + GEN_BITS == 64);
const _: () = assert!(TIME_BITS + COUNT_BITS == 64);
const _: () = assert!(FINGERPRINT_BITS + WAY_BITS + GEN_BITS < 64);

const RUN_SHIFT: u32 = COUNT_BITS;
const LIVE_SHIFT: u32 = RUN_SHIFT + RUN_BITS;
const GEN_SHIFT: u32 = LIVE_SHIFT + LIVE_BITS;
const WAY_SHIFT: u32 = 14;
const FINGERPRINT_SHIFT: u32 = WAY_SHIFT + WAY_BITS;

/// `a - b` on the circle of counts.
#[inline(always)]
pub(crate) const fn count_between(b: u32, a: u32) -> u32 {
    a.wrapping_sub(b) & mask(COUNT_BITS) as u32
}

/// The run `steps` after `run`, on the circle of runs.
#[inline(always)]
pub(crate) const fn run_after(run: u32, steps: u32) -> u32 {
    run.wrapping_add(steps) & mask(RUN_BITS) as u32
}

/// The generation that follows `generation`.
#[inline(always)]
pub(crate) const fn next_generation(generation: u16) -> u16 {
    generation.wrapping_add(1) & mask(GEN_BITS) as u16
}

/// The authority of one record: a window's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Generation of the record: changes when its owner is evicted.
    pub(crate) generation: u16,
    /// Runs not yet expired at the last commit, the newest included; 0: the
    /// window was seen empty. Never more than cells − 1.
    pub(crate) live: u32,
    /// Number of the newest run; its cell is `run mod cells`.
    pub(crate) run: u32,
    /// Units ever admitted, modulo 2^24.
    pub(crate) count: u32,
}

impl Head {
    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        (self.generation as u64 & mask(GEN_BITS)) << GEN_SHIFT
            | (self.live as u64 & mask(LIVE_BITS)) << LIVE_SHIFT
            | (self.run as u64 & mask(RUN_BITS)) << RUN_SHIFT
            | (self.count as u64 & mask(COUNT_BITS))
    }

    #[inline(always)]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            generation: (word >> GEN_SHIFT) as u16,
            live: (word >> LIVE_SHIFT & mask(LIVE_BITS)) as u32,
            run: (word >> RUN_SHIFT & mask(RUN_BITS)) as u32,
            count: (word & mask(COUNT_BITS)) as u32,
        }
    }
}

/// One run of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Last tick of the run's quantum, in ms since the region's epoch: no
    /// admission of the run is later. 0: never used.
    pub(crate) time: u64,
    /// The head's count when the run began.
    pub(crate) start: u32,
}

impl Cell {
    /// The latest time a cell can hold, 34.8 years after the epoch.
    pub(crate) const LAST_TIME: u64 = mask(TIME_BITS);

    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        (self.time & mask(TIME_BITS)) << COUNT_BITS | (self.start as u64 & mask(COUNT_BITS))
    }

    #[inline(always)]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            time: word >> COUNT_BITS,
            start: (word & mask(COUNT_BITS)) as u32,
        }
    }
}

/// Who owns a way, or which insertion is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// 42 bits of the key's hash, never 0: the word 0 means "never used".
    pub(crate) fingerprint: u64,
    /// The way it speaks of.
    pub(crate) way: u8,
    /// The way's generation for which it holds.
    pub(crate) generation: u16,
}

impl Tag {
    /// The fingerprint taken from 64 bits of hash: the upper 42, with 0 folded
    /// onto 1.
    #[inline(always)]
    pub(crate) const fn fingerprint_of(hash: u64) -> u64 {
        let upper = hash >> (64 - FINGERPRINT_BITS);
        if upper == 0 { 1 } else { upper }
    }

    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        (self.fingerprint & mask(FINGERPRINT_BITS)) << FINGERPRINT_SHIFT
            | (self.way as u64) << WAY_SHIFT
            | (self.generation as u64 & mask(GEN_BITS))
    }

    #[inline(always)]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            fingerprint: word >> FINGERPRINT_SHIFT,
            way: (word >> WAY_SHIFT) as u8,
            generation: (word & mask(GEN_BITS)) as u16,
        }
    }
}

/// Most units a window can tell apart: half the circle of counts.
pub(crate) const MAX_LIMIT: u32 = 1 << (COUNT_BITS - 1);

/// Most cells of a ring: `live` must be able to count all but one of them.
pub(crate) const MAX_CELLS: u32 = 1 << LIVE_BITS;
