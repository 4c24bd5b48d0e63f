//! A request in flight.

use crate::engine::Engine;
use crate::error::no_pickle;
use mavera_rl::Permit as Inner;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request in flight, until it is released, dropped or its process dies.
#[pyclass(frozen, module = "mavera_rl")]
pub(crate) struct Permit {
    /// `None`: of a limiter that is not enabled.
    engine: Option<Arc<Engine>>,
    inner: Inner,
    released: AtomicBool,
}

impl Permit {
    pub(crate) fn new(engine: Option<Arc<Engine>>, inner: Inner) -> Self {
        Self {
            engine,
            inner,
            released: AtomicBool::new(false),
        }
    }

    pub(crate) fn give_back(&self) -> bool {
        // Relaxed: whoever swaps first releases, and that orders the rest.
        if self.released.swap(true, Ordering::Relaxed) {
            return false;
        }
        match &self.engine {
            Some(engine) => engine.release(self.inner),
            None => true,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[pymethods]
impl Permit {
    /// Gives it back. Whether that freed it: not a second time.
    fn release(&self) -> bool {
        self.give_back()
    }

    #[getter]
    fn released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    #[getter]
    fn untracked(&self) -> bool {
        self.inner.is_untracked()
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, _kind: Py<PyAny>, _value: Py<PyAny>, _trace: Py<PyAny>) {
        self.give_back();
    }

    fn __aenter__(this: Py<Self>) -> Ready {
        Ready::new(this.into_any())
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        _kind: Py<PyAny>,
        _value: Py<PyAny>,
        _trace: Py<PyAny>,
    ) -> Ready {
        self.give_back();
        Ready::new(py.None())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle(
            "cannot pickle a Permit: it belongs to the process that took it",
        ))
    }

    fn __repr__(&self) -> &'static str {
        if self.released() {
            "<Permit released>"
        } else {
            "<Permit held>"
        }
    }
}

/// What can be awaited and is there already: nothing here ever waits.
#[pyclass(frozen)]
pub(crate) struct Ready {
    value: Py<PyAny>,
}

impl Ready {
    pub(crate) fn new(value: Py<PyAny>) -> Self {
        Self { value }
    }
}

#[pymethods]
impl Ready {
    fn __await__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        // In a tuple, for else a tuple would be taken for the arguments.
        Err(PyStopIteration::new_err((self.value.clone_ref(py),)))
    }
}
