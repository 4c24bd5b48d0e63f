//! Slots of processes: for which generation a permit's owner counts.
//!
//! # Purpose
//! Says of a permit's owner that it is gone, in one load, and lets nobody who
//! is alive be declared dead.
//!
//! # State
//! One word per slot of the region: its generation. A process owns a slot
//! while it holds the lock on the slot's byte of the region's file
//! (`process`); slot 0 is nobody's.
//!
//! # Protocol
//! - *Register*: take the lock, then [`Slots::renew`] the generation. Both
//!   before the first permit is taken.
//! - *Judge*: load the generation; if it is the owner's, ask whether somebody
//!   holds the lock; if nobody does, CAS the generation to the next.
//!
//! # Invariants
//! - **S1** Nobody who is alive is judged dead: whoever registers holds the
//!   lock before there is a permit of its generation, and only owners of
//!   permits are judged. The CAS from the owner's generation voids no other.
//!   (`a_starting_process_is_not_judged_dead`)
//! - **S2** Whoever meets a permit sees a generation of its slot at least as
//!   new: it was published before the permit was.
//!
//! # Wrap-around
//! A slot has 16,384 generations, and slots are taken in turn: a permit that
//! nobody looked at through 16 million registrations may seem to be held by
//! the process that then has its slot.

use crate::sync::Word;
use crate::word::Owner;

/// The slots of a region.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a>(pub(crate) &'a [Word]);

impl Slots<'_> {
    /// Whether an owner's generation is over.
    #[inline(always)]
    pub(crate) fn is_void(self, owner: Owner) -> bool {
        // Acquire: pairs with the CAS of whoever renewed or voided it.
        let word = self.0.get(usize::from(owner.slot)).map(Word::load_acquire);
        word != Some(owner.generation.into())
    }

    /// Ends an owner's generation, unless it is over.
    #[cfg(any(feature = "std", test))]
    pub(crate) fn void(self, owner: Owner) {
        if let Some(word) = self.0.get(usize::from(owner.slot)) {
            let next = Owner::next_generation(owner.generation);
            word.cas(owner.generation.into(), next.into());
        }
    }

    /// Begins a generation by its number, in a slot that is this process's
    /// alone.
    #[cfg(feature = "std")]
    pub(crate) fn begin(self, slot: u16, number: u64) -> Option<Owner> {
        let word = self.0.get(usize::from(slot))?;
        // The one after a generation that fits.
        let generation = Owner::next_generation(number as u16);
        word.store_relaxed(generation.into());
        Some(Owner { slot, generation })
    }

    /// Begins a new generation of a slot, which ends the one before.
    #[cfg(any(feature = "std", test))]
    pub(crate) fn renew(self, slot: u16) -> Option<Owner> {
        let word = self.0.get(usize::from(slot))?;
        for _ in 0..crate::sync::TRIES {
            let found = word.load_acquire();
            let generation = Owner::next_generation(found as u16);
            if word.cas(found, generation.into()) {
                return Some(Owner { slot, generation });
            }
        }
        None
    }
}
