//! Models of the permits: a few threads of a few processes on one record, in
//! every interleaving. What no interleaving may show is that more than `max`
//! hold a permit at once, that a permit is refused though there is one, or
//! that one is left over when all have been given back.

use super::*;
use crate::slots::Slots;
use crate::word::evicted;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

const CELLS: usize = 3;
const SLOTS: usize = 4;

/// One record, and processes whose locks are words: 1 while held.
struct Model {
    head: Word,
    cells: Vec<Word>,
    slots: Vec<Word>,
    locks: Vec<Word>,
    /// Permits that somebody holds, as they see it.
    holders: Word,
    second: u64,
    /// What a thread is to remember from before it ran.
    note: Word,
}

impl Judge for Model {
    fn is_dead(&self, owner: Owner) -> bool {
        if self.is_void(owner) {
            return true;
        }
        let dead = self.locks[usize::from(owner.slot)].load_acquire() == 0;
        if dead {
            Slots(&self.slots).void(owner);
        }
        dead
    }

    fn is_void(&self, owner: Owner) -> bool {
        Slots(&self.slots).is_void(owner)
    }

    fn second(&self) -> u64 {
        self.second
    }
}

impl Model {
    fn new() -> Self {
        let words = |count| (0..count).map(|_| Word::new(0)).collect();
        Self {
            head: Word::new(0),
            cells: words(CELLS),
            slots: words(SLOTS),
            locks: (0..SLOTS).map(|_| Word::new(1)).collect(),
            holders: Word::new(0),
            second: 100,
            note: Word::new(0),
        }
    }

    fn permits(&self, generation: u16) -> Permits<'_> {
        Permits::new(&self.head, &self.cells, generation)
    }

    fn acquire(&self, owner: Owner, max: u32) -> Answer {
        let ask = Ask {
            owner,
            max,
            deadline: 0,
        };
        self.permits(0).acquire(ask, self)
    }

    fn held(&self, owner: Owner, max: u32) -> Taken {
        match self.acquire(owner, max) {
            Answer::Held(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn release(&self, taken: Taken) -> bool {
        release(&self.cells[usize::from(taken.cell)], taken.word)
    }

    /// Counts itself among the holders, who must not be more than `max`.
    fn enter(&self, max: u64) {
        let before = self.holders.add(1);
        assert!(before < max, "{} held of {max}", before + 1);
    }

    fn leave(&self) {
        self.holders.add(u64::MAX);
    }

    fn all_are_free(&self, generation: u16) -> bool {
        self.permits(generation).are_idle(self)
    }
}

const fn process(slot: u16) -> Owner {
    Owner {
        slot,
        generation: 0,
    }
}

/// Runs each of `threads` on a model that `before` has prepared, then `after`.
fn check(before: fn(&Model), threads: &'static [fn(&Model)], after: fn(&Model)) {
    let mut explorer = Builder::new();
    if threads.len() > 2 {
        // Three threads that scan all cells: one preemption less ends soon.
        explorer.preemption_bound = explorer.preemption_bound.map(|bound| bound - 1);
    }
    explorer.check(move || {
        let model = Arc::new(Model::new());
        before(&model);
        let handles: Vec<_> = threads
            .iter()
            .map(|&run| {
                let model = model.clone();
                thread::spawn(move || run(&model))
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        after(&model);
    });
}

fn nothing(_: &Model) {}

fn come_and_go(model: &Model, slot: u16, max: u32) {
    match model.acquire(process(slot), max) {
        Answer::Held(taken) => {
            model.enter(max.into());
            model.leave();
            assert!(model.release(taken));
        }
        Answer::Busy(held) => assert!(held >= max),
        other => panic!("{other:?}"),
    }
}

fn all_free(model: &Model) {
    assert!(model.all_are_free(0));
    assert_eq!(model.permits(0).in_flight(model), Some(0));
    for cell in &model.cells {
        assert!(PermitCell::unpack(cell.load_acquire()).is_free());
    }
}

#[test]
fn two_threads_want_the_last_permit() {
    check(
        nothing,
        &[|m| come_and_go(m, 1, 1), |m| come_and_go(m, 2, 1)],
        all_free,
    );
    check(
        |m| {
            m.held(process(3), 2);
            m.enter(2);
        },
        &[|m| come_and_go(m, 1, 2), |m| come_and_go(m, 1, 2)],
        |m| assert_eq!(m.permits(0).in_flight(m), Some(1)),
    );
}

#[test]
fn three_threads_want_two_permits() {
    check(
        nothing,
        &[
            |m| come_and_go(m, 1, 2),
            |m| come_and_go(m, 2, 2),
            |m| come_and_go(m, 3, 2),
        ],
        all_free,
    );
}

/// One permit of two wanders from cell to cell and there is always another: a
/// caller who sees each cell taken in its turn must not be told it is busy.
#[test]
fn a_release_and_an_acquisition_are_not_busy() {
    check(
        |m| {
            m.held(process(1), 2);
        },
        &[
            |m| {
                let first = Taken {
                    cell: 0,
                    word: m.cells[0].load_acquire(),
                };
                let second = m.held(process(1), 3);
                assert!(m.release(first));
                // Never three at once: before the third, one has gone.
                let third = m.held(process(1), 3);
                assert!(m.release(second));
                let fourth = m.held(process(1), 3);
                assert!(m.release(third));
                assert!(m.release(fourth));
            },
            |m| match m.acquire(process(2), 3) {
                Answer::Held(taken) => assert!(m.release(taken)),
                other => panic!("busy with a permit to be had: {other:?}"),
            },
        ],
        all_free,
    );
}

/// Others move while somebody looks: which of its questions it asks tells how
/// far it has come.
struct Restless<'a> {
    model: &'a Model,
    asked: std::cell::Cell<u32>,
}

impl Judge for Restless<'_> {
    fn is_dead(&self, owner: Owner) -> bool {
        let cells = &self.model.cells;
        let free = |cell: &Word| cell.store_relaxed(PermitCell::freed(cell.load_acquire()));
        self.asked.set(self.asked.get() + 1);
        match self.asked.get() {
            // It has seen the last cell taken, which is given back.
            3 => free(&cells[2]),
            // It has seen the first one taken, which is given back, and the
            // last one is taken again.
            4 => {
                free(&cells[0]);
                let found = cells[2].load_acquire();
                let ask = Ask {
                    owner: process(1),
                    max: 3,
                    deadline: 0,
                };
                let seen = Seen {
                    word: self.model.head.load_acquire(),
                    bound: 3,
                };
                self.model.permits(0).take(2, &cells[2], found, ask, seen);
            }
            _ => {}
        }
        self.model.is_dead(owner)
    }

    fn is_void(&self, owner: Owner) -> bool {
        self.model.is_void(owner)
    }

    fn second(&self) -> u64 {
        self.model.second
    }
}

#[test]
fn a_reading_that_mixes_two_moments_is_taken_again() {
    loom::model(|| {
        let model = Model::new();
        for _ in 0..3 {
            model.held(process(1), 3);
        }
        let judge = Restless {
            model: &model,
            asked: std::cell::Cell::new(0),
        };
        let ask = Ask {
            owner: process(2),
            max: 3,
            deadline: 0,
        };
        match model.permits(0).acquire(ask, &judge) {
            Answer::Held(taken) => assert_eq!(taken.cell, 0),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_permit_is_released_twice() {
    check(
        |m| {
            m.held(process(1), 1);
        },
        &[
            |m| {
                let taken = Taken {
                    cell: 0,
                    word: m.cells[0].load_acquire(),
                };
                if PermitCell::unpack(taken.word).owner == process(1) && m.release(taken) {
                    assert!(!m.release(taken));
                }
            },
            |m| match m.acquire(process(2), 1) {
                Answer::Held(taken) => {
                    m.enter(1);
                    m.leave();
                    assert!(m.release(taken));
                }
                Answer::Busy(1) => {}
                other => panic!("{other:?}"),
            },
        ],
        all_free,
    );
}

/// The owner was taken for dead, or its lease ended, and somebody has the
/// cell; the same process may have it again, too.
#[test]
fn a_late_release_meets_a_new_holder() {
    fn late(m: &Model) {
        m.release(Taken {
            cell: 0,
            word: m.note.load_acquire(),
        });
    }
    fn again(m: &Model, slot: u16) {
        let taken = m.held(process(slot), 1);
        m.enter(1);
        m.leave();
        assert!(m.release(taken), "somebody else gave our permit back");
    }
    check(
        |m| {
            m.note.store_relaxed(m.held(process(1), 1).word);
            m.locks[1].store_relaxed(0);
        },
        &[late, |m| again(m, 2)],
        all_free,
    );
    check(
        |m| {
            let taken = m.held(process(1), 1);
            m.note.store_relaxed(taken.word);
            assert!(m.release(taken));
        },
        &[late, |m| again(m, 1)],
        all_free,
    );
}

#[test]
fn two_threads_reclaim_a_dead_owners_permit() {
    check(
        |m| {
            m.held(process(3), 1);
            m.locks[3].store_relaxed(0);
        },
        &[|m| come_and_go(m, 1, 1), |m| come_and_go(m, 2, 1)],
        all_free,
    );
}

#[test]
fn a_lowered_limit_counts_what_is_beyond_it() {
    // Three were taken under a limit of three; the first is back.
    fn three(m: &Model) {
        let first = m.held(process(3), 3);
        m.held(process(3), 3);
        m.held(process(3), 3);
        assert!(m.release(first));
        m.enter(2);
        m.enter(2);
    }
    fn last_goes(m: &Model) {
        let taken = Taken {
            cell: 2,
            word: m.cells[2].load_acquire(),
        };
        m.leave();
        assert!(m.release(taken));
    }
    check(
        three,
        &[|m| come_and_go(m, 1, 2), |m| come_and_go(m, 2, 2)],
        |m| assert_eq!(m.permits(0).in_flight(m), Some(2)),
    );
    check(
        three,
        &[
            last_goes,
            |m| come_and_go(m, 1, 2),
            |m| come_and_go(m, 2, 2),
        ],
        |m| assert_eq!(m.permits(0).in_flight(m), Some(1)),
    );
}

#[test]
fn a_greater_limit_comes_while_somebody_takes() {
    fn three(m: &Model) {
        let mut all: Vec<_> = Vec::new();
        for _ in 0..3 {
            match m.acquire(process(1), 3) {
                Answer::Held(taken) => all.push(taken),
                Answer::Busy(3) => {}
                other => panic!("{other:?}"),
            }
        }
        if let [first, _, _] = all[..] {
            assert!(m.release(first));
            // Two are held from here on, and there were none of another's.
            m.note.add(1);
        }
    }
    fn one(m: &Model) {
        match m.acquire(process(2), 1) {
            Answer::Held(_) => {
                m.note.add(1);
            }
            Answer::Busy(_) => {}
            other => panic!("{other:?}"),
        }
    }
    check(
        |m| {
            let taken = m.held(process(2), 1);
            assert!(m.release(taken));
        },
        &[three, one],
        |m| assert!(m.note.load_acquire() < 2, "taken beside two, of one"),
    );
}

/// What `Set::evict` does, and who then has the record.
fn evict(model: &Model) -> bool {
    let word = model.head.load_acquire();
    let idle = model.permits(PermitHead::unpack(word).generation);
    idle.are_idle(model) && model.head.cas(word, evicted(word))
}

#[test]
fn eviction_races_an_acquisition() {
    fn newcomer(m: &Model) {
        if !evict(m) {
            return;
        }
        // The record's new owner has all of its permits, whoever was being
        // given one meanwhile.
        let ask = Ask {
            owner: process(2),
            max: 2,
            deadline: 0,
        };
        let two = [0, 1].map(|_| match m.permits(1).acquire(ask, m) {
            Answer::Held(taken) => taken,
            other => panic!("{other:?}"),
        });
        for taken in two {
            assert!(m.release(taken));
        }
    }
    fn old(m: &Model) {
        match m.acquire(process(1), 2) {
            Answer::Held(taken) => {
                // Nobody evicts it now.
                assert!(!evict(m));
                assert_eq!(m.permits(0).in_flight(m), Some(1));
                assert!(m.release(taken));
            }
            Answer::Gone => {}
            other => panic!("{other:?}"),
        }
    }
    check(nothing, &[old, newcomer], |m| {
        let generation = PermitHead::unpack(m.head.load_acquire()).generation;
        assert!(m.all_are_free(generation));
    });
}

/// A process dies in slot 3 and another starts there, while somebody asks who
/// is alive.
#[test]
fn a_starting_process_is_not_judged_dead() {
    check(
        |m| {
            m.held(process(3), 1);
            m.locks[3].store_relaxed(0);
        },
        &[
            |m| {
                assert!(m.locks[3].cas(0, 1));
                let owner = Slots(&m.slots).renew(3).unwrap();
                let taken = match m.acquire(owner, 1) {
                    Answer::Held(taken) => taken,
                    // The other one was first.
                    Answer::Busy(_) => return,
                    other => panic!("{other:?}"),
                };
                m.enter(1);
                assert!(!m.is_void(owner));
                m.leave();
                assert!(m.release(taken));
            },
            |m| come_and_go(m, 1, 1),
        ],
        all_free,
    );
}
