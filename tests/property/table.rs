//! Properties of the table against a map that forgets nothing.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limit::Policy;
use crate::window::{Answer, Rules};
use proptest::prelude::*;
use std::collections::HashMap;

const CELLS: usize = 8;
const LONGEST: u64 = 20;

struct Model {
    latest: Word,
    ways: Vec<Way>,
    rings: Vec<Word>,
}

impl Model {
    fn new(ways: usize) -> Self {
        let way = || Way {
            tag: Word::new(0),
            head: Word::new(0),
        };
        Self {
            latest: Word::new(0),
            ways: (0..ways).map(|_| way()).collect(),
            rings: (0..ways * CELLS).map(|_| Word::new(0)).collect(),
        }
    }

    fn set(&self) -> Set<'_> {
        Set::new(&self.latest, &self.ways, &self.rings, CELLS)
    }

    /// Spends a unit of a key's; what is used then, `None` if there is no room
    /// for the key.
    fn spend(&self, key: Key, now: u64) -> (Option<u32>, Inserted) {
        let rules = Rules::new(Policy::new(1000, LONGEST as u32).unwrap(), CELLS as u32, 0);
        let found = |place| Inserted {
            place: Some(place),
            new: false,
            evicted: 0,
        };
        let inserted = match self.set().lookup(key) {
            Some(place) => found(place),
            None => self.set().insert_window(key, now, LONGEST),
        };
        let used = inserted.place.map(|place| {
            match self.set().window(place).unwrap().acquire(1, &rules, now) {
                Answer::Admitted(reading) => reading.used,
                other => unreachable!("{other:?}"),
            }
        });
        (used, inserted)
    }
}

proptest! {
    #[test]
    fn who_owes_is_remembered_and_who_does_not_makes_room(
        log2_ways in 0_u32..=3,
        steps in prop::collection::vec((0_u64..12, 1_u64..20, any::<u8>()), 1..300),
    ) {
        let ways = 1 << log2_ways;
        let model = Model::new(ways);
        // Of each key: where its search starts, and when it spent.
        let mut keys: HashMap<u64, (u8, Vec<u64>)> = HashMap::new();
        let mut now = 1000;
        let (mut inserted, mut evicted) = (0, 0);
        for (passes, fingerprint, start) in steps {
            now += passes;
            let owes = |spent: &[u64]| spent.iter().filter(|&&at| at + LONGEST > now).count();
            // Quanta of 8 ms (20 / 4, rounded up) keep a unit a little longer.
            let may_owe = |spent: &[u64]| spent.iter().filter(|&&at| at + LONGEST + 7 > now).count();
            let others = keys.iter().filter(|(key, (_, spent))| **key != fingerprint && owes(spent) > 0);
            let owing = others.count();
            let (start, spent) = keys.entry(fingerprint).or_insert((start, Vec::new()));
            let key = Key { fingerprint, start: *start };
            let (used, how) = model.spend(key, now);
            inserted += usize::from(how.new);
            evicted += how.evicted as usize;
            match used {
                Some(used) => {
                    let used = used as usize - 1;
                    prop_assert!((owes(spent)..=may_owe(spent)).contains(&used), "{used}");
                    spent.push(now);
                }
                None => {
                    prop_assert_eq!(owes(spent), 0);
                    prop_assert!(owing <= ways);
                    let may = keys.values().filter(|(_, spent)| {
                        spent.iter().any(|&at| at + LONGEST + 7 > now)
                    });
                    prop_assert!(may.count() >= ways, "full with {owing} owing");
                }
            }
            let mut owners: Vec<_> = model
                .ways
                .iter()
                .filter(|way| way.tag.load_acquire() != 0)
                .map(|way| (Tag::unpack(way.tag.load_acquire()), way.head.load_acquire()))
                .filter(|&(tag, head)| owns(tag, head))
                .map(|(tag, _)| tag.fingerprint)
                .collect();
            prop_assert_eq!(owners.len(), inserted - evicted);
            owners.sort_unstable();
            owners.dedup();
            prop_assert_eq!(owners.len(), inserted - evicted, "one key in two ways");
        }
    }
}

#[test]
fn a_way_survives_all_its_generations() {
    let model = Model::new(1);
    for turn in 0..10_000_u64 {
        let key = Key {
            fingerprint: 1 + turn % 3,
            start: 0,
        };
        let (used, how) = model.spend(key, 1000 + turn * 100);
        assert_eq!(used, Some(1), "turn {turn}");
        assert!(how.new && how.evicted == u32::from(turn > 0));
        assert_eq!(model.spend(key, 1000 + turn * 100).0, Some(2));
    }
}

#[test]
fn a_full_set_says_so_until_a_key_is_idle() {
    let model = Model::new(4);
    let key = |fingerprint| Key {
        fingerprint,
        start: 2,
    };
    for fingerprint in 1..=4 {
        assert_eq!(model.spend(key(fingerprint), 1000).0, Some(1));
    }
    assert_eq!(model.spend(key(5), 1000).0, None);
    // Recorded at the end of their quantum, and idle a longest window later.
    assert_eq!(model.spend(key(5), 1019).0, None);
    assert_eq!(model.spend(key(5), 1100).0, Some(1));
}
