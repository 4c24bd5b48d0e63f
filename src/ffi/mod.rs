//! The C ABI: what `include/mavera_rl.h` declares.
//!
//! # Rules
//! - 0 is allowed or done, a small positive number a refusal, a negative one
//!   an error; [`code`] has them all.
//! - Structs begin with their `size`. A size below the first version's, or
//!   bytes beyond ours that are not zero, are refused: nobody's wish is
//!   silently ignored.
//! - Arguments are examined before anything is done, and outputs are written
//!   only on success.
//! - No panic leaves: should there be one after all, the handle answers
//!   `MAVERA_RL_EINTERNAL` from then on.
//!
//! The functions are gathered by object, one file each; their comments become
//! the header's, which `tests/header.rs` compares.

#![expect(unsafe_code, reason = "C hands over raw pointers")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the comments are the header's, and C has no such section; NULL is \
              answered, other pointers must be what their parameter says"
)]

#[cfg(feature = "std")]
pub mod admit;
pub mod check;
pub mod code;
pub mod handle;
#[cfg(feature = "std")]
pub mod last_error;
#[cfg(feature = "std")]
pub mod permit;
#[cfg(feature = "std")]
pub mod plan;
pub mod response;
mod sized;

#[cfg(feature = "std")]
use code::MAVERA_RL_EINTERNAL;
use code::MAVERA_RL_EINVAL;
use core::ffi::{c_int, c_void};

/// What a function of the ABI comes to.
type Answer = Result<c_int, Fault>;

/// Why a call failed.
#[cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "only mavera_rl_last_error says all of it")
)]
enum Fault {
    /// The named argument is NULL or out of its range.
    Argument(&'static str),
    /// The named struct's size is not one we know.
    Size(&'static str),
    Error(crate::Error),
    #[cfg(feature = "std")]
    Open(crate::OpenError),
    #[cfg(feature = "std")]
    Plan(crate::plan::PlanError),
    /// Of a kind that the code says all of.
    Plain(c_int),
}

/// Runs a function's body: turns a fault into its code, and a panic into
/// `MAVERA_RL_EINTERNAL`.
#[inline(always)]
fn entry(body: impl FnOnce() -> Answer) -> c_int {
    #[cfg(feature = "std")]
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body))
        .unwrap_or(Err(Fault::Plain(MAVERA_RL_EINTERNAL)));
    #[cfg(not(feature = "std"))]
    let answer = body();
    match answer {
        Ok(code) => code,
        Err(fault) => fail(&fault),
    }
}

#[cold]
fn fail(fault: &Fault) -> c_int {
    #[cfg(feature = "std")]
    last_error::keep(fault);
    fault.code()
}

/// The bytes of a key.
///
/// # Safety
/// `len` bytes from `key` are readable for `'a`.
#[inline(always)]
unsafe fn key_bytes<'a>(key: *const c_void, len: usize) -> Result<&'a [u8], Fault> {
    if key.is_null() || len > isize::MAX as usize {
        return Err(Fault::Argument("key"));
    }
    // SAFETY: as the caller promises; not NULL, and not too long for a slice.
    Ok(unsafe { core::slice::from_raw_parts(key.cast(), len) })
}

impl Fault {
    fn code(&self) -> c_int {
        match self {
            Self::Argument(_) => MAVERA_RL_EINVAL,
            Self::Size(_) => code::MAVERA_RL_ESIZE,
            Self::Error(error) => code::of_error(error),
            #[cfg(feature = "std")]
            Self::Open(error) => code::of_open_error(error),
            #[cfg(feature = "std")]
            Self::Plan(_) => code::MAVERA_RL_EPLAN,
            Self::Plain(code) => *code,
        }
    }
}

impl From<crate::Error> for Fault {
    fn from(error: crate::Error) -> Self {
        Self::Error(error)
    }
}

#[cfg(all(test, feature = "std"))]
#[expect(clippy::panic, reason = "a defect is what the test is about")]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_code() {
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let code = entry(|| std::panic::panic_any("a defect"));
        std::panic::set_hook(quiet);
        assert_eq!(code, MAVERA_RL_EINTERNAL);
    }
}
