//! What a check answers.

use crate::limit::Policy;
use crate::time::{MS_PER_S, ceil_seconds};

/// Whether the request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It may, and was charged.
    Allowed,
    /// The quota is spent. Nothing was charged.
    Limited,
    /// As many requests are in flight as may be. Nothing was charged.
    Busy,
    /// The table holds only keys that still owe and the region's policy is to
    /// deny. Nothing was charged.
    Full,
}

/// The answer to one check, with all that the response headers need, from the
/// same atomic step. A plain value; times are durations from the clock reading
/// the check was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request may go on.
    pub outcome: Outcome,
    /// The policy that was asked about.
    pub policy: Policy,
    /// Units charged in the window, this call's included. After a limit was
    /// lowered it may exceed the limit.
    pub used: u32,
    /// How long to wait before the same request is admitted, if nobody else
    /// spends; 0 when allowed. Exact: one millisecond less is not enough.
    pub retry_after_ms: u64,
    /// `retry_after_ms` in whole seconds, rounded up: 0 when allowed, else at
    /// least 1.
    pub retry_after_s: u32,
    /// Allowed: until the oldest unit leaves the window, 0 if it holds none.
    /// Refused: `retry_after_s` in milliseconds, so that the two headers agree.
    pub reset_after_ms: u64,
    /// The request was allowed without being counted, because the table was
    /// full and the region's policy is to allow.
    pub untracked: bool,
    /// Requests of the key in flight on the endpoint, this one included if it
    /// was allowed; 0 where no permit was asked for.
    pub in_flight: u32,
    /// How many there may be; 0 where no permit was asked for.
    pub max_in_flight: u32,
}

impl Decision {
    /// Whether the request may go on.
    pub const fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed)
    }

    /// Units that may still be spent now.
    pub const fn remaining(&self) -> u32 {
        if matches!(self.outcome, Outcome::Full) {
            return 0;
        }
        self.policy.limit().saturating_sub(self.used)
    }

    /// The answer of whoever counts nothing: allowed, with `used` units spent.
    pub const fn untracked(policy: Policy, used: u32) -> Self {
        Self {
            untracked: true,
            ..Self::allowed(policy, used, 0, 0)
        }
    }

    /// The same, with what is in flight.
    #[cfg(feature = "std")]
    pub(crate) const fn beside(self, in_flight: u32, max: u32) -> Self {
        Self {
            in_flight,
            max_in_flight: max,
            ..self
        }
    }

    /// The answer to a request for whose permit the table has no room.
    #[cfg(feature = "std")]
    pub(crate) fn no_permit(quota: Self, max: u32) -> Self {
        Self {
            outcome: Outcome::Full,
            ..Self::busy(quota, 0, max)
        }
    }

    /// The answer to a request that found as many in flight as may be: with
    /// what `quota`, a peek, says of the rest. When one ends cannot be known; a
    /// second is the shortest wait that `Retry-After` can say.
    #[cfg(feature = "std")]
    pub(crate) fn busy(quota: Self, in_flight: u32, max: u32) -> Self {
        let seconds = quota.retry_after_s.max(1);
        Self {
            outcome: Outcome::Busy,
            retry_after_ms: quota.retry_after_ms.max(MS_PER_S),
            retry_after_s: seconds,
            reset_after_ms: u64::from(seconds).saturating_mul(MS_PER_S),
            in_flight,
            max_in_flight: max,
            ..quota
        }
    }

    /// `slack` as in [`Decision::refused`].
    pub(crate) const fn allowed(policy: Policy, used: u32, reset: u64, slack: u64) -> Self {
        Self {
            outcome: Outcome::Allowed,
            policy,
            used,
            retry_after_ms: 0,
            retry_after_s: 0,
            reset_after_ms: within_window(policy, reset, slack),
            untracked: false,
            in_flight: 0,
            max_in_flight: 0,
        }
    }

    /// `slack` is what the clock adds to recorded times. It can make the wait
    /// of a burst that has just spent the whole quota a few milliseconds
    /// longer than the window; the header's whole seconds then still say the
    /// window, not a second more.
    pub(crate) const fn refused(
        outcome: Outcome,
        policy: Policy,
        used: u32,
        retry_after_ms: u64,
        slack: u64,
    ) -> Self {
        let seconds = ceil_seconds(within_window(policy, retry_after_ms, slack));
        let seconds = if seconds == 0 { 1 } else { seconds };
        Self {
            outcome,
            policy,
            used,
            retry_after_ms,
            retry_after_s: if seconds > u32::MAX as u64 {
                u32::MAX
            } else {
                seconds as u32
            },
            reset_after_ms: seconds.saturating_mul(MS_PER_S),
            untracked: false,
            in_flight: 0,
            max_in_flight: 0,
        }
    }
}

/// `ms`, or the window's length if only `slack` makes it longer than that.
const fn within_window(policy: Policy, ms: u64, slack: u64) -> u64 {
    let window = policy.window_ms() as u64;
    if ms > window && ms <= window.saturating_add(slack) {
        window
    } else {
        ms
    }
}
