//! Throughput beside the peers', in one run.
//!
//!     cargo bench                        criterion's numbers, then the table
//!     MAVERA_BENCH=table cargo bench     the table alone, in a minute
//!
//! The table's contestants take turns in rounds of a few milliseconds, and its
//! ratios are medians of each round's: what disturbs the machine disturbs all.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod contestant;
mod floor;
mod memory;
mod ours;
mod peers;
mod table;

use contestant::Contestant;
use criterion::Criterion;
use std::time::Duration;

fn contestants() -> Vec<Contestant> {
    let mut all = floor::contestants();
    all.extend(ours::contestants());
    all.extend(peers::contestants());
    all
}

fn measure_each(contestants: &mut [Contestant]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    for contestant in contestants {
        criterion.bench_function(contestant.name, |bencher| {
            bencher.iter_custom(|requests| contestant.run(requests));
        });
    }
    criterion.final_summary();
}

fn main() {
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let table_only = std::env::var("MAVERA_BENCH").is_ok_and(|what| what == "table");
    let mut contestants = contestants();
    if !table_only {
        measure_each(&mut contestants);
    }
    if !testing {
        table::print(&mut contestants);
    }
}
