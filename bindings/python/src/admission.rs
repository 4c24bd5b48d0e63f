//! The answer to `admit`.

use crate::decision::Decision;
use crate::error::no_pickle;
use crate::permit::{Permit, Ready};
use pyo3::prelude::*;

/// A decision with the request's permit, if it holds one.
#[pyclass(frozen, module = "mavera_rl")]
pub(crate) struct Admission {
    #[pyo3(get)]
    pub(crate) decision: Py<Decision>,
    #[pyo3(get)]
    pub(crate) permit: Option<Py<Permit>>,
    pub(crate) is_allowed: bool,
}

#[pymethods]
impl Admission {
    #[getter]
    fn allowed(&self) -> bool {
        self.is_allowed
    }

    /// Gives the permit back, if there is one. Whether that freed it.
    fn release(&self) -> bool {
        self.permit
            .as_ref()
            .is_some_and(|permit| permit.get().give_back())
    }

    fn __bool__(&self) -> bool {
        self.is_allowed
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, _kind: Py<PyAny>, _value: Py<PyAny>, _trace: Py<PyAny>) {
        self.release();
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
        self.release();
        Ready::new(py.None())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle(
            "cannot pickle an Admission: its permit belongs to the process that took it",
        ))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let decision = self.decision.bind(py).repr()?;
        let permit = match &self.permit {
            Some(permit) => permit.bind(py).repr()?.to_string(),
            None => "None".to_owned(),
        };
        Ok(format!("<Admission decision={decision} permit={permit}>"))
    }
}
