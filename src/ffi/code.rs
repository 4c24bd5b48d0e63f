//! Result codes, and their words.

use crate::error::Error;
use core::ffi::{c_char, c_int};

/// Done, or: the request may go on, and was charged.
pub const MAVERA_RL_ALLOWED: c_int = 0;
/// Refused: the quota is spent.
pub const MAVERA_RL_LIMITED: c_int = 1;
/// Refused: as many requests are in flight as may be.
pub const MAVERA_RL_BUSY: c_int = 2;
/// Refused: the table holds only keys that still owe, or permits that are all
/// held, and the region's policy is to deny.
pub const MAVERA_RL_FULL: c_int = 3;
/// Of mavera_rl_release: nothing was changed, for the permit was not held: it
/// had been given back, its lease had ended and somebody has it, or another
/// process took it.
pub const MAVERA_RL_NOT_HELD: c_int = 4;

/// An argument is NULL or out of its range.
pub const MAVERA_RL_EINVAL: c_int = -1;
/// A struct's size is too small, or its unknown tail is not zero.
pub const MAVERA_RL_ESIZE: c_int = -2;
/// The cost exceeds the limit: no wait would ever be enough.
pub const MAVERA_RL_ECOST: c_int = -3;
/// A time was given to a region that reads its own clock, or none to one
/// whose caller supplies it.
pub const MAVERA_RL_ECLOCK: c_int = -4;
/// No memory, no room in the file system, or the memory given is too small.
pub const MAVERA_RL_ENOMEM: c_int = -5;
/// The system refused: not found, no permission, a directory.
pub const MAVERA_RL_ESYS: c_int = -6;
/// The file is not a region, or a damaged one.
pub const MAVERA_RL_EFORMAT: c_int = -7;
/// The file is a region of another layout version.
pub const MAVERA_RL_EVERSION: c_int = -8;
/// An option differs from what the existing region has.
pub const MAVERA_RL_EMISMATCH: c_int = -9;
/// The plan file cannot be read or has a fault.
pub const MAVERA_RL_EPLAN: c_int = -10;
/// The plan has no such tier, key or index.
pub const MAVERA_RL_ENOENT: c_int = -11;
/// All process slots of the region are taken by processes that are alive, or
/// the system did not let this one register.
pub const MAVERA_RL_ESLOTS: c_int = -13;
/// A defect of the library was caught; the handle answers this from then on.
pub const MAVERA_RL_EINTERNAL: c_int = -12;

/// What a code means, in English.
///
/// Returns: a static string, for every int there is.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mavera_rl_strerror(code: c_int) -> *const c_char {
    let text = match code {
        MAVERA_RL_ALLOWED => c"allowed",
        MAVERA_RL_LIMITED => c"refused: the quota is spent",
        MAVERA_RL_BUSY => c"refused: as many requests are in flight as may be",
        MAVERA_RL_FULL => c"refused: the table holds only keys that still owe",
        MAVERA_RL_NOT_HELD => c"the permit was not held: nothing was changed",
        MAVERA_RL_EINVAL => c"an argument is NULL or out of its range",
        MAVERA_RL_ESIZE => c"a struct's size is too small or its unknown tail is not zero",
        MAVERA_RL_ECOST => c"the cost exceeds the limit: no wait would ever be enough",
        MAVERA_RL_ECLOCK => c"a time was given to a region with a clock, or none to one without",
        MAVERA_RL_ENOMEM => c"no memory, no room for the region, or too little memory given",
        MAVERA_RL_ESYS => c"the system refused",
        MAVERA_RL_EFORMAT => c"not a region, or a damaged one",
        MAVERA_RL_EVERSION => c"a region of another layout version",
        MAVERA_RL_EMISMATCH => c"an option differs from what the existing region has",
        MAVERA_RL_EPLAN => c"the plan file cannot be read or has a fault",
        MAVERA_RL_ENOENT => c"the plan has no such tier, key or index",
        MAVERA_RL_ESLOTS => c"no process slot of the region could be had",
        MAVERA_RL_EINTERNAL => c"a defect of the library was caught",
        _ => c"unknown code",
    };
    text.as_ptr()
}

pub(super) fn of_error(error: &Error) -> c_int {
    match error {
        Error::Limit { .. }
        | Error::Window { .. }
        | Error::Option { .. }
        | Error::Max { .. }
        | Error::Lease { .. } => MAVERA_RL_EINVAL,
        Error::Slots | Error::Register { .. } => MAVERA_RL_ESLOTS,
        Error::Cost { .. } => MAVERA_RL_ECOST,
        Error::Clock { .. } => MAVERA_RL_ECLOCK,
        Error::Tier => MAVERA_RL_ENOENT,
        Error::Memory { .. } => MAVERA_RL_ENOMEM,
    }
}

#[cfg(feature = "std")]
pub(super) fn of_open_error(error: &crate::OpenError) -> c_int {
    use crate::OpenError;
    use std::io::ErrorKind;
    match error {
        OpenError::Option(error) => of_error(error),
        OpenError::System { source, .. } => match source.kind() {
            ErrorKind::OutOfMemory
            | ErrorKind::StorageFull
            | ErrorKind::FileTooLarge
            | ErrorKind::QuotaExceeded => MAVERA_RL_ENOMEM,
            _ => MAVERA_RL_ESYS,
        },
        OpenError::Format { .. } => MAVERA_RL_EFORMAT,
        OpenError::Version { .. } => MAVERA_RL_EVERSION,
        OpenError::Mismatch { .. } => MAVERA_RL_EMISMATCH,
    }
}
