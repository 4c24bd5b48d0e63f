//! A clock that stands until it is moved.

use crate::argument::{instant_ms, seconds};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock for tests: a limiter with it counts the time that the test says.
#[pyclass(frozen, module = "mavera_rl")]
pub(crate) struct ManualClock {
    pub(crate) time: Arc<Time>,
}

/// Unix milliseconds.
pub(crate) struct Time(AtomicU64);

impl Time {
    pub(crate) fn now_ms(&self) -> u64 {
        // Relaxed: a time and nothing else is read.
        self.0.load(Ordering::Relaxed)
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    #[pyo3(signature = (now = 1_700_000_000.0))]
    fn new(py: Python<'_>, now: f64) -> PyResult<Self> {
        let ms = instant_ms(now, "now", py)?;
        Ok(Self {
            time: Arc::new(Time(AtomicU64::new(ms))),
        })
    }

    /// Unix seconds.
    #[getter]
    fn now(&self) -> f64 {
        seconds(self.time.now_ms())
    }

    /// Moves on, by seconds from 0.
    fn advance(&self, py: Python<'_>, by: f64) -> PyResult<()> {
        let ms = instant_ms(by, "by", py)?;
        self.time.0.fetch_add(ms, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the time, in Unix seconds; it may go back.
    fn set(&self, py: Python<'_>, now: f64) -> PyResult<()> {
        let ms = instant_ms(now, "now", py)?;
        self.time.0.store(ms, Ordering::Relaxed);
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("ManualClock(now={})", self.now())
    }
}
