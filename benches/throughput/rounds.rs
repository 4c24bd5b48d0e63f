//! The rounds: contestants in turns.

use crate::comparison::{self, Comparison};
use crate::contestant::{Contestant, scatter};
use std::collections::HashMap;
use std::time::Duration;

pub(crate) const ROUNDS: usize = 15;
/// Tries to have a pair undisturbed in one round.
const TRIES: usize = 2;
const TURN: Duration = Duration::from_millis(15);
/// Turns that are made before the one that counts: it is to find its own lines
/// in the caches, not what the contestant before left there. A million keys
/// need most of this.
const WARMING: u64 = 3;

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
    /// Nanoseconds per request of each undisturbed turn.
    pub(crate) times: HashMap<&'static str, Vec<f64>>,
    /// Ratios by what they say, of each round in which both were undisturbed.
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
            // In another order each time, so that nobody always follows the
            // same neighbour, and of each pair another one begins.
            let mut order: Vec<_> = (0..pairs.len()).collect();
            order.sort_by_key(|&pair| scatter((round * pairs.len() + pair) as u64));
            for pair in order {
                self.compare(pairs[pair], round % 2 == 0);
            }
            for name in self.alone.clone() {
                self.turn(name);
            }
        }
    }

    fn compare(&mut self, pair: &Comparison, over_first: bool) {
        let ratio = (0..TRIES).find_map(|_| self.ratio(pair, over_first));
        let ratios = self.results.ratios.entry(pair.what).or_default();
        ratios.extend(ratio);
    }

    /// `None`: one of the two was disturbed.
    fn ratio(&mut self, pair: &Comparison, over_first: bool) -> Option<f64> {
        let (over, under) = if over_first {
            let over = self.turn(pair.over);
            (over, self.turn(pair.under))
        } else {
            let under = self.turn(pair.under);
            (self.turn(pair.over), under)
        };
        Some(over? / under?)
    }

    fn turn(&mut self, name: &'static str) -> Option<f64> {
        let (contestant, requests) = self.contestants.get_mut(name).unwrap();
        contestant.run(*requests * WARMING);
        let took = contestant.run(*requests);
        let ns = took.time.as_secs_f64() * 1e9 / *requests as f64;
        let ns = took.undisturbed().then_some(ns);
        self.results.times.entry(name).or_default().extend(ns);
        ns
    }
}

/// A contestant with its name and the requests it answers in a turn.
fn sized(mut contestant: Contestant) -> (&'static str, (Contestant, u64)) {
    const SOME: u64 = 5_000;
    contestant.run(SOME);
    let each = contestant.run(SOME).time.as_secs_f64() / SOME as f64;
    let requests = (TURN.as_secs_f64() / each).clamp(1e3, 1e7) as u64;
    (contestant.name, (contestant, requests))
}
