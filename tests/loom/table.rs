//! Models of the table: insertions, evictions and returning owners in every
//! interleaving, on a set of two ways.

use super::*;
use crate::limit::Policy;
use crate::window::{Answer, Rules};
use loom::sync::Arc;
use loom::thread;

const MODEL_WAYS: usize = 2;
const CELLS: usize = 4;
const LONGEST: u64 = 10;

struct Model {
    latest: Word,
    ways: Vec<Way>,
    rings: Vec<Word>,
}

impl Model {
    fn new() -> Self {
        Self {
            latest: Word::new(0),
            ways: (0..MODEL_WAYS)
                .map(|_| Way {
                    tag: Word::new(0),
                    head: Word::new(0),
                })
                .collect(),
            rings: (0..MODEL_WAYS * CELLS).map(|_| Word::new(0)).collect(),
        }
    }

    fn set(&self) -> Set<'_> {
        Set::new(&self.latest, &self.ways, &self.rings, CELLS)
    }

    /// Spends one unit of `key`'s at `now`; the units then used, `None` when
    /// refused or full. The loop is the limiter's.
    fn spend(&self, key: Key, limit: u32, now: u64) -> Option<u32> {
        let set = self.set();
        let rules = rules(limit);
        loop {
            let place = match set.lookup(key) {
                Some(place) => place,
                None => set.insert_window(key, now, LONGEST).place?,
            };
            match set.window(place).unwrap().acquire(1, &rules, now) {
                Answer::Admitted(reading) => return Some(reading.used),
                Answer::Refused(_) => return None,
                Answer::Gone => {}
                Answer::Contended => panic!("contended"),
            }
        }
    }

    fn used(&self, key: Key, now: u64) -> u32 {
        let Some(place) = self.set().lookup(key) else {
            return 0;
        };
        match self.set().window(place).unwrap().peek(0, &rules(9), now) {
            Answer::Admitted(reading) => reading.used,
            other => panic!("{other:?}"),
        }
    }

    /// How many ways belong to `key`.
    fn ways_of(&self, key: Key) -> usize {
        self.ways
            .iter()
            .filter(|way| {
                let word = way.tag.load_acquire();
                let tag = Tag::unpack(word);
                word != 0
                    && tag.fingerprint == key.fingerprint
                    && owns(tag, way.head.load_acquire())
            })
            .count()
    }
}

fn rules(limit: u32) -> Rules {
    Rules::new(Policy::new(limit, LONGEST as u32).unwrap(), 1024, 0)
}

const fn key(fingerprint: u64, start: u8) -> Key {
    Key { fingerprint, start }
}

const A: Key = key(1, 0);
const B: Key = key(2, 0);
const C: Key = key(3, 0);
const D: Key = key(4, 0);
/// Searched for from the other way on.
const E: Key = key(5, 1);

/// `before` alone, then each of `threads` spends once, then `after` holds.
fn check(
    before: &'static [(Key, u64)],
    threads: &'static [&'static [(Key, u64)]],
    after: fn(&Model, &[(Key, u64, Option<u32>)]),
) {
    let mut explorer = loom::model::Builder::new();
    // Insertions are long: one preemption less is as much as ends in minutes.
    explorer.preemption_bound = explorer.preemption_bound.map(|bound| bound - 1);
    explorer.check(move || {
        let model = Arc::new(Model::new());
        for &(key, now) in before {
            assert!(model.spend(key, 9, now).is_some());
        }
        let run = |model: &Model, spends: &[(Key, u64)]| -> Vec<_> {
            spends
                .iter()
                .map(|&(key, now)| (key, now, model.spend(key, 9, now)))
                .collect()
        };
        let handles: Vec<_> = threads
            .iter()
            .map(|&spends| {
                let model = model.clone();
                thread::spawn(move || run(&model, spends))
            })
            .collect();
        let mut answers = Vec::new();
        for handle in handles {
            answers.extend(handle.join().unwrap());
        }
        for key in [A, B, C, D, E] {
            assert!(model.ways_of(key) <= 1, "one key in two ways");
            // What was admitted and has not expired is remembered.
            let last = 100;
            let spent = before
                .iter()
                .filter(|b| b.0 == key && b.1 + LONGEST > last)
                .count();
            let admitted = answers
                .iter()
                .filter(|a| a.0 == key && a.2.is_some())
                .count();
            assert_eq!(
                model.used(key, last) as usize,
                spent + admitted,
                "{answers:?}"
            );
        }
        after(&model, &answers);
    });
}

fn all_admitted(_: &Model, answers: &[(Key, u64, Option<u32>)]) {
    assert!(answers.iter().all(|a| a.2.is_some()), "{answers:?}");
}

#[test]
fn two_threads_insert_one_key() {
    check(&[], &[&[(A, 100)], &[(A, 100)]], all_admitted);
}

#[test]
fn three_threads_insert_one_key() {
    check(&[], &[&[(A, 100)], &[(A, 100)], &[(A, 100)]], all_admitted);
}

#[test]
fn two_threads_insert_two_keys() {
    check(&[], &[&[(A, 100)], &[(B, 100)]], all_admitted);
    check(
        &[],
        &[&[(A, 100), (B, 100)], &[(B, 100), (A, 100)]],
        all_admitted,
    );
}

#[test]
fn two_keys_want_the_last_way() {
    // C owes; A and B get one way between them, and one of them is refused.
    check(&[(C, 95)], &[&[(A, 100)], &[(B, 100)]], |model, answers| {
        let refused = answers.iter().filter(|a| a.2.is_none()).count();
        assert_eq!(refused, 1, "{answers:?}");
        assert_eq!(model.ways_of(C), 1);
    });
}

#[test]
fn eviction_races_the_returning_owner() {
    // Both ways idle since tick 5; A returns while C takes a way.
    check(&[(A, 5), (B, 5)], &[&[(A, 100)], &[(C, 100)]], all_admitted);
    check(&[(B, 5), (A, 5)], &[&[(A, 100)], &[(C, 100)]], all_admitted);
}

#[test]
fn two_evictions_take_different_ways() {
    check(&[(A, 5), (D, 5)], &[&[(B, 100)], &[(C, 100)]], all_admitted);
}

#[test]
fn a_late_flush_meets_a_way_with_a_new_owner() {
    loom::model(|| {
        let model = Arc::new(Model::new());
        for key in [A, B] {
            model.spend(key, 9, 5);
        }
        // B's insertion was the last, into way 1. While somebody is about to
        // finish it, E takes that way and D the other.
        let latest = model.latest.load_acquire();
        let late = {
            let model = model.clone();
            thread::spawn(move || model.set().flush(latest))
        };
        let spent = [E, D].map(|key| model.spend(key, 9, 100));
        late.join().unwrap();
        assert_eq!(spent, [Some(1), Some(1)]);
        assert_eq!([E, D].map(|key| model.used(key, 100)), [1, 1]);
    });
}

#[test]
fn a_key_behind_a_freed_way_is_found() {
    // C frees A's way, before B's in the order of search, and stops there.
    check(
        &[(A, 5), (B, 95)],
        &[&[(C, 100)], &[(B, 100)]],
        all_admitted,
    );
}

#[test]
fn a_key_that_owes_is_never_evicted() {
    check(
        &[(A, 95), (B, 95)],
        &[&[(C, 100)], &[(C, 104)]],
        |model, answers| {
            assert!(answers.iter().all(|a| a.2.is_none()), "{answers:?}");
            assert_eq!(model.ways_of(A) + model.ways_of(B), 2);
        },
    );
}
