//! Permits: requests in flight, counted so that no crash leaks one.
//!
//! # Purpose
//! At most `max` permits of a key and class are held at once. One that its
//! owner never gave back is free as soon as the owner is dead, without anybody
//! having to repair anything.
//!
//! # State
//! There is no counter: a counter cannot be repaired. A record has cells, and
//! a permit is a cell that is taken.
//!
//! | word | field | meaning |
//! |---|---|---|
//! | head | `generation` | whose record it is; another one: look the key up again |
//! | | `top` | no cell from this one on was taken in this generation |
//! | | `stamp` | one more with every permit taken |
//! | cell | `owner` | the slot of the process that holds it, and the slot's generation; slot 0: free |
//! | | `record` | low bits of the head's generation when it was taken |
//! | | `seq` | one more each time the cell is taken; kept when it is freed |
//! | | `deadline` | when its lease ends; 0: it has none |
//!
//! A cell is *stale* if its owner is dead, its lease has ended, or its record
//! is not the head's: then it was being taken while the record was evicted,
//! and its taker is about to free it. Stale cells are as good as free.
//!
//! # Protocol
//! - *Acquire*:
//!   1. Load head. If `top` is below `max`, CAS it to `max`.
//!   2. The first `bound` cells are ours to take from: `max` of them, or
//!      fewer, so that with all that are held beyond there are no more than
//!      `max`. Only after a limit was lowered is there anything beyond.
//!   3. CAS the first free one of them, or else the first stale one, from the
//!      value seen to ours; a stale one only after head's generation was seen
//!      to be ours still, or a later owner's permits would seem stale.
//!   4. Add 1 to `stamp`. If the generation that was there is not ours, the
//!      record was evicted meanwhile: free the cell and look the key up again.
//!      If `top` is above our limit and head was not what we loaded, somebody
//!      may have taken what our bound does not count: free the cell and start
//!      again.
//!   5. None was free or stale: read all cells below `top` twice. If both
//!      readings are the same and `max` are held, answer *busy*.
//! - *Release*: CAS the cell from the permit's value to free.
//! - *Evict*: load head; read all cells; if each is free or stale, CAS head to
//!   the next generation (`table`).
//!
//! # Invariants
//! Each with the model (`tests/loom`) that fails when it is broken.
//!
//! - **M1** A cell is held by one permit: it is taken by a CAS from a value
//!   that was free or stale. (`two_threads_want_the_last_permit`)
//! - **M2** Never more than `max`: whoever takes a cell by `max` leaves no
//!   more than that many held. With the greatest limit so far there is nothing
//!   beyond it, and with a lower one nothing was taken since head was loaded.
//!   (`a_lowered_limit_counts_what_is_beyond_it`,
//!   `a_greater_limit_comes_while_somebody_takes`)
//! - **M3** Busy is true: no cell changed between the two readings, for `seq`
//!   would have, so at the moment between them `max` were held.
//!   (`a_release_and_an_acquisition_are_not_busy`,
//!   `a_reading_that_mixes_two_moments_is_taken_again`)
//! - **M4** No permit is lost to an eviction: taking one changes head, so the
//!   CAS that evicts fails, or comes first and is seen.
//!   (`eviction_races_an_acquisition`)
//! - **M5** Only the holder's own permit is freed: a release is a CAS from the
//!   permit's whole value. (`a_permit_is_released_twice`,
//!   `a_late_release_meets_a_new_holder`)
//!
//! # Broken on purpose
//! What `tests/mutants/run.py` broke, and a model that caught it:
//!
//! | broken | caught by |
//! |---|---|
//! | M1: take by a store | `two_threads_want_the_last_permit` |
//! | M2: ignore what is held beyond a lowered limit | `a_lowered_limit_counts_what_is_beyond_it` |
//! | M2: keep a permit by a lower limit when head has changed | `a_greater_limit_comes_while_somebody_takes` |
//! | M3: busy after one reading | `a_reading_that_mixes_two_moments_is_taken_again` |
//! | M3, M5: take a cell without a new `seq` | `a_late_release_meets_a_new_holder` |
//! | M4: take without a stamp; keep a cell of an evicted record | `eviction_races_an_acquisition` |
//! | M4: take from a later owner | `eviction_races_an_acquisition` |
//! | M4: evict while permits are held | `eviction_races_an_acquisition` |
//! | M5: release by a store; forget `seq` when freeing | `a_late_release_meets_a_new_holder` |
//!
//! # Progress
//! Lock-free. A release is wait-free.
//!
//! # Wrap-around
//! A permit that was given back, and is given back again after the cell was
//! taken 16,384 times more by the same process, frees somebody else's. A lease
//! must be shorter than a day, and is told from one to come for 24 days.
//!
//! # Limits
//! Where callers differ in `max` at the same time, a permit may be held for a
//! moment and given up, and be the one too many for somebody else in it.
//! A process that is stopped still has its requests in flight: its permits
//! stay. Whoever may write the region may forge permits.

use crate::sync::{Pause, TRIES, Word};
use crate::word::{MAX_PERMIT_CELLS, Owner, PermitCell, PermitHead};

/// What is known of owners and of time.
pub(crate) trait Judge {
    /// Whether an owner is dead. May ask the system.
    fn is_dead(&self, owner: Owner) -> bool;
    /// Whether an owner is known to be dead. Asks nobody.
    fn is_void(&self, owner: Owner) -> bool;
    /// The second that the region's clock shows.
    fn second(&self) -> u64;
}

/// A permit that was taken: its cell and the cell's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) cell: u8,
    pub(crate) word: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Held(Taken),
    /// So many are held, at least as many as may be.
    Busy(u32),
    /// The record was evicted: look the key up again.
    Gone,
    /// [`TRIES`] races lost.
    Contended,
}

/// What a permit is asked for with.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) owner: Owner,
    /// At most the record's cells.
    pub(crate) max: u32,
    /// As [`PermitCell::deadline_at`] says; 0: no lease.
    pub(crate) deadline: u32,
}

/// Head as it was loaded, and how many cells may be taken from by it.
#[derive(Clone, Copy)]
struct Seen {
    word: u64,
    bound: u32,
}

/// Gives a cell's permit back; `false` if the cell holds another value by now.
#[inline(always)]
pub(crate) fn release(cell: &Word, word: u64) -> bool {
    cell.cas(word, PermitCell::freed(word))
}

/// One record's permits.
#[derive(Clone, Copy)]
pub(crate) struct Permits<'a> {
    head: &'a Word,
    cells: &'a [Word],
    generation: u16,
}

impl<'a> Permits<'a> {
    #[inline(always)]
    pub(crate) fn new(head: &'a Word, cells: &'a [Word], generation: u16) -> Self {
        debug_assert!(cells.len() <= MAX_PERMIT_CELLS as usize);
        Self {
            head,
            cells,
            generation,
        }
    }

    /// Takes a permit, or says that none is to be had.
    #[inline(always)]
    pub(crate) fn acquire(&self, ask: Ask, judge: &impl Judge) -> Answer {
        let pause = Pause::new();
        for _ in 0..TRIES {
            // Acquire: pairs with the addition to this head, so the cells of
            // permits taken before are visible.
            let word = self.head.load_acquire();
            let head = PermitHead::unpack(word);
            if head.generation != self.generation {
                return Answer::Gone;
            }
            if head.top < ask.max {
                let top = ask.max;
                self.head.cas(word, PermitHead { top, ..head }.pack());
                continue;
            }
            let bound = if head.top == ask.max {
                ask.max
            } else {
                self.bound(ask.max, head.top, judge)
            };
            let seen = Seen { word, bound };
            for (index, cell) in self.first(bound).iter().enumerate() {
                let found = cell.load_acquire();
                if PermitCell::unpack(found).is_free()
                    && let Some(answer) = self.take(index as u8, cell, found, ask, seen)
                {
                    return answer;
                }
            }
            if let Some(answer) = self.crowded(ask, seen, judge) {
                return answer;
            }
            pause.lost();
        }
        Answer::Contended
    }

    #[inline(always)]
    fn first(&self, cells: u32) -> &'a [Word] {
        self.cells.get(..cells as usize).unwrap_or(self.cells)
    }

    /// Steps 3 and 4; `None` if the cell is no longer what was found, or what
    /// was seen of head no longer holds.
    #[inline(always)]
    fn take(&self, index: u8, cell: &Word, found: u64, ask: Ask, seen: Seen) -> Option<Answer> {
        let taken = PermitCell {
            owner: ask.owner,
            record: PermitCell::record_of(self.generation),
            seq: PermitCell::unpack(found).seq.wrapping_add(1),
            deadline: ask.deadline,
        };
        let word = taken.pack();
        if !cell.cas(found, word) {
            return None;
        }
        let added = self.head.add(1);
        let before = PermitHead::unpack(added);
        if before.generation != self.generation {
            release(cell, word);
            return Some(Answer::Gone);
        }
        // With the greatest limit there is, others may take as well.
        if before.top != ask.max && added != seen.word {
            release(cell, word);
            return None;
        }
        Some(Answer::Held(Taken { cell: index, word }))
    }

    /// Whether the record is still the one looked up.
    fn is_current(&self) -> bool {
        PermitHead::unpack(self.head.load_acquire()).generation == self.generation
    }

    /// How many of the first cells may be taken from: the greatest number that
    /// makes no more than `max` with what is held beyond them.
    #[cold]
    fn bound(&self, max: u32, top: u32, judge: &impl Judge) -> u32 {
        let mut bound = top.min(self.cells.len() as u32);
        let mut beyond = 0_u32;
        for cell in self.first(top).iter().rev() {
            if bound.saturating_add(beyond) <= max {
                break;
            }
            let held = self.is_held(cell.load_acquire(), judge);
            beyond = beyond.saturating_add(held.into());
            bound = bound.saturating_sub(1);
        }
        bound
    }

    /// Step 3 for stale cells, and step 5; `None`: something has changed.
    #[cold]
    fn crowded(&self, ask: Ask, seen: Seen, judge: &impl Judge) -> Option<Answer> {
        for (index, cell) in self.first(seen.bound).iter().enumerate() {
            let found = cell.load_acquire();
            if !self.is_held(found, judge) {
                // Of another record it may also be because ours was evicted.
                if !self.is_current() {
                    return Some(Answer::Gone);
                }
                return self.take(index as u8, cell, found, ask, seen);
            }
        }
        let cells = self.first(PermitHead::unpack(seen.word).top);
        // What is refused should be refused soon: room for the usual number of
        // cells is cleared sooner than for the greatest.
        let held = match cells.len() {
            0..=16 => self.steady::<16>(cells, judge),
            _ => self.steady::<{ MAX_PERMIT_CELLS as usize }>(cells, judge),
        };
        held.filter(|&held| held >= ask.max)
            .map(|held| match self.is_current() {
                true => Answer::Busy(held),
                false => Answer::Gone,
            })
    }

    /// How many of `cells`, at most `N`, are held; `None`: two readings differ.
    fn steady<const N: usize>(&self, cells: &[Word], judge: &impl Judge) -> Option<u32> {
        let mut seen = [0; N];
        let mut held = 0_u32;
        for (cell, seen) in cells.iter().zip(&mut seen) {
            *seen = cell.load_acquire();
            held = held.saturating_add(self.is_held(*seen, judge).into());
        }
        // Acquire, each: the second reading is after the first.
        let same = |(cell, &seen): (&Word, &u64)| cell.load_acquire() == seen;
        cells.iter().zip(&seen).all(same).then_some(held)
    }

    /// Whether a cell with this value is neither free nor stale.
    fn is_held(&self, word: u64, judge: &impl Judge) -> bool {
        self.counts(word, judge) && !judge.is_dead(PermitCell::unpack(word).owner)
    }

    /// As [`Permits::is_held`], as far as it is known without asking.
    fn counts(&self, word: u64, judge: &impl Judge) -> bool {
        let cell = PermitCell::unpack(word);
        !cell.is_free()
            && cell.record == PermitCell::record_of(self.generation)
            && !judge.is_void(cell.owner)
            && (cell.deadline == 0 || !cell.has_ended(judge.second()))
    }

    /// Permits held, each as of its own reading; `None`: the record was
    /// evicted. A dead owner counts until somebody wants its permit.
    pub(crate) fn in_flight(&self, judge: &impl Judge) -> Option<u32> {
        let head = PermitHead::unpack(self.head.load_acquire());
        if head.generation != self.generation {
            return None;
        }
        let cells = self.first(head.top).iter();
        let held = cells.filter(|cell| self.counts(cell.load_acquire(), judge));
        let held = held.count() as u32;
        self.is_current().then_some(held)
    }

    /// Whether nobody holds any of the permits. For eviction, whose CAS of
    /// head validates it.
    pub(crate) fn are_idle(&self, judge: &impl Judge) -> bool {
        let held = |cell: &Word| self.is_held(cell.load_acquire(), judge);
        !self.cells.iter().any(held)
    }
}

#[cfg(all(test, loom))]
#[path = "../tests/loom/permits.rs"]
mod models;

#[cfg(all(test, not(loom)))]
#[path = "../tests/property/permits.rs"]
mod properties;
