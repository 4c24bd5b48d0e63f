//! The rounds: contestants in turns.

use crate::comparison::{self, Comparison};
use crate::contestant::Contestant;
use std::collections::HashMap;
use std::time::Duration;

pub(crate) const ROUNDS: usize = 15;
const TURN: Duration = Duration::from_millis(15);

/// Everybody, with the requests that fill a turn.
pub(crate) struct Field {
    contestants: HashMap<&'static str, (Contestant, u64)>,
    /// Who is in no comparison.
    alone: Vec<&'static str>,
    pub(crate) results: Results,
}

/// What the rounds gave.
#[derive(Default)]
pub(crate) struct Results {
    /// Nanoseconds per request, turn by turn.
    pub(crate) times: HashMap<&'static str, Vec<f64>>,
    /// Ratios by what they say, round by round.
    pub(crate) ratios: HashMap<&'static str, Vec<f64>>,
}

impl Field {
    pub(crate) fn new(contestants: Vec<Contestant>) -> Self {
        let compared =
            |name: &str| comparison::all().any(|pair| pair.over == name || pair.under == name);
        let names = contestants.iter().map(|contestant| contestant.name);
        Self {
            alone: names.filter(|name| !compared(name)).collect(),
            contestants: contestants.into_iter().map(sized).collect(),
            results: Results::default(),
        }
    }

    pub(crate) fn race(&mut self) {
        let pairs: Vec<_> = comparison::all().collect();
        for round in 0..ROUNDS {
            // Another one begins each time, and of each pair another one.
            for turn in 0..pairs.len() {
                self.compare(pairs[(turn + round * 5) % pairs.len()], round % 2 == 0);
            }
            for name in self.alone.clone() {
                self.turn(name);
            }
        }
    }

    fn compare(&mut self, pair: &Comparison, over_first: bool) {
        let ratio = if over_first {
            let over = self.turn(pair.over);
            over / self.turn(pair.under)
        } else {
            let under = self.turn(pair.under);
            self.turn(pair.over) / under
        };
        self.results
            .ratios
            .entry(pair.what)
            .or_default()
            .push(ratio);
    }

    fn turn(&mut self, name: &'static str) -> f64 {
        let (contestant, requests) = self.contestants.get_mut(name).unwrap();
        let ns = contestant.run(*requests).as_secs_f64() * 1e9 / *requests as f64;
        self.results.times.entry(name).or_default().push(ns);
        ns
    }
}

/// A contestant with its name and the requests it answers in a turn.
fn sized(mut contestant: Contestant) -> (&'static str, (Contestant, u64)) {
    const SOME: u64 = 5_000;
    contestant.run(SOME);
    let each = contestant.run(SOME).as_secs_f64() / SOME as f64;
    let requests = (TURN.as_secs_f64() / each).clamp(1e3, 1e7) as u64;
    (contestant.name, (contestant, requests))
}
