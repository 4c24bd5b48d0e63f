//! What takes part: a name and a way to make so many requests.

use crate::crew::{Crew, Work};
use crate::stopwatch::{Stopwatch, Took};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Keys that mostly fit into the caches, and keys that do not.
pub(crate) const SOME: u64 = 100_000;
pub(crate) const LOTS: u64 = 1_000_000;

// What a check of a key costs depends on what its window holds, and a window
// that is never left fills up while it is measured. So there are two states
// that last, and neither depends on who ran before.

/// Quiet: hardly a request of a key is still in the window when it next asks.
pub(crate) const QUIET: Duration = Duration::from_millis(10);
/// Busy: none leaves the window while anything is measured, and before that a
/// key asks so often, each time in another millisecond.
pub(crate) const BUSY: Duration = Duration::from_secs(3600);
pub(crate) const BUSY_FROM: u64 = 9;

/// One way to answer requests.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    run: Box<dyn FnMut(u64) -> Took>,
}

impl Contestant {
    /// `request` answers the request of a number.
    pub(crate) fn new(name: &'static str, mut request: impl FnMut(u64) + 'static) -> Self {
        let mut asked = 0;
        Self::timed(name, move |requests| {
            let watch = Stopwatch::start();
            for number in asked..asked + requests {
                request(number);
            }
            asked += requests;
            Took::of(&[watch.stop()])
        })
    }

    /// `run` makes so many requests and says how long it took.
    pub(crate) fn timed(name: &'static str, run: impl FnMut(u64) -> Took + 'static) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }

    /// `request` answers a request of one of the crew's first `threads`. They
    /// all run at once, and the time is for all of their requests together.
    pub(crate) fn on_threads(
        name: &'static str,
        crew: &Rc<Crew>,
        threads: usize,
        request: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self::timed_on_threads(name, crew, threads, |took| took, request)
    }

    /// As [`Contestant::on_threads`], with another idea of the time taken.
    pub(crate) fn timed_on_threads(
        name: &'static str,
        crew: &Rc<Crew>,
        threads: usize,
        time: fn(Took) -> Took,
        request: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        let crew = crew.clone();
        let work: Work = Arc::new(move |thread, requests| {
            for _ in 0..requests {
                request(thread);
            }
        });
        Self::timed(name, move |requests| {
            time(crew.run(threads, &work, requests))
        })
    }

    pub(crate) fn run(&mut self, requests: u64) -> Took {
        (self.run)(requests)
    }
}

/// A key of 16 bytes for a number, made without touching memory: a table of
/// keys would be a cache miss of its own.
pub(crate) fn key(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (half, salt) in bytes.chunks_exact_mut(8).zip([0, 1]) {
        half.copy_from_slice(&scatter(number ^ (salt << 63)).to_le_bytes());
    }
    bytes
}

/// A number that looks random (splitmix64, Steele et al. 2014).
pub(crate) fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// One of `keys` at random, for a request's number.
pub(crate) fn pick(number: u64, keys: u64) -> u64 {
    scatter(number) % keys
}

/// The next request's number, which cannot be known before `answer` is: the
/// processor has to wait for it, though it changes nothing.
pub(crate) fn after(answer: u64, number: u64) -> u64 {
    const NEVER_SET: u64 = 1 << 40;
    number.wrapping_add(black_box(answer) & NEVER_SET)
}
