//! Bit layouts of the shared words, packed and unpacked here and nowhere else.
//!
//! ```text
//! head         63      52 51      42 41        24 23          0
//!              gen:12     live:10    run:18       count:24
//! cell         63                24 23                        0
//!              time:40              start:24
//! tag, latest  63                22 21    14 13    12 11      0
//!              fingerprint:42       way:8    unused   gen:12
//! permit head  63      52 51     42 41                        0
//!              gen:12     top:10    stamp:42
//! permit       63      54 53      40 39      36 35  22 21     0
//!              slot:10    slot gen:14   record:4   seq:14  deadline:22
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

/// A head whose record was taken back from its owner: the next generation, and
/// nothing live. What else it counts goes on.
#[inline(always)]
pub(crate) const fn evicted(head: u64) -> u64 {
    let generation = next_generation((head >> GEN_SHIFT) as u16) as u64;
    let rest = head & mask(LIVE_SHIFT);
    generation << GEN_SHIFT | rest
}

const TOP_BITS: u32 = LIVE_BITS;
const STAMP_BITS: u32 = 42;
const _: () = assert!(GEN_BITS + TOP_BITS + STAMP_BITS == 64);
const _: () = assert!(STAMP_BITS == LIVE_SHIFT);

/// The authority over a permit record's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PermitHead {
    /// As in [`Head`].
    pub(crate) generation: u16,
    /// No cell from this one on was taken in this generation.
    pub(crate) top: u32,
    /// One more with every permit taken, so that whoever evicts misses none.
    /// At ten million a second it lasts for five days without a pause; then
    /// `top` is one too great for the rest of the generation, which only makes
    /// searches longer.
    pub(crate) stamp: u64,
}

impl PermitHead {
    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        (self.generation as u64 & mask(GEN_BITS)) << GEN_SHIFT
            | (self.top as u64 & mask(TOP_BITS)) << LIVE_SHIFT
            | (self.stamp & mask(STAMP_BITS))
    }

    #[inline(always)]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            generation: (word >> GEN_SHIFT) as u16,
            top: (word >> LIVE_SHIFT & mask(TOP_BITS)) as u32,
            stamp: word & mask(STAMP_BITS),
        }
    }
}

const SLOT_BITS: u32 = 10;
const SLOT_GEN_BITS: u32 = 14;
const RECORD_BITS: u32 = 4;
const SEQ_BITS: u32 = 14;
const DEADLINE_BITS: u32 = 22;
const _: () = assert!(SLOT_BITS + SLOT_GEN_BITS + RECORD_BITS + SEQ_BITS + DEADLINE_BITS == 64);

const SEQ_SHIFT: u32 = DEADLINE_BITS;
const RECORD_SHIFT: u32 = SEQ_SHIFT + SEQ_BITS;
const SLOT_GEN_SHIFT: u32 = RECORD_SHIFT + RECORD_BITS;
const SLOT_SHIFT: u32 = SLOT_GEN_SHIFT + SLOT_GEN_BITS;

/// Slots of processes; slot 0 is nobody's.
pub(crate) const SLOTS: usize = 1 << SLOT_BITS;

/// Who holds a permit: a process's slot, for one of its generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// From 1.
    pub(crate) slot: u16,
    /// Changes when the slot's process dies or another registers.
    pub(crate) generation: u16,
}

impl Owner {
    /// The generation that follows in a slot.
    #[cfg(any(feature = "std", test))]
    #[inline(always)]
    pub(crate) const fn next_generation(generation: u16) -> u16 {
        generation.wrapping_add(1) & mask(SLOT_GEN_BITS) as u16
    }
}

/// One cell of a permit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PermitCell {
    /// Slot 0: the cell is free.
    pub(crate) owner: Owner,
    /// Low bits of the record's generation when it was taken.
    pub(crate) record: u8,
    /// How often the cell was taken; a free cell keeps it, so that no two
    /// permits of a cell look alike before it has come round.
    pub(crate) seq: u16,
    /// The second at which a lease ends, on a circle; 0: no lease.
    pub(crate) deadline: u32,
}

impl PermitCell {
    #[inline(always)]
    pub(crate) const fn pack(self) -> u64 {
        (self.owner.slot as u64 & mask(SLOT_BITS)) << SLOT_SHIFT
            | (self.owner.generation as u64 & mask(SLOT_GEN_BITS)) << SLOT_GEN_SHIFT
            | (self.record as u64 & mask(RECORD_BITS)) << RECORD_SHIFT
            | (self.seq as u64 & mask(SEQ_BITS)) << SEQ_SHIFT
            | (self.deadline as u64 & mask(DEADLINE_BITS))
    }

    #[inline(always)]
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            owner: Owner {
                slot: (word >> SLOT_SHIFT) as u16,
                generation: (word >> SLOT_GEN_SHIFT & mask(SLOT_GEN_BITS)) as u16,
            },
            record: (word >> RECORD_SHIFT & mask(RECORD_BITS)) as u8,
            seq: (word >> SEQ_SHIFT & mask(SEQ_BITS)) as u16,
            deadline: (word & mask(DEADLINE_BITS)) as u32,
        }
    }

    #[inline(always)]
    pub(crate) const fn is_free(self) -> bool {
        self.owner.slot == 0
    }

    /// The cell after whoever holds it has given it back.
    #[inline(always)]
    pub(crate) const fn freed(word: u64) -> u64 {
        word & mask(SEQ_BITS) << SEQ_SHIFT
    }

    /// What of a record's generation a cell keeps.
    #[inline(always)]
    pub(crate) const fn record_of(generation: u16) -> u8 {
        (generation & mask(RECORD_BITS) as u16) as u8
    }

    /// The deadline of a lease that ends at a second, rounded up, of the
    /// region's clock. Never 0.
    #[cfg(any(feature = "std", test))]
    pub(crate) const fn deadline_at(second: u64) -> u32 {
        let on_circle = (second & mask(DEADLINE_BITS)) as u32;
        if on_circle == 0 { 1 } else { on_circle }
    }

    /// Whether a lease had ended by a second of the region's clock, told
    /// rightly for half a circle: 24 days.
    #[inline(always)]
    pub(crate) const fn has_ended(self, second: u64) -> bool {
        let since = (second as u32).wrapping_sub(self.deadline) & mask(DEADLINE_BITS) as u32;
        self.deadline != 0 && since < 1 << (DEADLINE_BITS - 1)
    }
}

/// Most units a window can tell apart: half the circle of counts.
pub(crate) const MAX_LIMIT: u32 = 1 << (COUNT_BITS - 1);

/// Most cells of a ring: `live` must be able to count all but one of them.
pub(crate) const MAX_CELLS: u32 = 1 << LIVE_BITS;

/// Most permits of a record: a permit's place names its cell in a byte.
pub(crate) const MAX_PERMIT_CELLS: u32 = 1 << 8;
