//! Permits against a sequential model: a list of who holds what.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use super::*;
use proptest::prelude::*;
use std::cell::Cell;

const OWNERS: u16 = 4;

/// Processes that are alive or not, and a clock.
struct World {
    generations: [Cell<u16>; OWNERS as usize],
    alive: [Cell<bool>; OWNERS as usize],
    second: Cell<u64>,
}

impl Judge for World {
    fn is_dead(&self, owner: Owner) -> bool {
        self.is_void(owner) || !self.alive[usize::from(owner.slot - 1)].get()
    }

    fn is_void(&self, owner: Owner) -> bool {
        self.generations[usize::from(owner.slot - 1)].get() != owner.generation
    }

    fn second(&self) -> u64 {
        self.second.get()
    }
}

impl World {
    fn owner(&self, index: u16) -> Owner {
        Owner {
            slot: index + 1,
            generation: self.generations[usize::from(index)].get(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// By an owner, under a limit, for so many seconds (0: no lease).
    Acquire(u16, u32, u64),
    /// The so-manieth of all permits ever given, whether it is held or not.
    Release(usize),
    /// An owner dies; another process has its slot at once, or later.
    Crash(u16, bool),
    Passes(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease = prop_oneof![3 => Just(0_u64), 1 => 1_u64..20];
    let step = prop_oneof![
        6 => (0..OWNERS, 1_u32..=16, lease).prop_map(|(o, m, l)| Step::Acquire(o, m, l)),
        4 => (0_usize..60).prop_map(Step::Release),
        1 => (0..OWNERS, any::<bool>()).prop_map(|(o, b)| Step::Crash(o, b)),
        1 => (0_u64..15).prop_map(Step::Passes),
    ];
    prop::collection::vec(step, 1..120)
}

/// A permit as the model has it.
struct Given {
    taken: Taken,
    owner: Owner,
    ends: u64,
    back: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn permits_are_what_a_list_of_holders_says(
        generation in 0_u16..1 << 12,
        stamp in prop_oneof![Just(0), (1_u64 << 42) - 50..1 << 42],
        seq in prop_oneof![Just(0_u16), (1_u16 << 14) - 3..1 << 14],
        start in prop_oneof![Just(1_u64), (1_u64 << 22) - 30..1 << 22],
        common in prop::option::of(1_u32..=16),
        steps in steps(),
    ) {
        let head = Word::new(PermitHead { generation, top: 0, stamp }.pack());
        let free = PermitCell {
            owner: Owner { slot: 0, generation: 0 },
            record: 0,
            seq,
            deadline: 0,
        };
        let cells: Vec<_> = (0..16).map(|_| Word::new(free.pack())).collect();
        let permits = Permits::new(&head, &cells, generation);
        let world = World {
            generations: Default::default(),
            alive: std::array::from_fn(|_| Cell::new(true)),
            second: Cell::new(start),
        };
        let mut given: Vec<Given> = Vec::new();
        for step in steps {
            let now = world.second.get();
            let is_held = |permit: &Given| {
                !permit.back && !world.is_dead(permit.owner) && permit.ends > now
            };
            let held = given.iter().filter(|permit| is_held(permit)).count() as u32;
            match step {
                Step::Acquire(index, max, lease) => {
                    let (owner, max) = (world.owner(index), common.unwrap_or(max));
                    if !world.alive[usize::from(index)].get() {
                        continue;
                    }
                    let ends = if lease == 0 { u64::MAX } else { now + lease };
                    let deadline = if lease == 0 { 0 } else { PermitCell::deadline_at(ends) };
                    match permits.acquire(Ask { owner, max, deadline }, &world) {
                        Answer::Held(taken) => {
                            prop_assert!(held < max, "{held} were held of {max}");
                            // No two permits look alike.
                            prop_assert!(given.iter().all(|permit| permit.taken != taken));
                            // The circle of seconds has no 0.
                            let ends = if ends & 0x3F_FFFF == 0 { ends + 1 } else { ends };
                            given.push(Given { taken, owner, ends, back: false });
                        }
                        Answer::Busy(said) => {
                            prop_assert!(held >= max, "busy with {held} of {max}");
                            prop_assert_eq!(said, held);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                Step::Release(which) => {
                    if let Some(permit) = given.get(which) {
                        let Taken { cell, word } = permit.taken;
                        let told = release(&cells[usize::from(cell)], word);
                        if is_held(permit) {
                            prop_assert!(told);
                        }
                        if permit.back {
                            prop_assert!(!told);
                        }
                        given[which].back |= told;
                    }
                }
                Step::Crash(index, at_once) => {
                    let generation = &world.generations[usize::from(index)];
                    let alive = &world.alive[usize::from(index)];
                    if alive.get() && !at_once {
                        alive.set(false);
                    } else {
                        generation.set(Owner::next_generation(generation.get()));
                        alive.set(true);
                    }
                }
                Step::Passes(seconds) => world.second.set(now + seconds),
            }
            let now = world.second.get();
            let known = given.iter().filter(|permit| {
                !permit.back && !world.is_void(permit.owner) && permit.ends > now
            });
            // Who died and is not yet known to be dead may have been replaced.
            let most = known.count() as u32;
            let in_flight = permits.in_flight(&world);
            prop_assert!(in_flight <= Some(most) && in_flight.is_some());
            let idle = !given.iter().any(|permit| {
                !permit.back && !world.is_dead(permit.owner) && permit.ends > now
            });
            prop_assert_eq!(permits.are_idle(&world), idle);
        }
    }
}
