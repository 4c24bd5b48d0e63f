//! Throughput beside the peers', in one run.
//!
//!     cargo bench                        criterion's numbers, then the table
//!     MAVERA_BENCH=table cargo bench     the table alone, in a minute and a half
//!
//! The table's contestants take turns in rounds of a few milliseconds. Whoever
//! is compared runs next to each other, and ratios are medians of each round's:
//! what disturbs the machine disturbs both. A turn whose threads had to share
//! their cores does not count.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

mod comparison;
mod contestant;
mod crew;
mod floor;
mod machine;
mod memory;
mod ours;
mod peers;
mod permit_peers;
mod permits;
mod rounds;
mod stopwatch;
mod table;

use contestant::Contestant;
use crew::Crew;
use criterion::Criterion;
use std::rc::Rc;
use std::time::Duration;

type Group = (&'static str, Vec<Contestant>);

fn groups(crew: &Rc<Crew>) -> Vec<Group> {
    vec![
        ("floor", floor::contestants(crew)),
        ("mavera-rl", ours::contestants(crew)),
        ("governor", peers::governor(crew)),
        ("rate-net", peers::rate_net(crew)),
        ("permits", permits::contestants(crew)),
        ("tokio", permit_peers::tokio(crew)),
        ("pingora-limits", permit_peers::pingora(crew)),
    ]
}

fn measure_each(groups: &mut [Group]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .sample_size(20)
        .without_plots()
        .configure_from_args();
    for (name, contestants) in groups {
        let mut group = criterion.benchmark_group(*name);
        for contestant in contestants {
            group.bench_function(contestant.name, |bencher| {
                bencher.iter_custom(|requests| contestant.run(requests).time);
            });
        }
    }
    criterion.final_summary();
}

fn main() {
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let table_only = std::env::var("MAVERA_BENCH").is_ok_and(|what| what == "table");
    let crew = Rc::new(Crew::new());
    let mut groups = groups(&crew);
    if testing || !table_only {
        measure_each(&mut groups);
    }
    if !testing {
        let all = groups.into_iter().flat_map(|(_, contestants)| contestants);
        table::print(all.collect());
    }
}
