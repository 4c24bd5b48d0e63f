//! A plan in use: read by many threads, its numbers changed by any.

use super::path::{Segment, Target, class_id, goes_before, segments};
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
    /// Its own pattern, by which it is known.
    pub path: Box<str>,
    /// Its number in a region, the same in every plan that has the path:
    /// [`class_id`] of it.
    pub class_id: u32,
    /// Most requests of one key in flight.
    pub max_in_flight: u32,
    /// After how many milliseconds a permit that was not given back may be
    /// taken back; 0 for never.
    pub lease_ms: u32,
    /// Its own and those it has besides.
    pub(super) patterns: Box<[Pattern]>,
}

pub(super) type Pattern = Box<[Segment<Box<[u8]>>]>;

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
            class_id: class_id(path),
            max_in_flight,
            lease_ms: 0,
            patterns: [compile(path)].into(),
        }
    }
}

/// A pattern that is checked, in the form that matching reads.
pub(super) fn compile(pattern: &str) -> Pattern {
    let owned = segments(pattern).map(|segment| match segment {
        Segment::Any => Segment::Any,
        Segment::Literal(name) => Segment::Literal(name.as_bytes().into()),
    });
    owned.collect()
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

    /// Whether the plan lists any keys itself.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
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

    /// The endpoint whose limit on requests in flight a request falls under:
    /// the longest of all patterns that are a prefix of its path, whole
    /// segments at a time.
    ///
    /// `target` is the request target as it came, in origin-form or
    /// absolute-form, whatever its bytes; one that begins without a slash is
    /// taken as if it had one. Other spellings of a path find the same
    /// endpoint:
    /// - from `?` or `#` on nothing counts;
    /// - percent-encoding is decoded once. An encoded `/`, `;` or `.` counts as
    ///   a plain one, an encoded `?` or `#` begins nothing, and what is no
    ///   encoding stays as it is;
    /// - empty segments and `.` are dropped, and `..` removes the segment
    ///   before it, if there is one;
    /// - in each segment nothing from `;` on counts.
    ///
    /// A `*` in a pattern is any one segment. Of patterns with equally many
    /// segments the one goes first that has a literal where the other has `*`,
    /// from the left, then the first in the plan. Case counts.
    ///
    /// A path may have any number of segments, a pattern at most 16. Allocates
    /// nothing.
    pub fn endpoint(&self, target: &[u8]) -> Option<&Endpoint> {
        let target = Target::new(target);
        let mut best: Option<(&Pattern, &Endpoint)> = None;
        for endpoint in &self.endpoints {
            for pattern in &endpoint.patterns {
                if target.falls_under(pattern)
                    && best.is_none_or(|(best, _)| goes_before(pattern, best))
                {
                    best = Some((pattern, endpoint));
                }
            }
        }
        best.map(|(_, endpoint)| endpoint)
    }

    fn tier(&self, name: &str) -> Option<&Tier> {
        self.tiers.iter().find(|tier| &*tier.name == name)
    }
}
