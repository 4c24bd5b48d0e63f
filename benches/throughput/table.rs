//! The table: contestants in rotating rounds, and how they compare.

use crate::contestant::Contestant;
use crate::{floor, memory, ours, peers};
use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(12);

/// Nanoseconds per request of each contestant, round by round.
type Results = HashMap<&'static str, Vec<f64>>;

/// A ratio of two contestants' times, and what it is meant to be.
struct Comparison {
    what: &'static str,
    /// Its time is divided by the other's.
    over: &'static str,
    under: &'static str,
    aim: Aim,
}

enum Aim {
    AtMost(f64),
    AtLeast(f64),
    None,
}

fn comparisons() -> Vec<Comparison> {
    let ratio = |what, over, under, aim| Comparison {
        what,
        over,
        under,
        aim,
    };
    vec![
        ratio(
            "a check / governor's",
            ours::HOT,
            peers::GOVERNOR,
            Aim::AtMost(1.0),
        ),
        ratio(
            "denied: governor's / ours",
            peers::GOVERNOR_DENIED,
            ours::DENIED,
            Aim::None,
        ),
        ratio(
            "rate-net's log / a check",
            peers::LOG,
            ours::HOT,
            Aim::AtLeast(3.0),
        ),
        ratio(
            "rate-net's log / ours, 100 k keys",
            peers::LOG_100K,
            ours::AT_100K,
            Aim::AtLeast(5.0),
        ),
        ratio(
            "rate-net's log / ours, 1 M keys",
            peers::LOG_1M,
            ours::AT_1M,
            Aim::None,
        ),
        ratio(
            "governor's / ours, 100 k keys",
            peers::GOVERNOR_100K,
            ours::AT_100K,
            Aim::None,
        ),
        ratio(
            "governor's / ours, 1 M keys",
            peers::GOVERNOR_1M,
            ours::AT_1M,
            Aim::None,
        ),
        ratio(
            "denied: 1 thread / 2 threads",
            ours::DENIED,
            ours::DENIED_2,
            Aim::AtLeast(1.9),
        ),
        ratio(
            "2 threads on one key: ours / governor's",
            ours::ONE_KEY_2,
            peers::GOVERNOR_ONE_KEY_2,
            Aim::None,
        ),
        ratio(
            "2 threads on one key: ours / a shared CAS",
            ours::ONE_KEY_2,
            floor::CAS_SHARED,
            Aim::None,
        ),
        ratio(
            "1 M keys, waiting: ours / one line per key",
            ours::AT_1M_WAITING,
            floor::LINE_1M_WAITING,
            Aim::AtMost(1.4),
        ),
        ratio(
            "a check / CAS + hash + clock",
            ours::HOT,
            floor::CAS_HASH_CLOCK,
            Aim::None,
        ),
        ratio(
            "1 M keys: single checks / check_many",
            ours::AT_1M,
            ours::MANY_1M,
            Aim::None,
        ),
    ]
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Half of the values lie between these.
fn quartiles(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quarter: usize| sorted.get(sorted.len() * quarter / 4).copied();
    (at(1).unwrap_or(f64::NAN), at(3).unwrap_or(f64::NAN))
}

fn rounds(contestants: &mut [Contestant]) -> Results {
    let mut requests: Vec<u64> = Vec::new();
    for contestant in contestants.iter_mut() {
        contestant.run(1000);
        let took = contestant.run(2000).as_secs_f64() / 2000.0;
        requests.push((ROUND.as_secs_f64() / took).clamp(1000.0, 5e6) as u64);
    }
    let mut results = Results::new();
    let all = contestants.len();
    for round in 0..ROUNDS {
        for turn in 0..all {
            let index = (turn + round * 5) % all;
            let (contestant, requests) = (&mut contestants[index], requests[index]);
            let ns = contestant.run(requests).as_secs_f64() * 1e9 / requests as f64;
            results.entry(contestant.name).or_default().push(ns);
        }
    }
    results
}

fn machine() -> String {
    let output = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        output.map_or(String::new(), |out| {
            String::from_utf8_lossy(&out.stdout).trim().to_owned()
        })
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, Linux {}, {}",
        model
            .unwrap_or_default()
            .trim_start_matches(['\t', ' ', ':']),
        output("uname", &["-r"]),
        output("rustc", &["--version"]),
    )
}

impl Aim {
    fn verdict(&self, value: f64) -> String {
        let (words, reached) = match *self {
            Self::AtMost(most) => (format!("≤ {most}"), value <= most),
            Self::AtLeast(least) => (format!("≥ {least}"), value >= least),
            Self::None => return String::new(),
        };
        format!("{words}: {}", if reached { "reached" } else { "missed" })
    }
}

/// Takes all contestants through their rounds and prints how they compare.
pub(crate) fn print(contestants: &mut [Contestant]) {
    println!("\n{}", machine());
    println!("{ROUNDS} rounds in turns; medians, and in brackets the middle half\n");
    let results = rounds(contestants);
    println!("| ns per request | | |\n|---|---:|---|");
    for contestant in contestants.iter() {
        let times = &results[contestant.name];
        let (low, high) = quartiles(times);
        println!(
            "| {} | {:.1} | ({low:.1}–{high:.1}) |",
            contestant.name,
            median(times)
        );
    }
    println!("\n| ratio | | aim |\n|---|---:|---|");
    for Comparison {
        what,
        over,
        under,
        aim,
    } in comparisons()
    {
        let pairs = results[over].iter().zip(&results[under]);
        let ratio = median(&pairs.map(|(over, under)| over / under).collect::<Vec<_>>());
        println!("| {what} | {ratio:.2} | {} |", aim.verdict(ratio));
    }
    println!("\n| bytes per key, 100 000 keys | | aim |\n|---|---:|---|");
    for (cells, aim) in [(64, 700.0), (16, 200.0)] {
        let bytes = memory::per_key(cells);
        println!(
            "| {cells} cells | {bytes:.0} | {} |",
            Aim::AtMost(aim).verdict(bytes)
        );
    }
}
