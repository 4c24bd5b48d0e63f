//! The Python binding: what `mavera_rl._native` is made of.
//!
//! | file | |
//! |---|---|
//! | `error` | Rust's errors as the package's exceptions |
//! | `argument` | keys, numbers and durations as Python gives them |
//! | `clock` | `ManualClock` |
//! | `plan` | `Plan` |
//! | `decision` | `Decision` |
//! | `engine` | a limiter with its clock; pure Rust |
//! | `permit` | `Permit` |
//! | `admission` | `Admission` |
//! | `limiter` | `Limiter`, `Stats` |
//!
//! A file uses only what stands above it here. The docstrings are in
//! `_native.pyi`, and here in short.

use pyo3::prelude::*;

mod admission;
mod argument;
mod clock;
mod decision;
mod engine;
mod error;
mod limiter;
mod permit;
mod plan;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<clock::ManualClock>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<plan::Endpoint>()?;
    module.add_class::<decision::Decision>()?;
    module.add_class::<permit::Permit>()?;
    module.add_class::<admission::Admission>()?;
    module.add_class::<limiter::Stats>()?;
    module.add_class::<limiter::Limiter>()
}
