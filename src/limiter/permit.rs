//! Permits: the limiter's second half. See `permits` for how they work.

use super::Limiter;
use crate::error::Error;
use crate::options::OnFull;
#[cfg(not(feature = "std"))]
use crate::permits::Judge;
use crate::permits::{Answer, Ask, Permits, release};
#[cfg(feature = "std")]
use crate::process::Witness;
use crate::sync::TRIES;
#[cfg(feature = "std")]
use crate::time::{MS_PER_S, ceil_seconds};
use crate::word::{Owner, PermitCell};

/// A day: leases are told apart on a circle.
#[cfg(feature = "std")]
const LONGEST_LEASE_MS: u32 = 24 * 60 * 60 * 1000;

/// A permit as a plain value of 16 bytes, for other languages and for
/// containers: whoever has it gives it back by [`Limiter::release`], on any
/// thread of the process that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
#[must_use = "it stays in flight until it is released"]
pub struct Permit {
    /// Where it is: set, way and cell.
    pub(crate) place: u64,
    /// The cell's value; 0: nothing is counted and nothing is to be released.
    pub(crate) word: u64,
}

impl Permit {
    /// A permit for what is not counted: releasing it does nothing.
    pub const UNTRACKED: Self = Self { place: 0, word: 0 };

    fn new(set: u32, way: u8, cell: u8, word: u64) -> Self {
        Self {
            place: u64::from(set) << 16 | u64::from(way) << 8 | u64::from(cell),
            word,
        }
    }

    const fn parts(self) -> (u32, u8, u8) {
        let Self { place, .. } = self;
        ((place >> 16) as u32, (place >> 8) as u8, place as u8)
    }

    /// Whether it is none that could be counted.
    pub const fn is_untracked(&self) -> bool {
        self.word == 0
    }
}

/// What became of a permit that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Released {
    /// It is free again.
    Freed,
    /// Nothing was changed: it had been given back before, its lease had ended
    /// and somebody has it, or another process took it.
    NotHeld,
}

/// A permit that is held, given back when dropped.
#[derive(Debug)]
#[must_use = "it is given back when dropped"]
pub struct Held<'l> {
    limiter: &'l Limiter<'l>,
    permit: Permit,
}

impl Held<'_> {
    /// Whether it is none that is counted.
    pub const fn is_untracked(&self) -> bool {
        self.permit.is_untracked()
    }

    /// The permit as a plain value, to be given back by [`Limiter::release`].
    pub fn into_permit(self) -> Permit {
        let permit = self.permit;
        core::mem::forget(self);
        permit
    }

    /// Gives it back now, and says what became of it.
    pub fn release(self) -> Released {
        let limiter = self.limiter;
        limiter.release(self.into_permit())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.limiter.release(self.permit);
    }
}

/// The answer to one [`Limiter::acquire`].
#[derive(Debug)]
pub enum Acquired<'l> {
    /// The request may go on. In a full table whose policy is to allow, the
    /// permit is [untracked](Permit::UNTRACKED).
    Held(Held<'l>),
    /// As many are held as may be, or, after a limit was lowered, more.
    Busy {
        /// How many that is.
        in_flight: u32,
    },
    /// The table holds only keys with requests in flight, and the region's
    /// policy is to deny.
    Full,
}

#[cfg(not(feature = "std"))]
/// Without an operating system there is one process.
struct Witness<'a> {
    slots: crate::slots::Slots<'a>,
    second: &'a dyn Fn() -> u64,
}

#[cfg(not(feature = "std"))]
impl Judge for Witness<'_> {
    fn is_dead(&self, owner: Owner) -> bool {
        self.is_void(owner)
    }

    fn is_void(&self, owner: Owner) -> bool {
        self.slots.is_void(owner)
    }

    fn second(&self) -> u64 {
        (self.second)()
    }
}

impl Limiter<'_> {
    /// Takes a permit: at most `max` requests of a key and class are in flight
    /// at once, on the whole host. It is given back when the guard is dropped,
    /// and when the process dies, however it dies.
    ///
    /// `class_id` tells a key's endpoints apart; the plan has one for each.
    /// `max` is passed with every call, from 1 to the region's `permit_cells`;
    /// after it was lowered, what is in flight above it runs out. `lease_ms` is
    /// for callers that may lose track: a permit that was not given back by
    /// then, up to two seconds later, may be taken by another; 0: none.
    ///
    /// Lock-free; no system call while there is a free permit. The first of a
    /// process registers it with the region, which makes some. Time is read
    /// only for leases and to judge other processes.
    ///
    /// # Errors
    /// [`Error::Max`], [`Error::Lease`]; [`Error::Slots`] and
    /// [`Error::Register`] if the process cannot be registered.
    #[inline]
    pub fn acquire(
        &self,
        key: &[u8],
        class_id: u32,
        max: u32,
        lease_ms: u32,
    ) -> Result<Acquired<'_>, Error> {
        let settings = &self.region.settings;
        let geometry = settings.geometry;
        let permit_cells = geometry.permit_cells;
        if max == 0 || max > permit_cells {
            return Err(Error::Max { max, permit_cells });
        }
        let sets = geometry.permit_sets;
        let hashed = settings.secret.hash_class(key, class_id, sets);
        self.region.prefetch_permits(hashed.set, hashed.key.start);
        let ask = Ask {
            owner: self.own()?,
            max,
            deadline: self.deadline(lease_ms)?,
        };
        let second = || self.second();
        let Some(judge) = self.witness(&second) else {
            return Err(Error::Slots);
        };
        let set = self.region.permit_set(hashed.set);
        for _ in 0..TRIES {
            let place = match set.lookup(hashed.key) {
                Some(place) => place,
                None => match set.insert_permits(hashed.key, &judge).place {
                    Some(place) => place,
                    None => break,
                },
            };
            let Some(permits) = set.permits(place) else {
                break;
            };
            match permits.acquire(ask, &judge) {
                Answer::Held(taken) => {
                    let permit = Permit::new(hashed.set, place.way, taken.cell, taken.word);
                    return Ok(Acquired::Held(self.hold(permit)));
                }
                Answer::Busy(in_flight) => return Ok(Acquired::Busy { in_flight }),
                Answer::Gone => {}
                Answer::Contended => break,
            }
        }
        Ok(self.no_room())
    }

    /// A guard for a permit of this limiter's.
    pub fn hold(&self, permit: Permit) -> Held<'_> {
        Held {
            limiter: self,
            permit,
        }
    }

    /// Gives a permit back. Wait-free; any thread of the process that took it.
    /// A second time, or after somebody else has it, it changes nothing.
    #[inline]
    pub fn release(&self, permit: Permit) -> Released {
        if permit.is_untracked() {
            return Released::Freed;
        }
        let geometry = self.region.settings.geometry;
        let (set, way, cell) = permit.parts();
        let owner = PermitCell::unpack(permit.word).owner;
        if set >= geometry.permit_sets || !self.is_own(owner) {
            return Released::NotHeld;
        }
        let cells = self.region.permit_set(set).permit_cells(way);
        match cells.get(usize::from(cell)) {
            Some(cell) if release(cell, permit.word) => Released::Freed,
            _ => Released::NotHeld,
        }
    }

    /// Requests in flight of the key and class that a permit which is held is
    /// of, itself included: its record cannot be evicted meanwhile.
    #[cfg(feature = "std")]
    pub(crate) fn in_flight_with(&self, held: &Held<'_>) -> u32 {
        let (set, way, _) = held.permit.parts();
        let second = || self.second();
        if held.is_untracked() || set >= self.region.settings.geometry.permit_sets {
            return 0;
        }
        let permits = self.region.permit_set(set).permits_of(way);
        let judge = self.witness(&second);
        let counted = permits
            .zip(judge)
            .and_then(|(permits, judge)| permits.in_flight(&judge));
        counted.unwrap_or_default()
    }

    /// Requests of a key and class in flight. While others come and go it is a
    /// number that was true of each permit at some moment of the call; permits
    /// of a process that has just died may still count. Loads only.
    pub fn in_flight(&self, key: &[u8], class_id: u32) -> u32 {
        let second = || self.second();
        let judge = self.witness(&second);
        let Some(judge) = judge else { return 0 };
        let sets = self.region.settings.geometry.permit_sets;
        let hashed = self.region.settings.secret.hash_class(key, class_id, sets);
        let set = self.region.permit_set(hashed.set);
        for _ in 0..TRIES {
            let permits = set.lookup(hashed.key).and_then(|place| set.permits(place));
            match permits.map(|permits: Permits<'_>| permits.in_flight(&judge)) {
                None => return 0,
                Some(Some(held)) => return held,
                Some(None) => {}
            }
        }
        0
    }

    #[cold]
    fn no_room(&self) -> Acquired<'_> {
        self.region.header().full.add_relaxed(1);
        match self.region.settings.on_full {
            OnFull::Allow => Acquired::Held(self.hold(Permit::UNTRACKED)),
            OnFull::Deny => Acquired::Full,
        }
    }
}

#[cfg(feature = "std")]
impl Limiter<'_> {
    #[inline(always)]
    fn own(&self) -> Result<Owner, Error> {
        let process = self.process.as_ref();
        let process = process.ok_or(Error::Register { code: libc::ENOMEM })?;
        process.owner(self.region.slots(), &self.region.header().turn)
    }

    #[inline(always)]
    fn is_own(&self, owner: Owner) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.is(owner))
    }

    #[inline(always)]
    fn witness<'a>(&'a self, second: &'a dyn Fn() -> u64) -> Option<Witness<'a>> {
        Some(Witness {
            process: self.process.as_ref()?,
            slots: self.region.slots(),
            second,
        })
    }

    #[inline(always)]
    fn deadline(&self, lease_ms: u32) -> Result<u32, Error> {
        if lease_ms == 0 {
            return Ok(0);
        }
        let caller_supplies = self.region.settings.clock == crate::ClockKind::Caller;
        if lease_ms > LONGEST_LEASE_MS || caller_supplies {
            return Err(Error::Lease { lease_ms });
        }
        let end = self.read_clock().saturating_add(lease_ms.into());
        Ok(PermitCell::deadline_at(ceil_seconds(end)))
    }

    fn second(&self) -> u64 {
        // Ticks are far from their end, and a second is never 0.
        self.read_clock().checked_div(MS_PER_S).unwrap_or_default()
    }
}

#[cfg(not(feature = "std"))]
impl Limiter<'_> {
    /// The one process there is.
    const ONE: Owner = Owner {
        slot: 1,
        generation: 0,
    };

    fn own(&self) -> Result<Owner, Error> {
        Ok(Self::ONE)
    }

    fn is_own(&self, owner: Owner) -> bool {
        owner == Self::ONE
    }

    fn witness<'a>(&'a self, second: &'a dyn Fn() -> u64) -> Option<Witness<'a>> {
        Some(Witness {
            slots: self.region.slots(),
            second,
        })
    }

    fn deadline(&self, lease_ms: u32) -> Result<u32, Error> {
        match lease_ms {
            0 => Ok(0),
            _ => Err(Error::Lease { lease_ms }),
        }
    }

    /// There are no leases.
    fn second(&self) -> u64 {
        0
    }
}

#[cfg(feature = "std")]
impl Drop for Limiter<'_> {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.leave(self.region.slots());
        }
    }
}
