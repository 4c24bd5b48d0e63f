//! A limiter with the clock that it goes by.

use crate::clock::Time;
use mavera_rl::plan::Plan;
use mavera_rl::{Admission, Decision, Error, Limiter, Permit, Policy, Released, Request};
use std::sync::Arc;

pub(crate) struct Engine {
    pub(crate) limiter: Limiter<'static>,
    /// `None`: the region's own clock.
    pub(crate) time: Option<Arc<Time>>,
}

impl Engine {
    #[inline]
    pub(crate) fn check(&self, key: &[u8], policy: Policy, cost: u32) -> Result<Decision, Error> {
        match &self.time {
            None => self.limiter.check(key, policy, cost),
            Some(time) => self.limiter.check_at(key, policy, cost, time.now_ms()),
        }
    }

    pub(crate) fn peek(&self, key: &[u8], policy: Policy, cost: u32) -> Result<Decision, Error> {
        match &self.time {
            None => self.limiter.peek(key, policy, cost),
            Some(time) => self.limiter.peek_at(key, policy, cost, time.now_ms()),
        }
    }

    /// Whether such a check can be answered.
    pub(crate) fn fits(&self, policy: Policy, cost: u32) -> Result<(), Error> {
        let (limit, window_ms) = (policy.limit(), policy.window_ms());
        let max_window_ms = self.limiter.max_window_ms();
        if cost > limit {
            Err(Error::Cost { cost, limit })
        } else if window_ms > max_window_ms {
            Err(Error::Window {
                window_ms,
                max_window_ms,
            })
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_many(
        &self,
        requests: &[Request<'_>],
        answers: &mut [Result<Decision, Error>],
    ) {
        match &self.time {
            None => self.limiter.check_many(requests, answers),
            Some(time) => self.limiter.check_many_at(requests, time.now_ms(), answers),
        };
    }

    pub(crate) fn admit<'l, 'p>(
        &'l self,
        plan: &'p Plan,
        key: &[u8],
        policy: Policy,
        target: &[u8],
    ) -> Result<Admission<'l, 'p>, Error> {
        match &self.time {
            None => self.limiter.admit_policy(plan, key, policy, target),
            Some(time) => {
                let now = time.now_ms();
                self.limiter.admit_policy_at(plan, key, policy, target, now)
            }
        }
    }

    /// Wall time for a `Reset`.
    #[inline]
    pub(crate) fn unix_ms(&self) -> u64 {
        match &self.time {
            None => self.limiter.unix_ms(),
            Some(time) => time.now_ms(),
        }
    }

    pub(crate) fn release(&self, permit: Permit) -> bool {
        self.limiter.release(permit) == Released::Freed
    }
}
