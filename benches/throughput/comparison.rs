//! Which times are divided by which, and what the ratios are meant to be.

use crate::floor;
use crate::ours;
use crate::peers::{GOVERNOR, LOG};
use crate::permit_peers::{PINGORA, TOKIO};
use crate::permits;

/// A ratio of two contestants' times.
pub(crate) struct Comparison {
    pub(crate) what: &'static str,
    /// Its time is divided by the other's.
    pub(crate) over: &'static str,
    pub(crate) under: &'static str,
    pub(crate) aim: Aim,
}

#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtMost(f64),
    AtLeast(f64),
    None,
}

impl Aim {
    pub(crate) fn verdict(self, value: f64) -> String {
        let (words, reached) = match self {
            _ if value.is_nan() => return "not judged: disturbed".into(),
            Self::AtMost(most) => (format!("≤ {most}"), value <= most),
            Self::AtLeast(least) => (format!("≥ {least}"), value >= least),
            Self::None => return String::new(),
        };
        format!("{words}: {}", if reached { "reached" } else { "missed" })
    }
}

const fn ratio(
    what: &'static str,
    over: &'static str,
    under: &'static str,
    aim: Aim,
) -> Comparison {
    Comparison {
        what,
        over,
        under,
        aim,
    }
}

/// The promises.
const AIMED: [Comparison; 8] = [
    ratio(
        "admitted: ours / governor's",
        ours::HOT,
        GOVERNOR.hot,
        Aim::AtMost(1.0),
    ),
    ratio(
        "denied: 1 thread / 2 threads (throughput gained)",
        ours::DENIED_1,
        ours::DENIED_2,
        Aim::AtLeast(1.9),
    ),
    ratio(
        "admitted: exact log's / ours",
        LOG.hot,
        ours::HOT,
        Aim::AtLeast(3.0),
    ),
    ratio(
        "100 k quiet keys: exact log's / ours",
        LOG.at_100k,
        ours::AT_100K,
        Aim::AtLeast(5.0),
    ),
    ratio(
        "1 M quiet keys, waiting: ours / one line per key",
        ours::AT_1M_WAITING,
        floor::LINE_1M_WAITING,
        Aim::AtMost(1.4),
    ),
    ratio(
        "1 M busy keys, waiting: ours / one line per key",
        ours::BUSY_1M_WAITING,
        floor::LINE_1M_WAITING,
        Aim::AtMost(1.4),
    ),
    ratio(
        "permit: ours / tokio's",
        permits::HOT,
        TOKIO.hot,
        Aim::AtMost(3.0),
    ),
    ratio(
        "permit, 2 threads on one key: ours / tokio's",
        permits::ONE_KEY_2,
        TOKIO.one_key_2,
        Aim::AtMost(1.5),
    ),
];

/// For the reader.
#[rustfmt::skip]
const TOLD: [Comparison; 27] = [
    ratio("denied: 1 thread / 2 threads, by processor time", ours::DENIED_1_RAN, ours::DENIED_2_RAN, Aim::None),
    ratio("admitted: ours / CAS + hash + clock", ours::HOT, floor::CAS_HASH_CLOCK, Aim::None),
    // What an aim would come to if all else were free.
    ratio("admitted: CAS + clock / governor's", floor::CAS_CLOCK, GOVERNOR.hot, Aim::None),
    ratio("admitted: exact log's / CAS + hash + clock", LOG.hot, floor::CAS_HASH_CLOCK, Aim::None),
    ratio("100 k quiet keys: exact log's / one line per key", LOG.at_100k, floor::LINE_100K, Aim::None),
    ratio("1 M quiet keys: single checks / check_many", ours::AT_1M, ours::MANY_1M, Aim::None),
    ratio("1 M busy keys: single checks / check_many", ours::BUSY_1M, ours::BUSY_MANY_1M, Aim::None),
    ratio("denied: governor's / ours", GOVERNOR.denied, ours::DENIED, Aim::None),
    ratio("denied: exact log's / ours", LOG.denied, ours::DENIED, Aim::None),
    ratio("2 threads on one key: ours / a shared CAS", ours::ONE_KEY_2, floor::CAS_SHARED, Aim::None),
    ratio("2 threads on one key: governor's / ours", GOVERNOR.one_key_2, ours::ONE_KEY_2, Aim::None),
    ratio("2 threads on one key: exact log's / ours", LOG.one_key_2, ours::ONE_KEY_2, Aim::None),
    ratio("2 threads on different keys: governor's / ours", GOVERNOR.keys_2, ours::KEYS_2, Aim::None),
    ratio("2 threads on different keys: exact log's / ours", LOG.keys_2, ours::KEYS_2, Aim::None),
    ratio("100 k quiet keys: governor's / ours", GOVERNOR.at_100k, ours::AT_100K, Aim::None),
    ratio("1 M quiet keys: governor's / ours", GOVERNOR.at_1m, ours::AT_1M, Aim::None),
    ratio("1 M quiet keys: exact log's / ours", LOG.at_1m, ours::AT_1M, Aim::None),
    ratio("100 k quiet keys, waiting: ours / one line per key", ours::AT_100K_WAITING, floor::LINE_100K_WAITING, Aim::None),
    ratio("1 M quiet keys: ours / one line per key", ours::AT_1M, floor::LINE_1M, Aim::None),
    ratio("1 M busy keys: ours / one line per key", ours::BUSY_1M, floor::LINE_1M, Aim::None),
    ratio("permit: ours / pingora's", permits::HOT, PINGORA.hot, Aim::None),
    ratio("permit, 2 threads on one key: ours / pingora's", permits::ONE_KEY_2, PINGORA.one_key_2, Aim::None),
    ratio("permit: ours / CAS pair", permits::HOT, floor::PAIR, Aim::None),
    ratio("permit: ours / CAS pair + hash", permits::HOT, floor::PAIR_HASH, Aim::None),
    ratio("permit, 2 threads on one key: ours / CAS pair", permits::ONE_KEY_2, floor::PAIR_2, Aim::None),
    ratio("permit: region file / private", permits::HOT_FILE, permits::HOT, Aim::None),
    ratio("admit / check + permit", permits::ADMIT, permits::CHECK, Aim::None),
];

pub(crate) fn all() -> impl Iterator<Item = &'static Comparison> {
    AIMED.iter().chain(&TOLD)
}
