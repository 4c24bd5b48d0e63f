//! Clock readings, in milliseconds.
//!
//! The region's clock does not run backwards and is the same in all processes
//! of a host: CLOCK_BOOTTIME or CLOCK_MONOTONIC_COARSE, by [`ClockKind`].
//! Never the raw TSC, whose cores need not agree. Wall time is read only to
//! render `X-RateLimit-Reset`.

#![expect(unsafe_code, reason = "clock_gettime is a C function")]

use crate::options::ClockKind;

/// Milliseconds of the clock behind `kind`; 0 for [`ClockKind::Caller`].
#[inline(always)]
pub(crate) fn now_ms(kind: ClockKind) -> u64 {
    match kind {
        ClockKind::Precise => precise_ms(),
        ClockKind::Coarse => read_ms(libc::CLOCK_MONOTONIC_COARSE).unwrap_or_default(),
        ClockKind::Caller => 0,
    }
}

/// Milliseconds since 1970, up to [`wall_slack_ms`] behind.
#[inline]
pub(crate) fn unix_ms() -> u64 {
    read_ms(libc::CLOCK_REALTIME_COARSE).unwrap_or_default()
}

/// How far [`unix_ms`] may be behind. Added to it, `X-RateLimit-Reset` is
/// never early.
pub(crate) fn wall_slack_ms() -> u32 {
    slack_ms(ClockKind::Coarse)
}

/// What to add to recorded times so that a reading of `kind` is never taken
/// for later than the moment it stands for.
///
/// A precise reading is cut to its millisecond, so 1. A coarse one is as old
/// as the last timer tick; one tick of lag is the rule, and 1.6 ticks were
/// seen on a loaded virtual machine, so twice the resolution more.
pub(crate) fn slack_ms(kind: ClockKind) -> u32 {
    const NS_PER_MS: u64 = 1_000_000;
    match kind {
        ClockKind::Caller => 0,
        ClockKind::Precise => 1,
        ClockKind::Coarse => {
            let mut resolution = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: writes one timespec into ours.
            unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &mut resolution) };
            let ticks = (resolution.tv_nsec.unsigned_abs())
                .saturating_mul(2)
                .div_ceil(NS_PER_MS);
            u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1)
        }
    }
}

#[inline(always)]
fn precise_ms() -> u64 {
    match read_ms(libc::CLOCK_BOOTTIME) {
        Some(ms) => ms,
        // Before Linux 2.6.39.
        None => read_ms(libc::CLOCK_MONOTONIC).unwrap_or_default(),
    }
}

#[inline(always)]
fn read_ms(clock: libc::clockid_t) -> Option<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec into ours; the clock's number is a constant.
    let failed = unsafe { libc::clock_gettime(clock, &mut now) } != 0;
    if failed {
        return None;
    }
    let seconds = now.tv_sec.unsigned_abs();
    let rest = now.tv_nsec.unsigned_abs() / 1_000_000;
    Some(seconds.wrapping_mul(1000).wrapping_add(rest))
}
