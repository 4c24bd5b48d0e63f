//! Properties of the window that need its insides: counters near their ends,
//! and clocks that are not exact.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use super::*;
use proptest::prelude::*;

const COUNT_END: u32 = 1 << 24;
const RUN_END: u32 = 1 << 18;
const GENERATION_END: u16 = 1 << 12;

struct Record {
    head: Word,
    ring: Vec<Word>,
    generation: u16,
}

impl Record {
    /// A record that was never used, but whose counters stand where they are
    /// told to.
    fn with(cells: usize, generation: u16, run: u32, count: u32) -> Self {
        let head = Head {
            generation,
            live: 0,
            run,
            count,
        };
        Self {
            head: Word::new(head.pack()),
            ring: (0..cells).map(|_| Word::new(0)).collect(),
            generation,
        }
    }

    fn window(&self) -> Window<'_> {
        Window::new(&self.head, Ring::whole(&self.ring), self.generation)
    }
}

/// Time that passes, and units asked for.
fn steps() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let passes = prop_oneof![3 => Just(0_u64), 4 => 0_u64..8, 1 => 0_u64..200];
    prop::collection::vec((passes, 1_u32..50), 1..150)
}

proptest! {
    /// Wherever its counters stand, a window answers as if they stood at 0.
    #[test]
    fn counters_may_wrap_at_any_moment(
        log2_cells in 3_u32..=6,
        limit in 50_u32..5000,
        window in 1_u32..100,
        before_end in (0_u16..3, 0_u32..60, 0_u32..2000),
        steps in steps(),
    ) {
        let cells = 1_usize << log2_cells;
        let rules = Rules::new(Policy::new(limit, window).unwrap(), cells as u32, 0);
        let (generation, run, count) = before_end;
        let fresh = Record::with(cells, 0, 0, 0);
        // The same place in the ring, so that both are rewound together.
        let run = RUN_END - (run + 1) * cells as u32;
        let late = Record::with(cells, GENERATION_END - 1 - generation, run, COUNT_END - 1 - count);
        let mut now = 1000;
        for (passes, units) in steps {
            now += passes;
            let answers = [&fresh, &late].map(|record| {
                let peeked = record.window().peek(units, &rules, now);
                (peeked, record.window().acquire(units, &rules, now))
            });
            prop_assert_eq!(answers[0], answers[1]);
        }
    }

    /// With a clock whose readings are late by no more than its slack, no
    /// window of true time holds more than the limit.
    #[test]
    fn a_late_clock_is_made_up_for(
        log2_cells in 3_u32..=6,
        limit in 1_u32..120,
        window in 1_u32..100,
        slack in 1_u64..20,
        steps in prop::collection::vec((0_u64..12, 0_u64..20), 1..200),
    ) {
        let cells = 1_usize << log2_cells;
        let rules = Rules::new(Policy::new(limit, window).unwrap(), cells as u32, slack);
        let record = Record::with(cells, 0, 0, 0);
        let mut admitted: Vec<u64> = Vec::new();
        let mut now = 1000;
        for (passes, late) in steps {
            now += passes;
            let reading = now - late.min(slack);
            if let Answer::Admitted(read) = record.window().acquire(1, &rules, reading) {
                prop_assert!(read.stamp >= now, "recorded {}, at {now}", read.stamp);
                admitted.push(now);
                let inside = admitted.iter().filter(|&&at| at + u64::from(window) > now);
                prop_assert!(inside.count() <= limit as usize);
            }
        }
    }
}

#[test]
fn at_the_end_of_time_a_window_stays_closed() {
    let rules = Rules::new(Policy::per_minute(2), 64, 0);
    let record = Record::with(64, 0, 0, 0);
    let last = Cell::LAST_TIME;
    for _ in 0..2 {
        assert!(matches!(
            record.window().acquire(1, &rules, last),
            Answer::Admitted(_)
        ));
    }
    for now in [last, last + 60_000, last + 1_000_000] {
        match record.window().acquire(1, &rules, now) {
            Answer::Refused(reading) => assert!(reading.at > last),
            other => panic!("{other:?} at {now}"),
        }
    }
}

#[test]
fn a_window_of_another_generation_is_gone() {
    let rules = Rules::new(Policy::per_minute(2), 64, 0);
    let record = Record::with(64, 7, 0, 0);
    let stranger = Window::new(&record.head, Ring::whole(&record.ring), 6);
    assert_eq!(stranger.acquire(1, &rules, 5), Answer::Gone);
    assert_eq!(stranger.peek(1, &rules, 5), Answer::Gone);
}
