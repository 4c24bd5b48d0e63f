//! The least that a call from Python to Rust can cost: no argument, no work,
//! and an object with three attributes to answer with.

use pyo3::prelude::*;

/// An answer as small as an answer can be.
#[pyclass(frozen, get_all)]
struct Answer {
    allowed: bool,
    remaining: u32,
    reset_at: f64,
}

/// What has methods.
#[pyclass(frozen)]
struct Floor;

#[pymethods]
impl Floor {
    #[new]
    fn new() -> Self {
        Self
    }

    fn empty(&self) -> Answer {
        Answer {
            allowed: true,
            remaining: 59,
            reset_at: 0.0,
        }
    }
}

#[pymodule]
fn mavera_rl_floor(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Answer>()?;
    module.add_class::<Floor>()
}
