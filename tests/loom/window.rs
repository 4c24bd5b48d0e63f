//! Models of the window: every interleaving of a few threads, and then the
//! check that kills most mutants: after the threads have joined, at every
//! later tick, what the window itself says is used must be what the recorded
//! admissions add up to.

use super::*;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

const CELLS: usize = 4;

/// One request: units and the tick its clock shows.
type Request = (u32, u64);

struct Model {
    head: Word,
    ring: Vec<Word>,
}

/// An admission as the window recorded it.
#[derive(Clone, Copy, Debug)]
struct Admission {
    n: u32,
    now: u64,
    stamp: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            head: Word::new(0),
            ring: (0..CELLS).map(|_| Word::new(0)).collect(),
        }
    }

    fn window(&self) -> Window<'_> {
        Window::new(&self.head, Ring::whole(&self.ring), 0)
    }
}

fn rules(limit: u32, window: u64, quantum: u32) -> Rules {
    Rules {
        limit,
        window,
        quantum,
        greatest_quantum: quantum,
        slack: 0,
    }
}

/// Times that are exact under a window whose greatest quantum is this.
fn fine_rules(limit: u32, window: u64, greatest_quantum: u32) -> Rules {
    Rules {
        greatest_quantum,
        ..rules(limit, window, 0)
    }
}

impl Rules {
    /// When the unit recorded at `stamp` may at latest seem to have been spent.
    fn folded(&self, stamp: u64) -> u64 {
        quantum_end(stamp, self.greatest_quantum)
    }
}

/// What a thread of a model was told.
#[derive(Debug, Default)]
struct Told {
    admitted: Vec<Admission>,
    refused: Vec<(Request, Reading)>,
}

impl Told {
    fn extend(&mut self, other: Self) {
        self.admitted.extend(other.admitted);
        self.refused.extend(other.refused);
    }
}

/// Runs `requests` one after the other, as one thread of a model does.
fn run(model: &Model, rules: &Rules, requests: &[Request]) -> Told {
    let mut told = Told::default();
    for &(n, now) in requests {
        match model.window().acquire(n, rules, now) {
            Answer::Admitted(reading) if reading.stamp < now => {
                panic!("recorded at {} what was asked for at {now}", reading.stamp)
            }
            Answer::Admitted(reading) => told.admitted.push(Admission {
                n,
                now,
                stamp: reading.stamp,
            }),
            Answer::Refused(reading) => told.refused.push(((n, now), reading)),
            other => panic!("{other:?}"),
        }
    }
    told
}

fn sum(admitted: &[Admission], alive: impl Fn(u64) -> bool) -> u32 {
    admitted
        .iter()
        .filter(|a| alive(a.stamp))
        .map(|a| a.n)
        .sum()
}

/// `before` runs alone and then `threads` together, in every interleaving.
/// `spoil` may leave in the ring what a dead thread left.
fn check(
    rules: Rules,
    before: &'static [Request],
    spoil: fn(&Model),
    threads: &'static [&'static [Request]],
) {
    explore(Builder::new(), rules, before, spoil, threads);
}

fn explore(
    explorer: Builder,
    rules: Rules,
    before: &'static [Request],
    spoil: fn(&Model),
    threads: &'static [&'static [Request]],
) {
    explorer.check(move || {
        let model = Arc::new(Model::new());
        let mut told = run(&model, &rules, before);
        spoil(&model);
        let handles: Vec<_> = threads
            .iter()
            .map(|requests| {
                let model = model.clone();
                thread::spawn(move || run(&model, &rules, requests))
            })
            .collect();
        for handle in handles {
            told.extend(handle.join().unwrap());
        }
        let Told { admitted, refused } = told;

        // A refusal speaks of runs that were there. (It may be for want of a
        // cell: a model's rings are small.)
        for ((n, now), reading) in refused {
            let most = sum(&admitted, |s| rules.folded(s) + rules.window > now);
            let said = reading.used;
            assert!(
                said <= most,
                "{n} refused at {now} for {said} of {most}: {admitted:?}"
            );
        }

        let last = admitted.iter().map(|a| a.stamp).max().unwrap_or(0);
        for &Admission { stamp, .. } in &admitted {
            let in_span = sum(&admitted, |s| s <= stamp && s + rules.window > stamp);
            assert!(
                in_span <= rules.limit,
                "{in_span} in one window: {admitted:?}"
            );
        }
        let head = Head::unpack(model.head.load_acquire());
        assert!((head.live as usize) < CELLS, "{head:?}");
        for tick in last..=last + rules.window + 1 {
            let least = sum(&admitted, |s| s + rules.window > tick);
            let most = sum(&admitted, |s| rules.folded(s) + rules.window > tick);
            match model.window().peek(0, &rules, tick) {
                // Refused for want of a cell, in a ring as small as this.
                Answer::Admitted(Reading { used, .. }) | Answer::Refused(Reading { used, .. }) => {
                    assert!(
                        least <= used && used <= most,
                        "{used} at {tick}: {admitted:?} {head:?}"
                    );
                }
                other => panic!("at {tick}: {other:?}"),
            }
        }
    });
}

fn clean(_: &Model) {}

#[test]
fn two_threads_race_for_the_last_unit() {
    check(rules(3, 10, 0), &[(2, 5)], clean, &[&[(1, 5)], &[(1, 5)]]);
    check(rules(3, 10, 0), &[(2, 5)], clean, &[&[(1, 6)], &[(1, 6)]]);
}

#[test]
fn two_threads_open_the_first_run() {
    check(rules(3, 10, 0), &[], clean, &[&[(1, 5)], &[(2, 5)]]);
    check(rules(2, 10, 0), &[], clean, &[&[(1, 5), (1, 6)], &[(1, 6)]]);
}

#[test]
fn a_late_thread_meets_a_newer_run() {
    check(rules(9, 6, 0), &[(1, 4)], clean, &[&[(1, 5)], &[(1, 7)]]);
    check(
        rules(9, 6, 0),
        &[(1, 4)],
        clean,
        &[&[(1, 5), (1, 6)], &[(1, 7), (1, 8)]],
    );
    check(
        rules(9, 8, 1),
        &[(1, 4)],
        clean,
        &[&[(1, 5), (1, 6)], &[(1, 8)]],
    );
}

#[test]
fn a_window_empties_while_two_threads_spend() {
    check(
        rules(2, 4, 0),
        &[(2, 5)],
        clean,
        &[&[(1, 9), (1, 9)], &[(1, 9)]],
    );
    check(
        rules(2, 4, 0),
        &[(1, 5), (1, 6)],
        clean,
        &[&[(1, 8), (1, 9)], &[(1, 10)]],
    );
}

#[test]
fn a_late_thread_meets_an_emptied_window() {
    // Runs 5 and 6 leave the newest beyond the first line: it is rewound.
    check(
        rules(2, 4, 0),
        &[(1, 5), (1, 6)],
        clean,
        &[&[(1, 12)], &[(1, 7), (1, 8)]],
    );
    check(
        rules(3, 4, 0),
        &[(1, 5), (1, 6), (1, 7)],
        clean,
        &[&[(1, 11), (1, 12)], &[(1, 10)]],
    );
}

#[test]
fn a_quiet_key_is_rewound_by_two_threads() {
    check(
        rules(3, 4, 0),
        &[(1, 5), (1, 6)],
        clean,
        &[&[(1, 20), (1, 21)], &[(1, 20)]],
    );
    // On the ring's first cell: the next one is not it.
    check(
        rules(3, 3, 0),
        &[(1, 5), (1, 6), (1, 7), (1, 9)],
        clean,
        &[&[(1, 20)], &[(1, 20)]],
    );
}

#[test]
fn a_proposal_from_before_a_rewind_is_dead() {
    // The newest run is in the ring's last cell, so that what follows it is
    // the same cell before and after a rewind.
    check(
        rules(2, 4, 0),
        &[(1, 5), (1, 8), (1, 11)],
        clean,
        &[&[(1, 14), (1, 14)], &[(1, 15)]],
    );
}

#[test]
fn two_threads_lap_the_ring() {
    check(
        rules(9, 3, 0),
        &[(1, 4), (1, 5)],
        clean,
        &[&[(1, 6), (1, 7)], &[(1, 8), (1, 9)]],
    );
}

#[test]
fn a_late_caller_meets_a_full_ring() {
    check(
        rules(9, 4, 0),
        &[(1, 5), (1, 6)],
        clean,
        &[&[(1, 7), (1, 9)], &[(1, 8)]],
    );
    check(
        rules(9, 3, 0),
        &[(1, 4), (1, 5), (1, 6)],
        clean,
        &[&[(1, 7), (1, 8)], &[(1, 6)]],
    );
}

#[test]
fn two_threads_fold_a_full_ring() {
    // The eldest two are neighbours.
    check(
        fine_rules(9, 12, 2),
        &[(1, 4), (1, 5), (1, 8)],
        clean,
        &[&[(1, 12)], &[(1, 13)]],
    );
    // The youngest two: the eldest moves up.
    check(
        fine_rules(9, 12, 2),
        &[(1, 3), (1, 4), (1, 5)],
        clean,
        &[&[(1, 8)], &[(1, 10)]],
    );
    // The last unit, while the eldest run is being dropped.
    check(
        fine_rules(4, 12, 2),
        &[(1, 4), (1, 5), (1, 8)],
        clean,
        &[&[(1, 12)], &[(1, 12), (1, 12)]],
    );
    // One joins the newest run or sees the eldest expire while the other folds.
    check(
        fine_rules(4, 6, 2),
        &[(1, 3), (1, 4), (1, 5)],
        clean,
        &[&[(1, 8)], &[(1, 5), (1, 9)]],
    );
}

#[test]
fn a_late_folder_meets_newer_runs() {
    check(
        fine_rules(9, 12, 2),
        &[(1, 4), (1, 5), (1, 8)],
        clean,
        &[&[(1, 12)], &[(1, 12), (1, 20), (1, 21)]],
    );
}

#[test]
fn three_threads_fold_a_full_ring() {
    let mut explorer = Builder::new();
    // A fold is long: one preemption less ends in seconds.
    explorer.preemption_bound = explorer.preemption_bound.map(|bound| bound - 1);
    explore(
        explorer,
        fine_rules(9, 12, 2),
        &[(1, 4), (1, 5), (1, 8)],
        clean,
        &[&[(1, 12)], &[(1, 12)], &[(1, 8)]],
    );
}

#[test]
fn a_ring_without_neighbours_is_full() {
    loom::model(|| {
        let model = Model::new();
        let rules = fine_rules(9, 20, 2);
        let told = run(&model, &rules, &[(1, 3), (1, 7), (1, 11), (1, 15)]);
        assert_eq!(told.refused.len(), 1);
        assert_eq!(told.refused[0].1.at, 23);
    });
}

#[test]
fn a_folder_dies() {
    // It lowered the youngest's start, and moved the eldest up, or not yet.
    check(
        fine_rules(9, 12, 2),
        &[(1, 3), (1, 4), (1, 5)],
        |m| m.ring[3].store_relaxed(Cell { time: 5, start: 1 }.pack()),
        &[&[(1, 8)], &[(1, 9)]],
    );
    check(
        fine_rules(9, 12, 2),
        &[(1, 3), (1, 4), (1, 5)],
        |m| {
            m.ring[3].store_relaxed(Cell { time: 5, start: 1 }.pack());
            m.ring[2].store_relaxed(Cell { time: 3, start: 0 }.pack());
        },
        &[&[(1, 8)], &[(1, 9)]],
    );
}

/// The ring's state after one admission at tick 4: the newest run is in cell
/// 1, so a proposal lies in cell 2.
fn propose(model: &Model, time: u64) {
    model.ring[2].store_relaxed(Cell { time, start: 1 }.pack());
}

#[test]
fn a_proposer_dies() {
    // Its proposal ends before, at and after what the next callers ask for.
    check(
        rules(9, 5, 0),
        &[(1, 4)],
        |m| propose(m, 5),
        &[&[(1, 6)], &[(1, 6)]],
    );
    check(
        rules(9, 5, 0),
        &[(1, 4)],
        |m| propose(m, 6),
        &[&[(1, 6)], &[(1, 7)]],
    );
    check(
        rules(9, 5, 0),
        &[(1, 4)],
        |m| propose(m, 7),
        &[&[(1, 6)], &[(1, 6)]],
    );
}

#[test]
fn three_threads_open_the_same_run() {
    check(
        rules(9, 4, 0),
        &[(1, 4)],
        clean,
        &[&[(1, 5)], &[(1, 5)], &[(1, 6)]],
    );
}

#[test]
fn three_threads_spend_and_expire() {
    check(
        rules(2, 3, 0),
        &[(1, 4)],
        clean,
        &[&[(1, 5)], &[(1, 7)], &[(1, 6)]],
    );
}

#[test]
fn a_refusal_and_a_peek_write_nothing() {
    loom::model(|| {
        let model = Model::new();
        let rules = rules(2, 10, 0);
        run(&model, &rules, &[(2, 5)]);
        let before: Vec<_> = model
            .ring
            .iter()
            .chain([&model.head])
            .map(Word::load_acquire)
            .collect();
        for now in 5..15 {
            assert!(matches!(
                model.window().acquire(1, &rules, now),
                Answer::Refused(_)
            ));
            assert!(matches!(
                model.window().peek(1, &rules, now),
                Answer::Refused(_)
            ));
        }
        let after: Vec<_> = model
            .ring
            .iter()
            .chain([&model.head])
            .map(Word::load_acquire)
            .collect();
        assert_eq!(before, after);
    });
}
