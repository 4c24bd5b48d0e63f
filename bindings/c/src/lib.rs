//! Nothing but the C ABI of the crate `mavera-rl`, made a shared and a static
//! library.

pub use limiter::ffi::*;
