//! A plan in use: read by many threads, its numbers changed by any.

use super::{ENDPOINTS, TIERS};
use crate::error::Error;
use crate::limit::Policy;
use crate::sync::Word;
use std::collections::HashMap;

/// Tiers, endpoints and known keys. Safe to share between threads.
#[derive(Debug)]
pub struct Plan {
    pub(super) tiers: Vec<Tier>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) keys: HashMap<Box<[u8]>, Grant>,
}

/// A tier's name and numbers. Both numbers are in one word, so that nobody
/// reads the limit of one setting with the window of another.
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) name: Box<str>,
    numbers: Word,
}

/// An endpoint with a limit on requests in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The request path.
    pub path: Box<str>,
    /// Most requests of one key in flight.
    pub max_in_flight: u32,
}

/// What a known key may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grant {
    /// What its tier may; the tier's place in the plan.
    Tier(usize),
    /// What was negotiated.
    Negotiated(Policy),
}

impl Tier {
    pub(super) fn new(name: &str, policy: Policy) -> Self {
        Self {
            name: name.into(),
            numbers: Word::new(pack(policy)),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        let word = self.numbers.load_relaxed();
        // What was packed was a policy.
        Policy::new((word >> 32) as u32, word as u32).unwrap_or(Policy::per_minute(0))
    }
}

const fn pack(policy: Policy) -> u64 {
    (policy.limit() as u64) << 32 | policy.window_ms() as u64
}

impl Endpoint {
    pub(super) fn new(path: &str, max_in_flight: u32) -> Self {
        Self {
            path: path.into(),
            max_in_flight,
        }
    }
}

impl Default for Plan {
    /// The contract.
    fn default() -> Self {
        Self {
            tiers: TIERS.map(|(name, policy)| Tier::new(name, policy)).into(),
            endpoints: ENDPOINTS.map(|(path, max)| Endpoint::new(path, max)).into(),
            keys: HashMap::new(),
        }
    }
}

impl Plan {
    /// What a tier may, `None` if the plan has no such tier.
    pub fn policy(&self, tier: &str) -> Option<Policy> {
        self.tier(tier).map(Tier::policy)
    }

    /// What a key may, `None` if the plan does not know it.
    pub fn key_policy(&self, key: &[u8]) -> Option<Policy> {
        match *self.keys.get(key)? {
            Grant::Tier(index) => self.tiers.get(index).map(Tier::policy),
            Grant::Negotiated(policy) => Some(policy),
        }
    }

    /// Gives a tier other numbers, for all checks from now on. What its keys
    /// have spent is kept, unless the window's length changes: a key under two
    /// lengths is two records.
    ///
    /// # Errors
    /// [`Error::Tier`] if the plan has no such tier.
    pub fn set_tier(&self, tier: &str, policy: Policy) -> Result<(), Error> {
        let found = self.tier(tier).ok_or(Error::Tier)?;
        found.numbers.store_relaxed(pack(policy));
        Ok(())
    }

    /// Names and numbers of all tiers, in the plan's order.
    pub fn tiers(&self) -> impl Iterator<Item = (&str, Policy)> {
        self.tiers.iter().map(|tier| (&*tier.name, tier.policy()))
    }

    /// The longest window of all tiers and keys, in milliseconds: what a region
    /// that serves the plan needs as `max_window_ms`.
    pub fn max_window_ms(&self) -> u32 {
        let negotiated = self.keys.values().filter_map(|grant| match grant {
            Grant::Negotiated(policy) => Some(*policy),
            Grant::Tier(_) => None,
        });
        let tiers = self.tiers.iter().map(Tier::policy);
        let windows = tiers.chain(negotiated).map(Policy::window_ms);
        windows.max().unwrap_or_default()
    }

    /// The endpoints, in the plan's order.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| &*tier.name == name)
    }
}
