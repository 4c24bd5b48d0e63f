//! The tables: what everybody took, how they compare, and memory.

use crate::comparison::{self, Aim};
use crate::contestant::{Contestant, LOTS, SOME};
use crate::rounds::{Field, ROUNDS};
use crate::{machine, memory};

/// The median, and the quartiles around it.
struct Middle {
    low: f64,
    median: f64,
    high: f64,
    /// Of so many values. Of less than [`FEW`], the rest is not a number.
    count: usize,
}

/// Less say nothing.
const FEW: usize = 5;

impl Middle {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            if values.len() < FEW {
                return f64::NAN;
            }
            let last = sorted.len().saturating_sub(1);
            sorted.get(last * quarter / 4).copied().unwrap_or(f64::NAN)
        };
        Self {
            low: at(1),
            median: at(2),
            high: at(3),
            count: values.len(),
        }
    }
}

fn print_times(names: &[&'static str], field: &Field) {
    println!("| ns per request | median | middle half |\n|---|---:|---|");
    for name in names {
        let Middle {
            low,
            median,
            high,
            count,
        } = Middle::of(&field.results.times[name]);
        if count < FEW {
            println!("| {name} | – | disturbed |");
            continue;
        }
        println!("| {name} | {median:.1} | {low:.1}–{high:.1} |");
    }
}

fn print_ratios(field: &Field) {
    println!("\n| ratio | median | middle half | rounds | aim |\n|---|---:|---|---:|---|");
    for pair in comparison::all() {
        let Middle {
            low,
            median,
            high,
            count,
        } = Middle::of(&field.results.ratios[pair.what]);
        let verdict = pair.aim.verdict(median);
        let what = pair.what;
        if count < FEW {
            println!("| {what} | – | – | {count} | {verdict} |");
            continue;
        }
        println!("| {what} | {median:.2} | {low:.2}–{high:.2} | {count} | {verdict} |");
    }
}

fn print_memory() {
    println!("\n| memory | bytes per key | keys without a place | aim |\n|---|---:|---:|---|");
    for (what, keys, cells, aim) in [
        ("100 k keys, 64 cells", SOME, 64, Aim::AtMost(700.0)),
        ("100 k keys, 16 cells", SOME, 16, Aim::AtMost(200.0)),
        ("1 M keys, 16 cells", LOTS, 16, Aim::None),
    ] {
        let (bytes, stats) = memory::per_key(keys, cells);
        let (full, verdict) = (stats.full, aim.verdict(bytes));
        println!("| {what} | {bytes:.0} | {full} | {verdict} |");
    }
}

/// Takes all contestants through their rounds and prints how they compare.
pub(crate) fn print(contestants: Vec<Contestant>) {
    let names: Vec<_> = contestants.iter().map(|one| one.name).collect();
    let mut field = Field::new(contestants);
    field.race();
    println!("\n{}", machine::describe());
    println!("{ROUNDS} rounds of turns; whoever is compared runs side by side");
    println!("rounds whose threads had to share their cores do not count\n");
    print_times(&names, &field);
    print_ratios(&field);
    print_memory();
}
