//! The sliding window: a run-length log in one word and a ring.
//!
//! # Purpose
//! In any span of one window, never more than the limit is admitted, by
//! however many threads and processes, with one compare-and-swap per
//! admission and none per refusal.
//!
//! # State
//! Consecutive admissions inside one *quantum* (a power of two of
//! milliseconds) form a *run*. `head` is the only authority:
//!
//! | word | field | meaning |
//! |---|---|---|
//! | head | `generation` | whose record it is; another one: look the key up again |
//! | | `live` | runs not yet expired at the last commit, newest included; 0: seen empty |
//! | | `run` | number of the newest run; run *k* lies in cell *k* mod cells |
//! | | `count` | units ever admitted, mod 2^24 |
//! | cell | `time` | last tick of the run's quantum; 0: never used |
//! | | `start` | `count` when the run began |
//!
//! # Protocol
//! 1. Load head. Read the newest run's cell and step over expired runs from
//!    the oldest on: `used` is `count` minus the oldest live run's `start`.
//! 2. A window seen empty, whose newest run lies beyond the ring's first
//!    cache line, is *rewound*: CAS head to `live` 0. Which cell comes next
//!    is a function of head alone, and after a rewind it is the first line's:
//!    a quiet key keeps to two cache lines.
//! 3. No room: reload head; if it is unchanged, refuse. Loads only.
//! 4. The quantum's run is open: CAS head, `count + n`.
//! 5. Otherwise propose the new run, `(time, count)`, in the next cell by CAS
//!    from the value seen there, after head was seen unchanged; then commit it
//!    by a CAS of head. Somebody's proposal for this very run is adopted if it
//!    ends late enough, and committed as an empty run if it does not.
//!    Whoever commits a run judges expiry at a time no later than the run's.
//! 6. A run is due but no cell is left, because runs of a small limit's fine
//!    quanta are live under a greater limit: *fold* two neighbours that end in
//!    one coarse quantum. Lower the younger's `start` to the elder's, move all
//!    that is older up by one cell, youngest first, each by CAS from the value
//!    seen; then CAS head to one `live` less, and start again.
//!
//! # Invariants
//! Beside each stands the model that fails when it is broken (`tests/loom`,
//! run by `make loom`); `tests/mutants` breaks every one and checks that.
//!
//! - **I1** Only a CAS of head admits, and it validates all that was read
//!   since head was loaded: the cells of live runs do not change while head
//!   does not, but for what I6 says. The one other cell that may change,
//!   `next`, is never read as a run before it is committed.
//!   (`two_threads_race_for_the_last_unit`, `two_threads_lap_the_ring`)
//! - **I2** A run is committed only by a CAS of head whose count equals its
//!   start, and a proposal is replaced only by CAS from its exact value after
//!   head was seen unchanged: a committed run's start is true.
//!   (`three_threads_open_the_same_run`, `a_late_thread_meets_a_newer_run`,
//!   `a_proposal_from_before_a_rewind_is_dead`)
//! - **I3** A run is opened only where no live run lies, and `live` never
//!   exceeds cells − 1: the proposal's cell is outside what any caller,
//!   however late, may read as a run. (`a_late_caller_meets_a_full_ring`)
//! - **I4** A thread that dies after it proposed leaves a value that the next
//!   caller commits, replaces or ignores. (`a_proposer_dies`)
//! - **I5** Time is rounded up when recorded and down when expiry is judged,
//!   recorded times never decrease along the ring, and `live` was judged no
//!   later than the newest run's time.
//!   (`a_late_thread_meets_an_emptied_window`, `three_threads_spend_and_expire`,
//!   the properties)
//! - **I6** A fold only ever makes a live run's cell speak of older units, and
//!   at each of its steps the first cell that ends no earlier than a unit's
//!   run starts no later than the unit. A survey goes from old to young, so
//!   what it read as expired still is, and it counts all that has not expired;
//!   too much, at most to the end of the unit's coarse quantum. A fold left
//!   half done is two equal cells, which the next one finds first.
//!   (`two_threads_fold_a_full_ring`, `a_folder_dies`)
//!
//! # Broken on purpose
//! What `tests/mutants/run.py` broke, and a model that caught it:
//!
//! | broken | caught by |
//! |---|---|
//! | I1: refuse without reloading head | `two_threads_lap_the_ring` |
//! | I1: head loaded, or CAS made, Relaxed | nearly all |
//! | I2: adopt an older proposal; ignore proposals; charge an empty run | `a_late_thread_meets_a_newer_run` |
//! | I2: store over a cell; replace without reloading head | `a_late_thread_meets_a_newer_run` |
//! | I2: take up a proposal from before a rewind | `a_proposal_from_before_a_rewind_is_dead` |
//! | I3: fill the whole ring | `a_late_caller_meets_a_full_ring` |
//! | I3: open onto the newest run's cell | `two_threads_open_the_first_run` |
//! | I5: forget that time passed | `a_late_thread_meets_an_emptied_window` |
//! | I5: round time down; expire a tick early | `a_late_thread_meets_a_newer_run` |
//! | I5: judge an empty run's expiry by the helper's time | `three_threads_spend_and_expire` |
//! | I6: fold without lowering; without moving; head before the cells | `two_threads_fold_a_full_ring` |
//! | I6: fold by store | `a_late_folder_meets_newer_runs` |
//! | I6: fold across quanta | `a_ring_without_neighbours_is_full` |
//! | keep using an evicted record | `eviction_races_the_returning_owner` (table) |
//!
//! # Progress
//! Lock-free: a CAS fails only because another thread's succeeded. A caller
//! that lost [`TRIES`] races gives up with [`Answer::Contended`].
//!
//! # Wrap-around
//! `count` is compared on its circle, and limits are at most half of it.
//! A CAS of head could mistake an old head for a new one only if its caller
//! slept through a multiple of 2^24 units that is also a multiple of 2^18
//! runs, of which a window has at most cells − 1.
//!
//! # Limits
//! Time ends 34.8 years after the epoch: then windows stay closed. A caller
//! more than a window late may find its run stamped later than it asked (its
//! expired proposal was replaced), which is stricter. A clock that steps back
//! closes windows for as long, never opens them. A limit raised from exact
//! times to quanta may find its old units leave at their quantum's end.

use crate::limit::Policy;
use crate::sync::{Pause, TRIES, Word};
use crate::time::{SPARE_CELLS, coarse_quantum, quantum_end};
use crate::word::{Cell, Head, count_between, run_after};

/// Cells in a cache line. Models shrink it with their rings.
pub(crate) const LINE: u32 = if cfg!(loom) { 2 } else { 8 };

/// A policy made ready for a ring of given size: lengths in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    limit: u32,
    window: u64,
    /// log2 of the quantum into which this policy's times are rounded up.
    quantum: u32,
    /// log2 of the greatest quantum that any limit has with this window.
    greatest_quantum: u32,
    /// Ticks added to recorded times to make up for an imprecise clock.
    slack: u64,
}

impl Rules {
    #[inline(always)]
    pub(crate) const fn new(policy: Policy, cells: u32, slack: u64) -> Self {
        let window = policy.window_ms() as u64;
        let coarse = coarse_quantum(window.saturating_add(slack), cells);
        let exact = policy.limit() <= cells.saturating_sub(SPARE_CELLS);
        Self {
            limit: policy.limit(),
            window,
            quantum: if exact { 0 } else { coarse },
            greatest_quantum: coarse,
            slack,
        }
    }

    #[inline(always)]
    const fn expires(&self, cell: Cell) -> u64 {
        cell.time.saturating_add(self.window)
    }

    /// Whether two runs end in one of the greatest quanta.
    const fn one_quantum(&self, a: Cell, b: Cell) -> bool {
        quantum_end(a.time, self.greatest_quantum) == quantum_end(b.time, self.greatest_quantum)
    }
}

/// What the window said, as of one value of head. Times are ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Units in the window, after the admission if there was one.
    pub(crate) used: u32,
    /// Admitted: when the oldest unit leaves, 0 if there is none. Refused:
    /// when the same request would be admitted.
    pub(crate) at: u64,
    /// Admitted: the time recorded for it.
    #[cfg(test)]
    pub(crate) stamp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Admitted(Reading),
    Refused(Reading),
    /// The record was evicted: look the key up again.
    Gone,
    /// [`TRIES`] races lost.
    Contended,
}

/// What head and its live runs say at one moment.
#[derive(Clone, Copy)]
struct Survey {
    head: Head,
    newest: Cell,
    oldest: Cell,
    /// The caller's time, never before what is already recorded.
    now: u64,
    /// Runs live at `now`; 0: the window is empty.
    live: u32,
    used: u32,
    /// The run a proposal would open.
    next: u32,
}

enum Verdict {
    Join,
    Open(u64),
    Refuse(u64),
}

/// A ring's cells: the first line apart from the rest, because those of quiet
/// keys need no more and lie closer together without it.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'a> {
    front: &'a [Word],
    rest: &'a [Word],
}

impl<'a> Ring<'a> {
    /// `front` has [`LINE`] cells, and both together have a power of two.
    #[inline(always)]
    pub(crate) fn new(front: &'a [Word], rest: &'a [Word]) -> Self {
        debug_assert!(front.len() == LINE as usize);
        debug_assert!(front.len().wrapping_add(rest.len()).is_power_of_two());
        Self { front, rest }
    }

    #[cfg(test)]
    pub(crate) fn whole(cells: &'a [Word]) -> Self {
        let (front, rest) = cells.split_at(LINE as usize);
        Self::new(front, rest)
    }

    /// One less than the number of cells.
    #[inline(always)]
    fn mask(&self) -> u32 {
        let cells = self.front.len().wrapping_add(self.rest.len());
        (cells as u32).wrapping_sub(1)
    }

    #[inline(always)]
    fn cell(&self, run: u32) -> Option<&'a Word> {
        let index = run & self.mask();
        match index.checked_sub(LINE) {
            None => self.front.get(index as usize),
            Some(index) => self.rest.get(index as usize),
        }
    }
}

/// One record's window.
#[derive(Clone, Copy)]
pub(crate) struct Window<'a> {
    head: &'a Word,
    ring: Ring<'a>,
    generation: u16,
}

impl<'a> Window<'a> {
    #[inline(always)]
    pub(crate) fn new(head: &'a Word, ring: Ring<'a>, generation: u16) -> Self {
        Self {
            head,
            ring,
            generation,
        }
    }

    #[inline(always)]
    fn mask(&self) -> u32 {
        self.ring.mask()
    }

    #[inline(always)]
    fn slot(&self, run: u32) -> &'a Word {
        // A ring has all its cells; `head` stands in for the proof of it.
        self.ring.cell(run).unwrap_or(self.head)
    }

    /// Acquire: pairs with the CAS that proposed or committed this cell; what
    /// its writer knew of head is then not newer than our later reload of it.
    #[inline(always)]
    fn cell(&self, run: u32) -> Cell {
        Cell::unpack(self.slot(run).load_acquire())
    }

    /// Admits `n` units at `now`, or says when it would. `n` is at most the
    /// limit: more is an error of the caller's that it has already answered.
    #[inline(always)]
    pub(crate) fn acquire(&self, n: u32, rules: &Rules, now: u64) -> Answer {
        let pause = Pause::new();
        for _ in 0..TRIES {
            // Acquire: pairs with the CAS that committed this head, so its
            // runs' cells are visible.
            let word = self.head.load_acquire();
            let head = Head::unpack(word);
            if head.generation != self.generation {
                return Answer::Gone;
            }
            let seen = self.survey(head, rules, now);
            match self.verdict(&seen, n, rules) {
                Verdict::Join => {
                    let joined = Head {
                        live: seen.live,
                        count: head.count.wrapping_add(n),
                        ..head
                    };
                    if self.head.cas(word, joined.pack()) {
                        return Answer::Admitted(Reading {
                            used: seen.used.saturating_add(n),
                            at: rules.expires(seen.oldest),
                            #[cfg(test)]
                            stamp: seen.newest.time,
                        });
                    }
                }
                Verdict::Open(time) => {
                    if let Some(time) = self.open(word, &seen, n, time, rules) {
                        let opened = Cell { time, start: 0 };
                        return Answer::Admitted(Reading {
                            used: seen.used.saturating_add(n),
                            at: rules.expires(if seen.live == 0 { opened } else { seen.oldest }),
                            #[cfg(test)]
                            stamp: self.cell(seen.next).time,
                        });
                    }
                }
                Verdict::Refuse(at) => {
                    if self.head.load_acquire() == word {
                        return Answer::Refused(Reading {
                            used: seen.used,
                            at,
                            #[cfg(test)]
                            stamp: 0,
                        });
                    }
                }
            }
            pause.lost();
        }
        Answer::Contended
    }

    /// Whether [`Window::acquire`] would admit `n` units at `now`. Writes
    /// nothing; `used` does not count the `n`.
    pub(crate) fn peek(&self, n: u32, rules: &Rules, now: u64) -> Answer {
        let pause = Pause::new();
        for _ in 0..TRIES {
            let word = self.head.load_acquire();
            let head = Head::unpack(word);
            if head.generation != self.generation {
                return Answer::Gone;
            }
            let seen = self.survey(head, rules, now);
            let verdict = self.verdict(&seen, n, rules);
            if self.head.load_acquire() == word {
                let reading = |at| Reading {
                    used: seen.used,
                    at,
                    #[cfg(test)]
                    stamp: 0,
                };
                return match verdict {
                    Verdict::Refuse(at) => Answer::Refused(reading(at)),
                    _ if seen.live == 0 => Answer::Admitted(reading(0)),
                    _ => Answer::Admitted(reading(rules.expires(seen.oldest))),
                };
            }
            pause.lost();
        }
        Answer::Contended
    }

    /// The tick at which the newest run was recorded, as of `head`; 0: never
    /// used. For eviction, whose CAS of head validates it.
    pub(crate) fn newest_time(&self, head: Head) -> u64 {
        self.cell(head.run).time
    }

    #[inline(always)]
    fn survey(&self, head: Head, rules: &Rules, now: u64) -> Survey {
        let newest = self.cell(head.run);
        // Time never runs backwards. A live run was opened by a call that read
        // its clock at most a quantum and the slack before the run's end; the
        // quantum may have been another limit's, so the greatest is assumed.
        // `live` 0 proves that the newest run had expired.
        let floor = if head.live > 0 {
            newest
                .time
                .saturating_add(1)
                .saturating_sub((1_u64 << rules.greatest_quantum).saturating_add(rules.slack))
        } else if newest.time > 0 {
            rules.expires(newest)
        } else {
            0
        };
        let now = if now < floor { floor } else { now };
        let mut seen = Survey {
            head,
            newest,
            oldest: newest,
            now,
            live: 0,
            used: 0,
            next: run_after(head.run, 1),
        };
        if head.live == 0 {
            // After an empty window: the ring's first line, never the newest
            // run's own cell, whose time still counts.
            let mask = self.mask();
            let in_first_cell = u32::from(head.run & mask == 0);
            seen.next = run_after(head.run | mask, 1_u32.wrapping_add(in_first_cell));
        } else if rules.expires(newest) > now {
            let mut live = head.live;
            let mut run = run_after(head.run, 1_u32.wrapping_sub(live));
            let mut oldest = if live > 1 { self.cell(run) } else { newest };
            while live > 1 && rules.expires(oldest) <= now {
                live = live.wrapping_sub(1);
                run = run_after(run, 1);
                oldest = self.cell(run);
            }
            seen.live = live;
            seen.oldest = oldest;
            seen.used = count_between(oldest.start, head.count);
        }
        seen
    }

    #[inline(always)]
    fn verdict(&self, seen: &Survey, n: u32, rules: &Rules) -> Verdict {
        if seen.used.saturating_add(n) > rules.limit {
            return Verdict::Refuse(self.frees(*seen, n, *rules));
        }
        let time = quantum_end(seen.now.saturating_add(rules.slack), rules.quantum);
        if seen.live > 0 && time <= seen.newest.time {
            return Verdict::Join;
        }
        // No cell can be had, or time has come to its end.
        if self.is_full(seen) && self.neighbours(*seen, *rules).is_none() || time > Cell::LAST_TIME
        {
            return Verdict::Refuse(rules.expires(seen.oldest));
        }
        Verdict::Open(time)
    }

    /// Whether a run more would leave no cell outside the live ones (I3).
    #[inline(always)]
    fn is_full(&self, seen: &Survey) -> bool {
        seen.live >= self.mask()
    }

    /// The younger of the oldest two neighbouring live runs that end in one of
    /// the greatest quanta. A window touches at most cells − 3 of those, so in
    /// a full ring there are some, whatever the limits were: `None` is for
    /// damaged regions, and for the small rings of models.
    #[cold]
    fn neighbours(&self, seen: Survey, rules: Rules) -> Option<u32> {
        // A full ring has no expired run, unless it is damaged.
        if seen.head.live != seen.live {
            return None;
        }
        let mut run = run_after(seen.head.run, 1_u32.wrapping_sub(seen.live));
        let mut elder = seen.oldest;
        for _ in 1..seen.live {
            run = run_after(run, 1);
            let younger = self.cell(run);
            if rules.one_quantum(elder, younger) {
                return Some(run);
            }
            elder = younger;
        }
        None
    }

    /// Step 6: makes one cell free in a full ring, or helps or loses.
    #[cold]
    fn fold(&self, word: u64, seen: Survey, rules: Rules) -> Option<()> {
        let head = seen.head;
        let oldest = run_after(head.run, 1_u32.wrapping_sub(head.live));
        let mut run = self.neighbours(seen, rules)?;
        let mut found = self.cell(run);
        let mut elder = self.cell(run_after(run, u32::MAX));
        if !rules.one_quantum(elder, found) {
            return None;
        }
        let mut put = Cell {
            start: elder.start,
            ..found
        };
        loop {
            if put != found && !self.slot(run).cas(found.pack(), put.pack()) {
                return None;
            }
            run = run_after(run, u32::MAX);
            if run == oldest {
                break;
            }
            found = elder;
            elder = self.cell(run_after(run, u32::MAX));
            put = elder;
        }
        let folded = Head {
            live: head.live.wrapping_sub(1),
            ..head
        };
        self.head.cas(word, folded.pack()).then_some(())
    }

    /// When enough of the live runs have expired to make room for `n`.
    #[cold]
    fn frees(&self, seen: Survey, n: u32, rules: Rules) -> u64 {
        let mut run = run_after(seen.head.run, 1_u32.wrapping_sub(seen.live));
        let mut cell = seen.oldest;
        for _ in 1..seen.live {
            run = run_after(run, 1);
            let after = self.cell(run);
            let left = count_between(after.start, seen.head.count);
            if left.saturating_add(n) <= rules.limit {
                return rules.expires(cell);
            }
            cell = after;
        }
        rules.expires(cell)
    }

    /// Steps 2 and 5: opens the run that ends at `time` with `n` units and
    /// returns the time it got, or returns `None` after a step that helped or
    /// lost, to be tried again.
    #[inline(always)]
    fn open(&self, word: u64, seen: &Survey, n: u32, time: u64, rules: &Rules) -> Option<u64> {
        let head = seen.head;
        if self.is_full(seen) {
            self.fold(word, *seen, *rules);
            return None;
        }
        let emptied = head.live > 0 && seen.live == 0;
        if emptied && head.run & self.mask() >= LINE.wrapping_sub(1) {
            self.head.cas(word, Head { live: 0, ..head }.pack());
            return None;
        }
        let slot = self.slot(seen.next);
        let found = slot.load_acquire();
        let proposal = Cell::unpack(found);
        // A proposal from before a rewind can lie in the cell that follows it;
        // its proposer's head is gone, and nobody may take it up.
        let earliest = if head.live > 0 || seen.newest.time == 0 {
            seen.newest.time.saturating_add(1)
        } else {
            rules.expires(seen.newest)
        };
        let same_run = proposal.start == head.count
            && proposal.time >= earliest
            && rules.expires(proposal) > seen.now;
        if same_run {
            if proposal.time >= time {
                return self.commit(word, seen, n).then_some(proposal.time);
            }
            self.commit_empty(word, head, proposal, *rules);
            return None;
        }
        // `found` may be newer than our head. Unless head is unchanged, the
        // cell may meanwhile hold a committed run.
        if self.head.load_acquire() != word {
            return None;
        }
        let run = Cell {
            time,
            start: head.count,
        };
        (slot.cas(found, run.pack()) && self.commit(word, seen, n)).then_some(time)
    }

    /// Makes the proposed run the newest one, with `n` units.
    #[inline(always)]
    fn commit(&self, word: u64, seen: &Survey, n: u32) -> bool {
        let committed = Head {
            live: seen.live.wrapping_add(1),
            run: seen.next,
            count: seen.head.count.wrapping_add(n),
            ..seen.head
        };
        self.head.cas(word, committed.pack())
    }

    /// Commits somebody's proposal that ends too early for us, without units.
    /// Expiry is judged at its time, not at ours: a late caller may still join
    /// it, and what it then finds expired must be so at the time recorded.
    #[cold]
    fn commit_empty(&self, word: u64, head: Head, proposal: Cell, rules: Rules) {
        let then = self.survey(head, &rules, proposal.time);
        if self.is_full(&then) {
            self.fold(word, then, rules);
        } else {
            self.commit(word, &then, 0);
        }
    }
}

#[cfg(all(test, loom))]
#[path = "../tests/loom/window.rs"]
mod models;

#[cfg(all(test, not(loom)))]
#[path = "../tests/property/window.rs"]
mod properties;
