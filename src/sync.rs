//! The only home of atomics.
//!
//! Every shared word of the crate is a [`Word`]; its operations are named by
//! their ordering, and no other file says `Ordering`. Under `cfg(loom)` the
//! same names run on loom's atomics, so that the models check the code as
//! built.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// One 64-bit word of shared memory.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Word(AtomicU64);

impl Word {
    #[cfg(all(not(loom), any(feature = "std", feature = "ffi", test)))]
    pub(crate) const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    #[cfg(loom)]
    pub(crate) fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Acquire: pairs with the release half of [`Word::cas`]. What the writer
    /// had read before it wrote is not newer than what we read afterwards.
    #[inline(always)]
    pub(crate) fn load_acquire(&self) -> u64 {
        crash::step();
        self.0.load(Ordering::Acquire)
    }

    /// Relaxed: for words that stand alone (counters, a tier's numbers) and
    /// for header fields that were written before the region was published.
    #[inline(always)]
    pub(crate) fn load_relaxed(&self) -> u64 {
        crash::step();
        self.0.load(Ordering::Relaxed)
    }

    /// Relaxed: for memory that nobody else can see yet, and for words that
    /// stand alone.
    #[inline(always)]
    pub(crate) fn store_relaxed(&self, value: u64) {
        crash::step();
        self.0.store(value, Ordering::Relaxed);
    }

    /// `true` if the word was `current` and now is `new`.
    ///
    /// AcqRel: Release publishes what this thread read and wrote before to
    /// every `load_acquire` that sees `new`; Acquire is needed by the next
    /// step of the same thread. Relaxed on failure: the value found is thrown
    /// away and the caller starts again from an Acquire load.
    #[inline(always)]
    pub(crate) fn cas(&self, current: u64, new: u64) -> bool {
        crash::step();
        self.0
            .compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The word before `amount` was added; never fails.
    ///
    /// AcqRel: Release publishes what this thread wrote before to every
    /// `load_acquire` that sees the sum; Acquire shows it what whoever wrote
    /// the word before had written.
    #[inline(always)]
    pub(crate) fn add(&self, amount: u64) -> u64 {
        crash::step();
        self.0.fetch_add(amount, Ordering::AcqRel)
    }

    /// Relaxed: a statistic, read by nobody who decides anything.
    #[inline(always)]
    pub(crate) fn add_relaxed(&self, amount: u64) {
        crash::step();
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

/// How often a step that lost a race is tried again.
///
/// Each loss means that somebody else progressed, so honest contention never
/// comes near it; it keeps a hostile writer of the region from holding a
/// caller for ever.
pub(crate) const TRIES: u32 = if cfg!(loom) { 64 } else { 1 << 16 };

/// What to do between losing a race and trying again.
pub(crate) struct Pause {
    #[cfg(not(loom))]
    backoff: crossbeam_utils::Backoff,
}

impl Pause {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(not(loom))]
            backoff: crossbeam_utils::Backoff::new(),
        }
    }

    /// Spins a little, longer each time; never yields to the scheduler, which
    /// would be a system call.
    #[cold]
    pub(crate) fn lost(&self) {
        #[cfg(not(loom))]
        self.backoff.spin();
    }
}

/// For tests of crashes: dies before the so-manieth operation.
#[cfg(feature = "crash-points")]
#[doc(hidden)]
pub mod crash {
    use core::sync::atomic::{AtomicU64, Ordering};

    /// Operations still to be made; 0: it is not armed.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// From now on `operations` - 1 are made, and then the process dies; 0:
    /// it does not.
    pub fn arm(operations: u64) {
        LEFT.store(operations, Ordering::Relaxed);
    }

    pub(super) fn step() {
        let left = LEFT.load(Ordering::Relaxed);
        LEFT.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            std::process::abort();
        }
    }
}

#[cfg(not(feature = "crash-points"))]
mod crash {
    #[inline(always)]
    pub(super) const fn step() {}
}
