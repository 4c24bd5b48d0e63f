//! The table: from a key's hash to its record, without locks.
//!
//! # Purpose
//! Finds a key's record in one or two cache lines, gives an absent key one,
//! and takes a record back only when its window is empty.
//!
//! # State
//! A region has a number of *sets*; a set has up to 256 *ways*. A way is a
//! `tag` and a `head`, and has some cells: a window's ring, or permits. A set's
//! word `latest` names the insertion in progress or last done.
//!
//! | word | field | meaning |
//! |---|---|---|
//! | tag, latest | `fingerprint` | 42 bits of the key's hash, never 0 |
//! | | `way` | the way it speaks of |
//! | | `generation` | the way's generation for which it holds |
//!
//! A way belongs to a key if its tag has the key's fingerprint and its
//! generation is its head's. A tag of 0 was never used. A tag whose generation
//! is not its head's is *stale*: the way is free.
//!
//! # Protocol
//! - *Lookup*: probe linearly from the way that the hash names. A tag of 0
//!   ends the search; a stale tag does not.
//! - *Insert*:
//!   1. Load `latest`.
//!   2. Flush it: unless its way's tag is it already, CAS that tag from the
//!      value seen to `latest`, if `latest` is still the same.
//!   3. Look the key up again.
//!   4. Choose the first free way in probe order; if there is none, evict the
//!      first idle one.
//!   5. CAS `latest` from the value of step 1 to (key, way, generation); flush.
//! - *Evict*: load head; if the record is *idle*, CAS head to the next
//!   generation. A window is idle when its newest run lies more than the
//!   region's longest window back; its ring needs no clearing: an expired ring
//!   is an empty ring. When permits are, `permits` says.
//!
//! # Invariants
//! Each with the model (`tests/loom`) that fails when it is broken.
//!
//! - **T1** One key never has two ways: a set's insertions are serialised by
//!   `latest`, each after the one before it was flushed and after a lookup
//!   that followed the flush. (`two_threads_insert_one_key`, with three)
//! - **T2** One way never has two keys: a tag is written only by a flush of
//!   `latest`, from the exact value seen. (`two_keys_want_the_last_way`,
//!   `a_late_flush_meets_a_way_with_a_new_owner`)
//! - **T3** A key that still owes is never forgotten: any admission changes
//!   head, so the CAS that evicts fails. (`eviction_races_the_returning_owner`)
//! - **T4** Tags never become 0 again, so a search that ends at one, and at
//!   nothing else, has passed all ways the key could have.
//!   (`a_key_behind_a_freed_way_is_found`)
//!
//! # Broken on purpose
//! What `tests/mutants/run.py` broke, and a model that caught it:
//!
//! | broken | caught by |
//! |---|---|
//! | T1: insert without flushing the last; without a second lookup | `three_threads_insert_one_key` |
//! | T2: take a way without asking `latest` | `two_keys_want_the_last_way` |
//! | T2: flush what is no longer `latest` | `a_late_flush_meets_a_way_with_a_new_owner` |
//! | T3: evict who still owes | `a_key_that_owes_is_never_evicted` |
//! | T3: evict by a store; without a new generation | `eviction_races_the_returning_owner` |
//! | T4: end the search at a stale tag | `a_key_behind_a_freed_way_is_found` |
//!
//! # Progress
//! A lookup is wait-free. An insertion is lock-free but for one corner: in a
//! full set, insertions may evict each other's records before their first
//! admission; [`TRIES`] bounds it.
//!
//! # Wrap-around
//! A thread would have to sleep through 4,096 evictions of one way, each at
//! least a longest window after the one before, to mistake a generation: 68
//! hours with windows of a minute.
//!
//! # Limits
//! Two keys in one set with equal fingerprints share a limit: the chance is
//! 2^−42 a pair. A set overflows before the table does: with 256 ways to a set
//! and 76 % of all ways taken, one region of 22 for a million keys has a set
//! that cannot take all of its own (Poisson's law).

use crate::permits::{Judge, Permits};
use crate::sync::{Pause, TRIES, Word};
use crate::window::{LINE, Ring, Window};
use crate::word::{Head, Tag, evicted};

/// Ways of a set.
pub(crate) const WAYS: usize = 256;
/// Ways that share a cache line.
pub(crate) const WAYS_IN_LINE: u8 = 4;

const _: () = assert!(size_of::<Way>() * WAYS_IN_LINE as usize == 64 || cfg!(loom));

/// One record: who owns it, and its window's head.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) tag: Word,
    pub(crate) head: Word,
}

/// What the table needs of a key: both drawn from its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) fingerprint: u64,
    pub(crate) start: u8,
}

/// Where a key's record lies, for one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) way: u8,
    pub(crate) generation: u16,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// The key's record; `None`: every way belongs to a key that still owes.
    pub(crate) place: Option<Place>,
    /// Whether it was this call that gave it to the key.
    pub(crate) new: bool,
    /// Records taken back on the way, also by tries that lost a race.
    pub(crate) evicted: u32,
}

/// One set of the table.
#[derive(Clone, Copy)]
pub(crate) struct Set<'a> {
    latest: &'a Word,
    ways: &'a [Way],
    words: &'a [Word],
    cells: usize,
}

impl<'a> Set<'a> {
    /// `ways` has a power of two of ways, at most [`WAYS`]; `words` has `cells`
    /// for each.
    #[inline(always)]
    pub(crate) fn new(latest: &'a Word, ways: &'a [Way], words: &'a [Word], cells: usize) -> Self {
        debug_assert!(ways.len().is_power_of_two() && ways.len() <= WAYS);
        debug_assert!(Some(words.len()) == ways.len().checked_mul(cells));
        Self {
            latest,
            ways,
            words,
            cells,
        }
    }

    /// The ways in the order in which `key` is searched for.
    #[inline(always)]
    fn probe(&self, key: Key) -> impl Iterator<Item = (u8, &'a Way)> + use<'a> {
        let ways = self.ways;
        let mask = ways.len().wrapping_sub(1);
        (0..ways.len()).filter_map(move |step| {
            let way = usize::from(key.start).wrapping_add(step) & mask;
            ways.get(way).map(|found| (way as u8, found))
        })
    }

    #[inline(always)]
    fn way(&self, index: u8) -> Option<&'a Way> {
        let mask = self.ways.len().wrapping_sub(1);
        self.ways.get(usize::from(index) & mask)
    }

    /// The ring of a way. The first lines of all rings come first, then what
    /// remains of each.
    #[inline(always)]
    pub(crate) fn ring(&self, way: u8) -> Ring<'a> {
        let ways = self.ways.len();
        let way = usize::from(way) & ways.wrapping_sub(1);
        let part = |from: usize, len: usize| {
            let from = from.wrapping_add(way.wrapping_mul(len));
            self.words
                .get(from..from.wrapping_add(len))
                .unwrap_or_default()
        };
        let line = LINE as usize;
        Ring::new(
            part(0, line),
            part(ways.wrapping_mul(line), self.cells.wrapping_sub(line)),
        )
    }

    /// The window of a record.
    #[inline(always)]
    pub(crate) fn window(&self, place: Place) -> Option<Window<'a>> {
        let way = self.way(place.way)?;
        Some(Window::new(
            &way.head,
            self.ring(place.way),
            place.generation,
        ))
    }

    /// The permits of a record.
    #[inline(always)]
    pub(crate) fn permits(&self, place: Place) -> Option<Permits<'a>> {
        let head = &self.way(place.way)?.head;
        Some(Permits::new(
            head,
            self.permit_cells(place.way),
            place.generation,
        ))
    }

    /// The permits of a way, whosever they are.
    #[cfg(all(feature = "std", not(loom)))]
    pub(crate) fn permits_of(&self, way: u8) -> Option<Permits<'a>> {
        let head = &self.way(way)?.head;
        let generation = Head::unpack(head.load_acquire()).generation;
        Some(Permits::new(head, self.permit_cells(way), generation))
    }

    /// The cells of a way, where they are permits.
    #[inline(always)]
    pub(crate) fn permit_cells(&self, way: u8) -> &'a [Word] {
        let mask = self.ways.len().wrapping_sub(1);
        let from = (usize::from(way) & mask).wrapping_mul(self.cells);
        self.words
            .get(from..from.wrapping_add(self.cells))
            .unwrap_or_default()
    }

    /// The record of `key`, if it has one. Loads only.
    #[inline(always)]
    pub(crate) fn lookup(&self, key: Key) -> Option<Place> {
        for (index, way) in self.probe(key) {
            // Acquire: pairs with the CAS in `flush`.
            let word = way.tag.load_acquire();
            if word == 0 {
                return None;
            }
            let tag = Tag::unpack(word);
            if tag.fingerprint == key.fingerprint && owns(tag, way.head.load_acquire()) {
                return Some(Place {
                    way: index,
                    generation: tag.generation,
                });
            }
        }
        None
    }

    /// Gives `key` a window, evicting one that has been empty for longer than
    /// `longest` ticks at `now` if all are taken.
    #[cold]
    pub(crate) fn insert_window(&self, key: Key, now: u64, longest: u64) -> Inserted {
        self.insert(key, |way, found, word| {
            let head = Head::unpack(word);
            let newest =
                Window::new(&found.head, self.ring(way), head.generation).newest_time(head);
            newest.saturating_add(longest) <= now || newest == 0
        })
    }

    /// Gives `key` permits, evicting some that nobody holds if all are taken.
    #[cold]
    pub(crate) fn insert_permits(&self, key: Key, judge: &impl Judge) -> Inserted {
        self.insert(key, |way, found, word| {
            let generation = Head::unpack(word).generation;
            Permits::new(&found.head, self.permit_cells(way), generation).are_idle(judge)
        })
    }

    fn insert(&self, key: Key, idle: impl Fn(u8, &Way, u64) -> bool) -> Inserted {
        let pause = Pause::new();
        let mut evicted = 0_u32;
        for _ in 0..TRIES {
            // Acquire: pairs with the CAS of `latest` below. Whoever wrote it
            // had flushed the insertion before it.
            let latest = self.latest.load_acquire();
            self.flush(latest);
            if let Some(place) = self.lookup(key) {
                return Inserted {
                    place: Some(place),
                    new: false,
                    evicted,
                };
            }
            let place = self.free(key).or_else(|| {
                let place = self.evict(key, &idle)?;
                evicted = evicted.saturating_add(1);
                Some(place)
            });
            let Some(place) = place else {
                if self.latest.load_acquire() == latest {
                    break;
                }
                pause.lost();
                continue;
            };
            let tag = Tag {
                fingerprint: key.fingerprint,
                way: place.way,
                generation: place.generation,
            };
            if self.latest.cas(latest, tag.pack()) {
                self.flush(tag.pack());
                return Inserted {
                    place: Some(place),
                    new: true,
                    evicted,
                };
            }
            pause.lost();
        }
        Inserted {
            place: None,
            new: false,
            evicted,
        }
    }

    /// Finishes the insertion that `latest` speaks of, whoever began it.
    fn flush(&self, latest: u64) {
        if latest == 0 {
            return;
        }
        let Some(way) = self.way(Tag::unpack(latest).way) else {
            return;
        };
        let found = way.tag.load_acquire();
        // If `latest` is another by now, so may be the way's owner.
        if found != latest && self.latest.load_acquire() == latest {
            way.tag.cas(found, latest);
        }
    }

    fn free(&self, key: Key) -> Option<Place> {
        self.probe(key).find_map(|(way, found)| {
            let tag = found.tag.load_acquire();
            let head = found.head.load_acquire();
            (tag == 0 || !owns(Tag::unpack(tag), head)).then_some(Place {
                way,
                generation: Head::unpack(head).generation,
            })
        })
    }

    fn evict(&self, key: Key, idle: &impl Fn(u8, &Way, u64) -> bool) -> Option<Place> {
        self.probe(key).find_map(|(way, found)| {
            let tag = Tag::unpack(found.tag.load_acquire());
            let word = found.head.load_acquire();
            if !owns(tag, word) || !idle(way, found, word) {
                return None;
            }
            let freed = evicted(word);
            let generation = Head::unpack(freed).generation;
            found
                .head
                .cas(word, freed)
                .then_some(Place { way, generation })
        })
    }
}

/// Whether `tag` is the owner of the way whose head is `head`.
#[inline(always)]
fn owns(tag: Tag, head: u64) -> bool {
    tag.generation == Head::unpack(head).generation
}

#[cfg(all(test, loom))]
#[path = "../tests/loom/table.rs"]
mod models;

#[cfg(all(test, not(loom)))]
#[path = "../tests/property/table.rs"]
mod properties;
