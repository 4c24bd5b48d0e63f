//! Wall time beside processor time: what passed, and what a thread had of it.

#![expect(unsafe_code, reason = "processor time is libc's")]

use std::time::{Duration, Instant};

/// A thread at work.
pub(crate) struct Stopwatch {
    begun: Instant,
    ran: Duration,
}

/// One thread's part of a turn.
pub(crate) struct Part {
    begun: Instant,
    ended: Instant,
    processor: Duration,
}

/// How long a turn took.
#[derive(Clone, Copy)]
pub(crate) struct Took {
    /// From when the first thread began until the last was done.
    pub(crate) time: Duration,
    /// The longest that a thread ran: as if nobody else were on its core.
    processor: Duration,
    /// What the worst-off thread had of its core, up to 1.
    share: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            begun: Instant::now(),
            ran: processor_time(),
        }
    }

    /// On the thread that started it.
    pub(crate) fn stop(self) -> Part {
        Part {
            processor: processor_time().saturating_sub(self.ran),
            begun: self.begun,
            ended: Instant::now(),
        }
    }
}

impl Part {
    fn share(&self) -> f64 {
        let wall = self.ended - self.begun;
        self.processor.as_secs_f64() / wall.as_secs_f64()
    }
}

impl Took {
    /// What the threads of a turn, at least one, took together.
    pub(crate) fn of(parts: &[Part]) -> Self {
        let begun = parts.iter().map(|part| part.begun).min().unwrap();
        let ended = parts.iter().map(|part| part.ended).max().unwrap();
        Self {
            time: ended - begun,
            processor: parts.iter().map(|part| part.processor).max().unwrap(),
            share: parts.iter().map(Part::share).fold(1.0, f64::min),
        }
    }

    /// Processor time in place of wall time. Nobody else can disturb it, but
    /// threads that did not run at once did not get in each other's way.
    pub(crate) fn by_processor(self) -> Self {
        Self {
            time: self.processor,
            share: 1.0,
            ..self
        }
    }

    pub(crate) fn scaled(self, by: f64) -> Self {
        Self {
            time: self.time.mul_f64(by),
            ..self
        }
    }

    /// Whether all its threads had their cores for themselves. It says nothing
    /// of how fast they were, so choosing such turns favours nobody.
    pub(crate) fn undisturbed(self) -> bool {
        const ENOUGH: f64 = 0.95;
        self.share >= ENOUGH
    }
}

/// What this thread has run so far.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec into ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let rest = u32::try_from(time.tv_nsec).unwrap();
    Duration::new(time.tv_sec.unsigned_abs(), rest)
}
