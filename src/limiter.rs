//! The limiter: what a gateway calls.
//!
//! A [`Limiter`] is a handle on a region. It is `Send` and `Sync`; all its
//! methods take `&self`, are lock-free, and on the way of a check allocate
//! nothing, make no system call (the clock's vDSO call aside) and do not
//! panic. Whoever is refused only loads.

use crate::decision::{Decision, Outcome};
use crate::error::Error;
use crate::hash::{Hashed, Secret};
use crate::limit::Policy;
use crate::options::{ClockKind, OnFull, Options};
use crate::region::{Region, Settings, as_uninit};
use crate::sync::TRIES;
use crate::table::{Key, Place, Set};
use crate::time::{MS_PER_S, epoch_before};
use crate::window::{Answer, Reading, Rules, Window};
use crate::word::Cell;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

mod permit;
pub use permit::{Acquired, Held, Permit, Released};

#[cfg(feature = "std")]
use crate::process::Process;
#[cfg(feature = "std")]
use crate::{clock, shm};
#[cfg(feature = "std")]
use std::path::Path;

/// Requests of [`Limiter::check_many`] whose memory is asked for at once:
/// about as many misses as a core keeps in flight.
pub(crate) const BATCH: usize = 16;

const NO_SECRET: Error = Error::Option {
    name: "secret",
    value: 0,
    must: "given, and random, where the system has no random numbers",
};

/// One request of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The API key, any bytes.
    pub key: &'a [u8],
    /// Its limit.
    pub policy: Policy,
    /// Units it costs.
    pub cost: u32,
}

/// What a region is and has seen. Counters are exact when nobody is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records the table can hold.
    pub keys_capacity: u64,
    /// Records given to keys and not taken back.
    pub keys_held: u64,
    /// Records ever given to a key.
    pub inserted: u64,
    /// Records taken back: from idle keys, and in a full table now and then
    /// from one that was given but not charged yet.
    pub evicted: u64,
    /// Checks and acquisitions answered by the region's [`OnFull`].
    pub full: u64,
    /// Keys and classes the region can hold permits of at one time.
    pub permit_capacity: u64,
    /// Most permits of a key and class.
    pub permit_cells: u32,
    /// Size of the region in bytes.
    pub bytes: u64,
    /// Cells of each ring.
    pub cells: u32,
    /// The longest window, in milliseconds.
    pub max_window_ms: u32,
    /// Whose clock counts.
    pub clock: ClockKind,
    /// What a key hears that the table has no room for.
    pub on_full: OnFull,
}

/// An exact sliding-window rate limiter on one region of memory.
///
/// `'m` is the lifetime of the caller's memory; regions that the limiter
/// mapped itself are `Limiter<'static>`.
pub struct Limiter<'m> {
    region: Region,
    /// This process among the holders of permits; `None`: the system has no
    /// memory for it.
    #[cfg(feature = "std")]
    process: Option<Process>,
    /// Milliseconds by which a reading of wall time may be behind.
    #[cfg(feature = "std")]
    wall_slack_ms: u32,
    /// Keeps the region's memory; never read.
    #[cfg(feature = "std")]
    _mapping: Option<shm::Mapping>,
    _memory: PhantomData<&'m mut [u64]>,
}

impl core::fmt::Debug for Limiter<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Limiter").field(&self.stats()).finish()
    }
}

#[cfg(feature = "std")]
impl Limiter<'static> {
    /// The limiter of all processes that open `path`, which is best on
    /// `/dev/shm`; its file is created if there is none. Dropping the limiter
    /// leaves the file and what is counted in it.
    ///
    /// # Errors
    /// [`shm::OpenError`] says what is wrong and names the values at odds.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, shm::OpenError> {
        shm::open(path.as_ref(), options).map(Self::mapped)
    }

    /// A limiter for this process alone.
    ///
    /// # Errors
    /// An option out of its range, or no memory.
    pub fn private(options: &Options) -> Result<Self, shm::OpenError> {
        shm::private(options).map(Self::mapped)
    }

    fn mapped(opened: shm::Opened) -> Self {
        Self {
            region: opened.region,
            process: Process::new(opened.file),
            wall_slack_ms: clock::wall_slack_ms(),
            _mapping: Some(opened.mapping),
            _memory: PhantomData,
        }
    }
}

#[cfg(feature = "std")]
impl Limiter<'_> {
    /// Charges `cost` units to `key` if its policy admits them now.
    ///
    /// A cost of 0 charges nothing and is answered as by [`Limiter::peek`].
    ///
    /// # Errors
    /// [`Error::Cost`] if `cost` exceeds the limit, [`Error::Window`] if the
    /// window is longer than the region's longest, [`Error::Clock`] if the
    /// region's caller supplies the time.
    #[inline]
    pub fn check(&self, key: &[u8], policy: Policy, cost: u32) -> Result<Decision, Error> {
        let ask = Ask::new(self, Request { key, policy, cost }, Time::Read)?;
        Ok(self.answer(&ask, self.read_clock()))
    }

    /// Whether [`Limiter::check`] would admit `cost` units now. Writes
    /// nothing; `used` does not count the `cost`.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub fn peek(&self, key: &[u8], policy: Policy, cost: u32) -> Result<Decision, Error> {
        let ask = Ask::new(self, Request { key, policy, cost }, Time::Read)?;
        Ok(self.look(ask, self.read_clock()))
    }

    /// [`Limiter::check`] of many requests, each on its own and in order, with
    /// the memory of several asked for at once: for keys at random several
    /// times as fast. Answers as many as `answers` has room for, and returns
    /// how many that is.
    pub fn check_many(
        &self,
        requests: &[Request<'_>],
        answers: &mut [Result<Decision, Error>],
    ) -> usize {
        self.each(requests, answers, Time::Read, || self.read_clock())
    }

    /// Wall time in Unix milliseconds, for [`Response::new`]: never early, and
    /// late by at most two timer ticks, so that a `Reset` it makes is no
    /// earlier than the moment it speaks of.
    ///
    /// [`Response::new`]: crate::http::Response::new
    #[inline]
    pub fn unix_ms(&self) -> u64 {
        clock::unix_ms().saturating_add(self.wall_slack_ms.into())
    }

    #[inline(always)]
    fn read_clock(&self) -> u64 {
        self.tick(clock::now_ms(self.region.settings.clock))
    }
}

impl<'m> Limiter<'m> {
    /// Words that [`Limiter::in_memory`] needs for these options.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of its range, [`Error::Memory`]
    /// if no memory could be so large.
    pub fn words_needed(options: &Options) -> Result<usize, Error> {
        let settings = Settings::new(options, Secret([0; 2]))?;
        // Memory that is aligned to a word only has to be aligned to more.
        match settings.bytes() {
            Some(bytes) => Ok(bytes
                .saturating_add(crate::layout::ALIGN)
                .div_ceil(size_of::<u64>())),
            None => Err(Error::Memory {
                needed: u64::MAX,
                given: 0,
            }),
        }
    }

    /// A limiter in the caller's memory, for threads of this process. The
    /// memory is cleared.
    ///
    /// Without the feature `std` there is no operating system to ask: the
    /// clock must be [`ClockKind::Caller`], which is then the default, and the
    /// secret must be among the options.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of its range or missing,
    /// [`Error::Memory`] if the memory is too small.
    pub fn in_memory(memory: &'m mut [u64], options: &Options) -> Result<Self, Error> {
        Self::in_uninit(as_uninit(memory), options)
    }

    /// [`Limiter::in_memory`] in memory that holds no values yet.
    pub(crate) fn in_uninit(
        memory: &'m mut [MaybeUninit<u64>],
        options: &Options,
    ) -> Result<Self, Error> {
        let limiter = Self {
            region: Region::in_memory(memory, Self::settings(options)?)?,
            #[cfg(feature = "std")]
            process: Process::new(None),
            #[cfg(feature = "std")]
            wall_slack_ms: clock::wall_slack_ms(),
            #[cfg(feature = "std")]
            _mapping: None,
            _memory: PhantomData,
        };
        #[cfg(feature = "std")]
        shm::start(&limiter.region);
        Ok(limiter)
    }

    #[cfg(feature = "std")]
    fn settings(options: &Options) -> Result<Settings, Error> {
        shm::settings(options, Path::new("")).map_err(|error| match error {
            shm::OpenError::Option(error) => error,
            _ => NO_SECRET,
        })
    }

    #[cfg(not(feature = "std"))]
    fn settings(options: &Options) -> Result<Settings, Error> {
        let secret = options.secret.ok_or(NO_SECRET)?;
        let clock = options.clock.unwrap_or(ClockKind::Caller);
        if clock != ClockKind::Caller {
            return Err(Error::Option {
                name: "clock",
                value: clock as u64,
                must: "the caller's where there is no operating system",
            });
        }
        Settings::new(&options.clock(clock), Secret(secret))
    }

    /// As `check`, at the caller's time, in milliseconds of any clock that is
    /// the same for all callers; its first reading fixes the epoch. Time that
    /// runs backwards never admits more.
    ///
    /// # Errors
    /// As `check`; [`Error::Clock`] if the region reads its own clock.
    #[inline]
    pub fn check_at(
        &self,
        key: &[u8],
        policy: Policy,
        cost: u32,
        now_ms: u64,
    ) -> Result<Decision, Error> {
        let ask = Ask::new(self, Request { key, policy, cost }, Time::Given)?;
        Ok(self.answer(&ask, self.given(now_ms)))
    }

    /// As `peek`, at the caller's time.
    ///
    /// # Errors
    /// As [`Limiter::check_at`].
    pub fn peek_at(
        &self,
        key: &[u8],
        policy: Policy,
        cost: u32,
        now_ms: u64,
    ) -> Result<Decision, Error> {
        let ask = Ask::new(self, Request { key, policy, cost }, Time::Given)?;
        Ok(self.look(ask, self.given(now_ms)))
    }

    /// As `check_many`, at the caller's time.
    pub fn check_many_at(
        &self,
        requests: &[Request<'_>],
        now_ms: u64,
        answers: &mut [Result<Decision, Error>],
    ) -> usize {
        let now = self.given(now_ms);
        self.each(requests, answers, Time::Given, || now)
    }

    /// The longest window that a policy may have, in milliseconds.
    pub fn max_window_ms(&self) -> u32 {
        self.region.settings.max_window_ms
    }

    /// What the region is and has seen.
    pub fn stats(&self) -> Stats {
        let header = self.region.header();
        let settings = &self.region.settings;
        let inserted = header.inserted.load_relaxed();
        let evicted = header.evicted.load_relaxed();
        Stats {
            keys_capacity: settings.geometry.ways(),
            keys_held: inserted.saturating_sub(evicted),
            inserted,
            evicted,
            full: header.full.load_relaxed(),
            permit_capacity: settings.geometry.permit_ways(),
            permit_cells: settings.geometry.permit_cells,
            bytes: settings.bytes().unwrap_or_default() as u64,
            cells: settings.geometry.cells,
            max_window_ms: settings.max_window_ms,
            clock: settings.clock,
            on_full: settings.on_full,
        }
    }

    /// A reading of the clock as a tick: from 1, and never past what a cell
    /// can hold.
    #[inline(always)]
    fn tick(&self, reading: u64) -> u64 {
        let since = reading.wrapping_sub(self.region.header().epoch.load_relaxed());
        // A reading from before the epoch wraps to the upper half.
        if since > i64::MAX as u64 {
            1
        } else {
            since.clamp(1, Cell::LAST_TIME)
        }
    }

    fn given(&self, now_ms: u64) -> u64 {
        let epoch = &self.region.header().epoch;
        if epoch.load_relaxed() == 0 {
            // Only one of several first callers sets it; all then read it.
            epoch.cas(0, epoch_before(now_ms));
        }
        self.tick(now_ms)
    }

    fn each(
        &self,
        requests: &[Request<'_>],
        answers: &mut [Result<Decision, Error>],
        time: Time,
        now: impl Fn() -> u64,
    ) -> usize {
        let mut asks = [const { None }; BATCH];
        for (requests, answers) in requests.chunks(BATCH).zip(answers.chunks_mut(BATCH)) {
            for (ask, request) in asks.iter_mut().zip(requests) {
                *ask = Some(Ask::new(self, *request, time));
            }
            let now = now();
            for (answer, ask) in answers.iter_mut().zip(asks.iter_mut()) {
                match ask.take() {
                    Some(Ok(ask)) => *answer = Ok(self.answer(&ask, now)),
                    Some(Err(error)) => *answer = Err(error),
                    None => break,
                }
            }
        }
        requests.len().min(answers.len())
    }

    #[inline(always)]
    fn answer(&self, ask: &Ask<'_>, now: u64) -> Decision {
        if ask.cost == 0 {
            return self.look(*ask, now);
        }
        for _ in 0..TRIES {
            let place = match ask.set.lookup(ask.hashed.key) {
                Some(place) => place,
                None => match self.insert(ask.set, ask.hashed.key, now) {
                    Some(place) => place,
                    None => break,
                },
            };
            let Some(window) = ask.set.window(place) else {
                break;
            };
            match window.acquire(ask.cost, &ask.rules, now) {
                Answer::Admitted(reading) => {
                    return self.allow(ask, reading, now);
                }
                Answer::Refused(reading) => return self.refuse(ask, reading, now),
                Answer::Gone => {}
                Answer::Contended => break,
            }
        }
        self.full(ask.policy, ask.cost)
    }

    #[cold]
    fn look(&self, ask: Ask<'_>, now: u64) -> Decision {
        for _ in 0..TRIES {
            let window = ask
                .set
                .lookup(ask.hashed.key)
                .and_then(|place| ask.set.window(place));
            match window.map(|window: Window<'_>| window.peek(ask.cost, &ask.rules, now)) {
                None => return Decision::allowed(ask.policy, 0, 0, 0),
                Some(Answer::Admitted(reading)) => {
                    return self.allow(&ask, reading, now);
                }
                Some(Answer::Refused(reading)) => return self.refuse(&ask, reading, now),
                Some(Answer::Gone) => {}
                Some(Answer::Contended) => break,
            }
        }
        self.full(ask.policy, ask.cost)
    }

    #[inline(always)]
    fn allow(&self, ask: &Ask<'_>, reading: Reading, now: u64) -> Decision {
        let slack = self.region.settings.slack.into();
        Decision::allowed(
            ask.policy,
            reading.used,
            reading.at.saturating_sub(now),
            slack,
        )
    }

    #[inline(always)]
    fn refuse(&self, ask: &Ask<'_>, reading: Reading, now: u64) -> Decision {
        Decision::refused(
            Outcome::Limited,
            ask.policy,
            reading.used,
            reading.at.saturating_sub(now),
            self.region.settings.slack.into(),
        )
    }

    #[cold]
    fn insert(&self, set: Set<'_>, key: Key, now: u64) -> Option<Place> {
        let header = self.region.header();
        let longest = self.region.settings.max_window_ms;
        let inserted = set.insert_window(key, now, longest.into());
        if inserted.new {
            header.inserted.add_relaxed(1);
        }
        if inserted.evicted > 0 {
            header.evicted.add_relaxed(inserted.evicted.into());
        }
        inserted.place
    }

    /// No room for the key: the region's policy answers, and counts it. When a
    /// record becomes idle cannot be known; a second is the shortest wait that
    /// `Retry-After` can say.
    #[cold]
    fn full(&self, policy: Policy, cost: u32) -> Decision {
        self.region.header().full.add_relaxed(1);
        match self.region.settings.on_full {
            OnFull::Allow => Decision::untracked(policy, cost),
            OnFull::Deny => Decision::refused(Outcome::Full, policy, 0, MS_PER_S, 0),
        }
    }
}

/// Who says what time it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Time {
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "there is no clock"))]
    Read,
    Given,
}

/// A request that makes sense, with its place in the region; its memory has
/// been asked for.
#[derive(Clone, Copy)]
struct Ask<'a> {
    policy: Policy,
    cost: u32,
    rules: Rules,
    hashed: Hashed,
    set: Set<'a>,
}

impl<'a> Ask<'a> {
    #[inline(always)]
    fn new(limiter: &'a Limiter<'_>, request: Request<'_>, time: Time) -> Result<Self, Error> {
        let Request { key, policy, cost } = request;
        let settings = &limiter.region.settings;
        let caller_supplies = settings.clock == ClockKind::Caller;
        if caller_supplies != (time == Time::Given) {
            return Err(Error::Clock { caller_supplies });
        }
        if cost > policy.limit() {
            return Err(Error::Cost {
                cost,
                limit: policy.limit(),
            });
        }
        if policy.window_ms() > settings.max_window_ms {
            return Err(Error::Window {
                window_ms: policy.window_ms(),
                max_window_ms: settings.max_window_ms,
            });
        }
        let geometry = settings.geometry;
        let hashed = settings.secret.hash(key, policy.window_ms(), geometry.sets);
        limiter.region.prefetch(hashed.set, hashed.key.start);
        Ok(Self {
            policy,
            cost,
            rules: Rules::new(policy, geometry.cells, settings.slack.into()),
            hashed,
            set: limiter.region.set(hashed.set),
        })
    }
}
