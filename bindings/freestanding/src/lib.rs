//! The C ABI without an operating system: mavera_rl_init, the functions that
//! end in _at, stats and the text of responses, in memory of the caller's and
//! at the caller's time.

#![no_std]

pub use limiter::ffi::*;

/// A static library has to have one. Nothing in the library reaches it, which
/// `tests/freestanding/check.sh` shows by linking without it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
