//! One call for a request: permit and quota, by plan and path.

use crate::decision::Decision;
use crate::error::Error;
use crate::limit::Policy;
use crate::limiter::{Acquired, Held, Limiter};
use crate::plan::{Endpoint, Plan};

/// The answer to one [`Limiter::admit`].
#[derive(Debug)]
pub struct Admission<'l, 'p> {
    /// The quota's numbers and, on an endpoint, what is in flight. Its outcome
    /// says which of the two refused.
    pub decision: Decision,
    /// The endpoint whose limit on requests in flight the request is under.
    pub endpoint: Option<&'p Endpoint>,
    /// The request's permit, given back when dropped; `None`: it was refused,
    /// or is under no such limit.
    pub permit: Option<Held<'l>>,
}

/// How the quota is asked.
#[derive(Clone, Copy)]
enum Quota {
    Check,
    Peek,
}

fn policy_of(plan: &Plan, key: &[u8], tier: Option<&str>) -> Result<Policy, Error> {
    let policy = match tier {
        Some(tier) => plan.policy(tier),
        None => plan.key_policy(key),
    };
    policy.ok_or(Error::Tier)
}

impl Limiter<'_> {
    /// Whether a request may go on: by its tier's quota, one unit, and by the
    /// limit on requests in flight of the endpoint that its path falls under
    /// ([`Plan::endpoint`]). The permit is taken first, because it can be given
    /// back: a request refused for what is in flight charges nothing, and one
    /// refused for its quota leaves nothing in flight.
    ///
    /// `tier`: its name; `None`: what the plan's own list says of the key.
    ///
    /// # Errors
    /// [`Error::Tier`] if the plan has no such tier or key; as
    /// [`Limiter::check`] and [`Limiter::acquire`]. Then nothing was charged.
    pub fn admit<'p>(
        &self,
        plan: &'p Plan,
        key: &[u8],
        tier: Option<&str>,
        target: &[u8],
    ) -> Result<Admission<'_, 'p>, Error> {
        self.admit_policy(plan, key, policy_of(plan, key, tier)?, target)
    }

    /// As [`Limiter::admit`], by a policy that the caller knows: a negotiated
    /// one that the plan does not list.
    ///
    /// # Errors
    /// As [`Limiter::check`] and [`Limiter::acquire`].
    pub fn admit_policy<'p>(
        &self,
        plan: &'p Plan,
        key: &[u8],
        policy: Policy,
        target: &[u8],
    ) -> Result<Admission<'_, 'p>, Error> {
        self.admit_by(plan, key, target, |quota| match quota {
            Quota::Check => self.check(key, policy, 1),
            Quota::Peek => self.peek(key, policy, 1),
        })
    }

    /// As [`Limiter::admit`], at the caller's time.
    ///
    /// # Errors
    /// As [`Limiter::admit`] and [`Limiter::check_at`].
    pub fn admit_at<'p>(
        &self,
        plan: &'p Plan,
        key: &[u8],
        tier: Option<&str>,
        target: &[u8],
        now_ms: u64,
    ) -> Result<Admission<'_, 'p>, Error> {
        self.admit_policy_at(plan, key, policy_of(plan, key, tier)?, target, now_ms)
    }

    /// As [`Limiter::admit_policy`], at the caller's time.
    ///
    /// # Errors
    /// As [`Limiter::admit_policy`] and [`Limiter::check_at`].
    pub fn admit_policy_at<'p>(
        &self,
        plan: &'p Plan,
        key: &[u8],
        policy: Policy,
        target: &[u8],
        now_ms: u64,
    ) -> Result<Admission<'_, 'p>, Error> {
        self.admit_by(plan, key, target, |quota| match quota {
            Quota::Check => self.check_at(key, policy, 1, now_ms),
            Quota::Peek => self.peek_at(key, policy, 1, now_ms),
        })
    }

    fn admit_by<'p>(
        &self,
        plan: &'p Plan,
        key: &[u8],
        target: &[u8],
        ask: impl Fn(Quota) -> Result<Decision, Error>,
    ) -> Result<Admission<'_, 'p>, Error> {
        let Some(endpoint) = plan.endpoint(target) else {
            return Ok(Admission {
                decision: ask(Quota::Check)?,
                endpoint: None,
                permit: None,
            });
        };
        let max = endpoint.max_in_flight;
        let refused = |decision| {
            Ok(Admission {
                decision,
                endpoint: Some(endpoint),
                permit: None,
            })
        };
        match self.acquire(key, endpoint.class_id, max, endpoint.lease_ms)? {
            Acquired::Held(held) => {
                // An error gives the permit back as a refusal does.
                let mut decision = ask(Quota::Check)?;
                if !decision.is_allowed() {
                    drop(held);
                    let in_flight = self.in_flight(key, endpoint.class_id);
                    return refused(decision.beside(in_flight, max));
                }
                let in_flight = self.in_flight_with(&held);
                decision.untracked |= held.is_untracked();
                Ok(Admission {
                    decision: decision.beside(in_flight, max),
                    endpoint: Some(endpoint),
                    permit: Some(held),
                })
            }
            Acquired::Busy { in_flight } => {
                let quota = ask(Quota::Peek)?;
                refused(Decision::busy(quota, in_flight, max))
            }
            Acquired::Full => refused(Decision::no_permit(ask(Quota::Peek)?, max)),
        }
    }
}
