//! Rust's errors as the package's exceptions, which are written in Python.

use mavera_rl::plan::PlanError;
use mavera_rl::{Error, OpenError};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// The exceptions of `mavera_rl.errors` that this module raises.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Closed,
    Concurrency,
    Key,
    UnknownKey,
    Option,
    Plan,
    Region,
    Tier,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Closed => "ClosedError",
            Self::Concurrency => "ConcurrencyLimited",
            Self::Key => "InvalidKeyError",
            Self::UnknownKey => "UnknownKeyError",
            Self::Option => "InvalidOptionError",
            Self::Plan => "PlanError",
            Self::Region => "RegionError",
            Self::Tier => "UnknownTierError",
        }
    }

    /// An exception of this kind; whatever prevents that is raised instead.
    #[cold]
    pub(crate) fn with<A>(self, py: Python<'_>, arguments: A) -> PyErr
    where
        A: for<'py> pyo3::call::PyCallArgs<'py>,
    {
        let made = py
            .import("mavera_rl.errors")
            .and_then(|module| module.getattr(self.name()))
            .and_then(|kind| kind.call1(arguments));
        match made {
            Ok(exception) => PyErr::from_value(exception),
            Err(error) => error,
        }
    }

    #[cold]
    pub(crate) fn says(self, py: Python<'_>, message: impl Into<String>) -> PyErr {
        self.with(py, (message.into(),))
    }
}

#[cold]
pub(crate) fn closed(py: Python<'_>) -> PyErr {
    Kind::Closed.says(py, "the limiter is closed")
}

/// For objects that mean something only in the process that made them.
#[cold]
pub(crate) fn no_pickle(what: &str) -> PyErr {
    PyTypeError::new_err(what.to_owned())
}

#[cold]
pub(crate) fn from_call(py: Python<'_>, error: Error) -> PyErr {
    let kind = match error {
        Error::Tier => Kind::Tier,
        Error::Slots | Error::Register { .. } => Kind::Region,
        _ => Kind::Option,
    };
    kind.says(py, error.to_string())
}

#[cold]
pub(crate) fn from_open(py: Python<'_>, error: OpenError) -> PyErr {
    match error {
        OpenError::Option(error) => from_call(py, error),
        _ => Kind::Region.says(py, error.to_string()),
    }
}

#[cold]
pub(crate) fn from_plan(py: Python<'_>, error: &PlanError) -> PyErr {
    Kind::Plan.says(py, error.to_string())
}
