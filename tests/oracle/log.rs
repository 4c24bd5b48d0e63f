//! The exact sliding log. Brute force: what the limiter is measured against
//! must be obvious.

/// An exact log of one key's admissions: units and the tick of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    admitted: Vec<(u64, u32)>,
}

impl Log {
    /// Units admitted at `at`.
    pub(crate) fn admit(&mut self, at: u64, units: u32) {
        self.admitted.push((at, units));
    }

    /// Units that are still in the window of `length` at `now`: an admission
    /// leaves it `length` after its tick.
    pub(crate) fn used(&self, now: u64, length: u64) -> u32 {
        let inside = |&&(at, _): &&(u64, u32)| at + length > now;
        self.admitted.iter().filter(inside).map(|a| a.1).sum()
    }

    /// The first tick from `now` on at which `units` more fit under `limit`.
    pub(crate) fn admits(&self, now: u64, units: u32, limit: u32, length: u64) -> u64 {
        let leaves = self.admitted.iter().map(|&(at, _)| at + length);
        leaves
            .chain([now])
            .filter(|&at| at >= now && self.used(at, length) + units <= limit)
            .min()
            .unwrap_or(u64::MAX)
    }
}
