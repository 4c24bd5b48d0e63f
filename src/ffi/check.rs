//! Checks: may this key do this now?

use super::code::{MAVERA_RL_ALLOWED, MAVERA_RL_BUSY, MAVERA_RL_FULL, MAVERA_RL_LIMITED};
use super::handle::Handle;
use super::sized::{Room, read, room, sized};
use super::{Answer, Fault, key_bytes};
use crate::decision::{Decision as Answered, Outcome};
use crate::error::Error;
use crate::limit::Policy as Limit;
use crate::limiter::{Limiter, Request as Asked};
use core::ffi::{c_char, c_int, c_void};

/// A limit: at most limit units in any span of window_ms milliseconds. It is
/// passed with every call, so a key's tier changes by passing another limit,
/// and what the key has spent is kept. One key under two window lengths is two
/// records.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Policy {
    /// sizeof(mavera_rl_policy)
    pub size: usize,
    /// Units, 0..8388608 (2^23)
    pub limit: u32,
    /// Milliseconds, from 1 to the region's max_window_ms
    pub window_ms: u32,
}
sized!(Policy, "policy");

/// The answer to one check, with all that response headers need, from the same
/// atomic step.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Decision {
    /// sizeof(mavera_rl_decision); set it before the call
    pub size: usize,
    /// MAVERA_RL_ALLOWED, _LIMITED, _BUSY or _FULL; in a batch also a negative error
    pub outcome: i32,
    /// The limit asked about
    pub limit: u32,
    /// Units charged in the window, this call's included
    pub used: u32,
    /// Units that may still be spent now
    pub remaining: u32,
    /// The window asked about, in ms
    pub window_ms: u32,
    /// For Retry-After: whole seconds, rounded up, at least 1; 0 when allowed
    pub retry_after_s: u32,
    /// The exact wait, if nobody else spends; 0 when allowed
    pub retry_after_ms: u64,
    /// Allowed: until the oldest unit leaves the window, 0 if it holds none.
    /// Refused: retry_after_s in ms
    pub reset_after_ms: u64,
    /// The same as wall time, in Unix ms: never early, and late by at most two
    /// ticks of the coarse clock (often 8 ms). At the caller's time, by that.
    pub reset_unix_ms: u64,
    /// 1: allowed without being counted, because the table was full
    pub untracked: u32,
    /// Requests of the key in flight on the endpoint, this one included if it
    /// was allowed; 0 where no permit was asked for
    pub in_flight: u32,
    /// How many there may be; 0 where no permit was asked for
    pub max_in_flight: u32,
    /// 0
    pub reserved: u32,
    /// The endpoint by the plan's name, which lives as long as the plan; NULL
    /// where no permit was asked for
    pub endpoint: *const c_char,
}
sized!(Decision, "out", untracked);

/// One request of a batch.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Request {
    /// sizeof(mavera_rl_request), the same in all of a batch
    pub size: usize,
    /// The API key, any bytes
    pub key: *const c_void,
    /// Bytes of the key
    pub key_len: usize,
    /// Its limit
    pub policy: *const Policy,
    /// Units it costs
    pub cost: u32,
    /// 0
    pub reserved: u32,
}
sized!(Request, "requests");

/// What time a decision was made.
#[derive(Clone, Copy)]
pub(super) enum Now {
    #[cfg(feature = "std")]
    Read,
    Given(u64),
}

impl Now {
    /// Wall time, never early.
    #[cfg_attr(
        not(feature = "std"),
        expect(unused_variables, reason = "there is no clock that could be late")
    )]
    pub(super) fn unix_ms(self, limiter: &Limiter<'_>) -> u64 {
        match self {
            #[cfg(feature = "std")]
            Self::Read => limiter.unix_ms(),
            Self::Given(now_ms) => now_ms,
        }
    }
}

pub(super) fn code_of(outcome: Outcome) -> c_int {
    match outcome {
        Outcome::Allowed => MAVERA_RL_ALLOWED,
        Outcome::Limited => MAVERA_RL_LIMITED,
        Outcome::Busy => MAVERA_RL_BUSY,
        Outcome::Full => MAVERA_RL_FULL,
    }
}

impl Decision {
    pub(super) fn new(answered: &Answered, unix_ms: u64) -> Self {
        Self {
            size: size_of::<Self>(),
            outcome: code_of(answered.outcome),
            limit: answered.policy.limit(),
            used: answered.used,
            remaining: answered.remaining(),
            window_ms: answered.policy.window_ms(),
            retry_after_s: answered.retry_after_s,
            retry_after_ms: answered.retry_after_ms,
            reset_after_ms: answered.reset_after_ms,
            reset_unix_ms: unix_ms.saturating_add(answered.reset_after_ms),
            untracked: answered.untracked.into(),
            in_flight: answered.in_flight,
            max_in_flight: answered.max_in_flight,
            reserved: 0,
            endpoint: core::ptr::null(),
        }
    }
}

/// # Safety
/// `policy` is NULL or points to one.
#[inline(always)]
pub(super) unsafe fn limit(policy: *const Policy) -> Result<Limit, Fault> {
    // SAFETY: as the caller promises.
    let policy = unsafe { read(policy)? };
    Ok(Limit::new(policy.limit, policy.window_ms)?)
}

/// The arguments that check and peek share.
struct Arguments {
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    out: *mut Decision,
}

impl Arguments {
    /// Answers one request by `ask`.
    ///
    /// # Safety
    /// The pointers are NULL or what the header says.
    #[inline(always)]
    unsafe fn answer(
        &self,
        rl: *const Handle,
        now: Now,
        ask: impl FnOnce(&Limiter<'static>, &[u8], Limit) -> Result<Answered, Error>,
    ) -> c_int {
        // SAFETY: as the caller promises, here and below.
        unsafe {
            Handle::enter(rl, |limiter| {
                let key = key_bytes(self.key, self.key_len)?;
                let policy = limit(self.policy)?;
                let out = match self.out.is_null() {
                    true => None,
                    false => Some(room(self.out)?),
                };
                let answered = ask(limiter, key, policy)?;
                if let Some(out) = out {
                    out.write(Decision::new(&answered, now.unix_ms(limiter)));
                }
                Ok(code_of(answered.outcome))
            })
        }
    }
}

/// Charges cost units to the key if its policy admits them now.
///
/// key, key_len: the API key, any bytes; not stored.
/// policy: its limit.
/// cost: units; 0 charges nothing and is answered as by mavera_rl_peek.
/// out: size set; gets the decision. May be NULL.
/// Returns: MAVERA_RL_ALLOWED, _LIMITED, _FULL; MAVERA_RL_EINVAL, _ESIZE,
/// _ECOST, _ECLOCK, _EINTERNAL.
/// Thread safety: any thread, any process on the region. Progress: lock-free;
/// a refusal writes nothing. Allocates and blocks: no. Not in the freestanding
/// library. Since 0.1.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_check(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    cost: u32,
    out: *mut Decision,
) -> c_int {
    let arguments = Arguments {
        key,
        key_len,
        policy,
        out,
    };
    // SAFETY: as the caller promises.
    unsafe {
        arguments.answer(rl, Now::Read, |limiter, key, policy| {
            limiter.check(key, policy, cost)
        })
    }
}

/// mavera_rl_check at the caller's time.
///
/// now_ms: milliseconds of any clock that is the same for all callers on the
/// region; its first reading fixes the epoch. Readings may lie up to 2.2 years
/// before it and 32 years after; beyond, windows stay closed. Time that runs
/// backwards never admits more. With Unix milliseconds, reset_unix_ms is right.
/// Otherwise as mavera_rl_check, but also in the freestanding library.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_check_at(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    cost: u32,
    now_ms: u64,
    out: *mut Decision,
) -> c_int {
    let arguments = Arguments {
        key,
        key_len,
        policy,
        out,
    };
    // SAFETY: as the caller promises.
    unsafe {
        arguments.answer(rl, Now::Given(now_ms), |limiter, key, policy| {
            limiter.check_at(key, policy, cost, now_ms)
        })
    }
}

/// Whether mavera_rl_check would admit cost units now. Writes nothing to the
/// region; used does not count the cost.
///
/// Parameters, returns and the rest as mavera_rl_check. Since 0.1.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_peek(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    cost: u32,
    out: *mut Decision,
) -> c_int {
    let arguments = Arguments {
        key,
        key_len,
        policy,
        out,
    };
    // SAFETY: as the caller promises.
    unsafe {
        arguments.answer(rl, Now::Read, |limiter, key, policy| {
            limiter.peek(key, policy, cost)
        })
    }
}

/// mavera_rl_peek at the caller's time, as mavera_rl_check_at. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_peek_at(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    cost: u32,
    now_ms: u64,
    out: *mut Decision,
) -> c_int {
    let arguments = Arguments {
        key,
        key_len,
        policy,
        out,
    };
    // SAFETY: as the caller promises.
    unsafe {
        arguments.answer(rl, Now::Given(now_ms), |limiter, key, policy| {
            limiter.peek_at(key, policy, cost, now_ms)
        })
    }
}

/// mavera_rl_check of many requests, each on its own and in order, with the
/// memory of several asked for at once: for keys at random several times as
/// fast.
///
/// requests, count: the batch; requests[0].size is the distance between two.
/// out: count decisions; out[0].size is the distance between two, and all
/// sizes must be set. The outcome of a request that is wrong is its error.
/// Returns: 0; MAVERA_RL_EINVAL, _ESIZE (then nothing was charged),
/// _EINTERNAL.
/// Thread safety, progress and the rest as mavera_rl_check. Since 0.1.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_check_many(
    rl: *mut Handle,
    requests: *const Request,
    count: usize,
    out: *mut Decision,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { many(rl, requests, count, out, Now::Read) }
}

/// mavera_rl_check_many at the caller's time, as mavera_rl_check_at.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_check_many_at(
    rl: *mut Handle,
    requests: *const Request,
    count: usize,
    now_ms: u64,
    out: *mut Decision,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { many(rl, requests, count, out, Now::Given(now_ms)) }
}

/// Requests that are converted and answered at once.
const BATCH: usize = crate::limiter::BATCH;

/// A batch: where its requests and its answers lie.
#[derive(Clone, Copy)]
struct Batch {
    requests: *const Request,
    out: *mut Decision,
    request_stride: usize,
    out_stride: usize,
}

impl Batch {
    fn request(self, index: usize) -> *const Request {
        self.requests
            .cast::<u8>()
            .wrapping_add(index.wrapping_mul(self.request_stride))
            .cast()
    }

    fn out(self, index: usize) -> *mut Decision {
        self.out
            .cast::<u8>()
            .wrapping_add(index.wrapping_mul(self.out_stride))
            .cast()
    }

    /// # Safety
    /// The pointers are what the header says.
    unsafe fn new(requests: *const Request, out: *mut Decision) -> Result<Self, Fault> {
        // SAFETY: as the caller promises, here and below.
        unsafe {
            read(requests)?;
            room(out)?;
            Ok(Self {
                requests,
                out,
                request_stride: requests.cast::<usize>().read_unaligned(),
                out_stride: out.cast::<usize>().read_unaligned(),
            })
        }
    }

    /// Every size is the first's and every tail is known, before anything is
    /// charged.
    ///
    /// # Safety
    /// As for `new`, for `count` of each.
    unsafe fn examine(self, count: usize) -> Result<(), Fault> {
        for index in 0..count {
            // SAFETY: as the caller promises.
            unsafe {
                if read(self.request(index))?.size != self.request_stride {
                    return Err(Fault::Size("requests"));
                }
                room(self.out(index))?;
                if self.out(index).cast::<usize>().read_unaligned() != self.out_stride {
                    return Err(Fault::Size("out"));
                }
            }
        }
        Ok(())
    }

    /// One request as the limiter wants it.
    ///
    /// # Safety
    /// As for `examine`, which has succeeded.
    unsafe fn asked(self, index: usize) -> Result<Asked<'static>, Fault> {
        // SAFETY: as the caller promises; the key is used only during the
        // call.
        unsafe {
            let request = read(self.request(index))?;
            if request.reserved != 0 {
                return Err(Fault::Argument("requests.reserved"));
            }
            Ok(Asked {
                key: key_bytes(request.key, request.key_len)?,
                policy: limit(request.policy)?,
                cost: request.cost,
            })
        }
    }
}

unsafe fn many(
    rl: *mut Handle,
    requests: *const Request,
    count: usize,
    out: *mut Decision,
    now: Now,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        Handle::enter(rl, |limiter| {
            if count == 0 {
                return Ok(0);
            }
            let batch = Batch::new(requests, out)?;
            let stride = batch.request_stride.max(batch.out_stride);
            // No array is longer than half the address space.
            if count.saturating_mul(stride) > isize::MAX as usize {
                return Err(Fault::Argument("count"));
            }
            batch.examine(count)?;
            let unix_ms = now.unix_ms(limiter);
            let mut from = 0;
            while from < count {
                let some = BATCH.min(count.wrapping_sub(from));
                answer_some(limiter, batch, from, some, (now, unix_ms))?;
                from = from.wrapping_add(some);
            }
            Ok(0)
        })
    }
}

/// Answers `some` requests from `from` on, at most [`BATCH`].
///
/// # Safety
/// As for [`Batch::examine`], which has succeeded.
unsafe fn answer_some(
    limiter: &Limiter<'static>,
    batch: Batch,
    from: usize,
    some: usize,
    (now, unix_ms): (Now, u64),
) -> Answer {
    // A request that is wrong is answered by its own error, and what stands
    // here in its place is refused before it reaches the region.
    const NOTHING: Asked<'static> = Asked {
        key: &[],
        policy: Limit::per_minute(0),
        cost: 1,
    };
    let mut asked = [NOTHING; BATCH];
    let mut faults = [0; BATCH];
    let mut answers = [const { Err(Error::Tier) }; BATCH];
    for (index, (asked, fault)) in (from..).zip(asked.iter_mut().zip(&mut faults)).take(some) {
        // SAFETY: as the caller promises.
        match unsafe { batch.asked(index) } {
            Ok(request) => *asked = request,
            Err(error) => *fault = error.code(),
        }
    }
    let asked = asked.get(..some).unwrap_or_default();
    match now {
        #[cfg(feature = "std")]
        Now::Read => limiter.check_many(asked, &mut answers),
        Now::Given(now_ms) => limiter.check_many_at(asked, now_ms, &mut answers),
    };
    for (index, (answer, fault)) in (from..).zip(answers.iter().zip(faults)).take(some) {
        let decision = match answer {
            _ if fault != 0 => Decision::failed(fault),
            Ok(answered) => Decision::new(answered, unix_ms),
            Err(error) => Decision::failed(super::code::of_error(error)),
        };
        // SAFETY: as the caller promises.
        unsafe {
            let out: Room<Decision> = room(batch.out(index))?;
            out.write(decision);
        }
    }
    Ok(0)
}

impl Decision {
    fn failed(code: c_int) -> Self {
        Self {
            size: size_of::<Self>(),
            outcome: code,
            limit: 0,
            used: 0,
            remaining: 0,
            window_ms: 0,
            retry_after_s: 0,
            retry_after_ms: 0,
            reset_after_ms: 0,
            reset_unix_ms: 0,
            untracked: 0,
            in_flight: 0,
            max_in_flight: 0,
            reserved: 0,
            endpoint: core::ptr::null(),
        }
    }
}
