//! Permits: requests in flight.

use super::code::{MAVERA_RL_BUSY, MAVERA_RL_FULL, MAVERA_RL_NOT_HELD};
use super::handle::Handle;
use super::{Fault, key_bytes};
use crate::limiter::{Acquired, Permit as Value, Released};
use core::ffi::{c_int, c_void};

/// A permit: a plain value, passed and kept by value, given back once by
/// mavera_rl_release on any thread of the process that took it. All zero: none,
/// and releasing it does nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CPermit {
    /// Where it is
    pub place: u64,
    /// Which it is
    pub word: u64,
}

impl CPermit {
    pub(super) const fn of(value: Value) -> Self {
        Self {
            place: value.place,
            word: value.word,
        }
    }
}

/// Takes a permit: at most max requests of a key and class are in flight at
/// once, on the whole host. It is free again when it is released, and when
/// the process that took it is dead, however it died.
///
/// key, key_len: the API key, any bytes; not stored.
/// class_id: tells a key's endpoints apart (mavera_rl_class_id).
/// max: 1 to the region's permit_cells; passed with every call. After it was
/// lowered, what is in flight above it runs out.
/// lease_ms: 0, or after how long, at most a day, a permit that was not given
/// back may be taken by another, up to two seconds later: for callers that
/// lose track.
/// out: gets the permit.
/// Returns: 0; MAVERA_RL_BUSY (max or more are in flight), _FULL;
/// MAVERA_RL_EINVAL, _ESLOTS, _EINTERNAL. A permit that was allowed because the
/// table was full is all zero.
/// Thread safety: any thread, any process on the region. Progress: lock-free.
/// Allocates and blocks: no. System calls: when the process takes its first
/// permit, to register; and when it meets other processes' permits and finds
/// no free one, to see whether they live, each at most once in 5 ms. Not in
/// the freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_acquire(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    class_id: u32,
    max: u32,
    lease_ms: u32,
    out: *mut CPermit,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        Handle::enter(rl, |limiter| {
            let key = key_bytes(key, key_len)?;
            if out.is_null() {
                return Err(Fault::Argument("out"));
            }
            Ok(match limiter.acquire(key, class_id, max, lease_ms)? {
                Acquired::Held(held) => {
                    out.write(CPermit::of(held.into_permit()));
                    0
                }
                Acquired::Busy { .. } => MAVERA_RL_BUSY,
                Acquired::Full => MAVERA_RL_FULL,
            })
        })
    }
}

/// Gives a permit back.
///
/// permit: as mavera_rl_acquire or mavera_rl_admit gave it.
/// Returns: 0; MAVERA_RL_NOT_HELD (nothing was changed); MAVERA_RL_EINVAL,
/// _EINTERNAL.
/// Thread safety: any thread of the process that took it. Progress: wait-free.
/// Allocates and blocks: no. Not in the freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_release(rl: *mut Handle, permit: CPermit) -> c_int {
    let CPermit { place, word } = permit;
    // SAFETY: as the caller promises.
    unsafe {
        Handle::enter(rl, |limiter| {
            Ok(match limiter.release(Value { place, word }) {
                Released::Freed => 0,
                Released::NotHeld => MAVERA_RL_NOT_HELD,
            })
        })
    }
}

/// Requests of a key and class in flight. While others come and go it was true
/// of each permit at some moment of the call; permits of a process that has
/// just died may still count.
///
/// key, key_len, class_id: as for mavera_rl_acquire.
/// out: gets the number.
/// Returns: 0; MAVERA_RL_EINVAL, _EINTERNAL.
/// Thread safety: any thread. Progress: lock-free; loads only. Allocates and
/// blocks: no. Not in the freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_in_flight(
    rl: *mut Handle,
    key: *const c_void,
    key_len: usize,
    class_id: u32,
    out: *mut u32,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        Handle::enter(rl, |limiter| {
            let key = key_bytes(key, key_len)?;
            if out.is_null() {
                return Err(Fault::Argument("out"));
            }
            out.write(limiter.in_flight(key, class_id));
            Ok(0)
        })
    }
}
