//! Tiers and endpoints.

use crate::argument::{key, policy, seconds, text};
use crate::error::{Kind, from_call, from_plan};
use mavera_rl::Policy;
use mavera_rl::plan::{Endpoint as Found, Plan as Inner};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::path::PathBuf;

/// Tiers, endpoints and known keys.
#[pyclass(frozen, module = "mavera_rl")]
pub(crate) struct Plan {
    pub(crate) inner: Inner,
    /// The endpoints' paths, in their order.
    paths: Vec<Py<PyString>>,
}

/// An endpoint with a limit on requests in flight.
#[pyclass(frozen, module = "mavera_rl", get_all)]
pub(crate) struct Endpoint {
    path: Py<PyString>,
    max_in_flight: u32,
    lease: Option<f64>,
}

impl Plan {
    fn of(py: Python<'_>, inner: Inner) -> Self {
        let paths = inner
            .endpoints()
            .iter()
            .map(|endpoint| PyString::new(py, &endpoint.path).unbind())
            .collect();
        Self { inner, paths }
    }

    /// The contract.
    pub(crate) fn contract(py: Python<'_>) -> Self {
        Self::of(py, Inner::default())
    }

    pub(crate) fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        match py.detach(|| Inner::load(path)) {
            Ok(inner) => Ok(Self::of(py, inner)),
            Err(error) => Err(from_plan(py, &error)),
        }
    }

    pub(crate) fn path_of(&self, py: Python<'_>, found: &Found) -> Option<Py<PyString>> {
        let endpoints = self.inner.endpoints().iter();
        let mut known = endpoints.zip(&self.paths);
        let (_, path) = known.find(|(endpoint, _)| endpoint.class_id == found.class_id)?;
        Some(path.clone_ref(py))
    }

    pub(crate) fn tier_policy(&self, py: Python<'_>, tier: &str) -> PyResult<Policy> {
        match self.inner.policy(tier) {
            Some(policy) => Ok(policy),
            None => Err(self.no_tier(py, tier)),
        }
    }

    #[cold]
    fn no_tier(&self, py: Python<'_>, tier: &str) -> PyErr {
        let known: Vec<&str> = self.inner.tiers().map(|(name, _)| name).collect();
        let known = known.join(", ");
        Kind::Tier.says(
            py,
            format!("the plan has no tier {tier:?}; its tiers: {known}"),
        )
    }
}

#[pymethods]
impl Plan {
    #[new]
    fn new(py: Python<'_>) -> Self {
        Self::contract(py)
    }

    /// Reads a TOML file.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::read(py, path)
    }

    /// Names and numbers: `{"starter": (60, 60.0), …}`.
    #[getter]
    fn tiers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tiers = PyDict::new(py);
        for (name, policy) in self.inner.tiers() {
            tiers.set_item(name, numbers(policy))?;
        }
        Ok(tiers)
    }

    #[getter]
    fn endpoints(&self, py: Python<'_>) -> Vec<Endpoint> {
        let endpoints = self.inner.endpoints().iter();
        endpoints
            .zip(&self.paths)
            .map(|(endpoint, path)| Endpoint::new(endpoint, path.clone_ref(py)))
            .collect()
    }

    /// The endpoint that a request falls under.
    fn endpoint(&self, target: &Bound<'_, PyAny>) -> PyResult<Option<Endpoint>> {
        let py = target.py();
        let found = self.inner.endpoint(text(target, "target")?);
        Ok(found.and_then(|found| Some(Endpoint::new(found, self.path_of(py, found)?))))
    }

    /// What the plan's own list says of a key: (limit, window in seconds).
    fn key_policy(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<(u32, f64)>> {
        let policy = self.inner.key_policy(self::key(key)?);
        Ok(policy.map(numbers))
    }

    /// Gives a tier other numbers, from now on.
    #[pyo3(signature = (tier, limit, window = None))]
    fn set_tier(
        &self,
        tier: &str,
        limit: &Bound<'_, PyAny>,
        window: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let policy = policy(limit, window)?;
        self.tier_policy(limit.py(), tier)?;
        let set = self.inner.set_tier(tier, policy);
        set.map_err(|error| from_call(limit.py(), error))
    }

    fn __repr__(&self) -> String {
        let tiers: Vec<String> = (self.inner.tiers())
            .map(|(name, policy)| format!("{name}={}", policy.limit()))
            .collect();
        format!("<Plan {}>", tiers.join(" "))
    }
}

fn numbers(policy: Policy) -> (u32, f64) {
    (policy.limit(), seconds(policy.window_ms().into()))
}

impl Endpoint {
    fn new(found: &Found, path: Py<PyString>) -> Self {
        Self {
            path,
            max_in_flight: found.max_in_flight,
            lease: (found.lease_ms > 0).then(|| seconds(found.lease_ms.into())),
        }
    }
}

#[pymethods]
impl Endpoint {
    fn __repr__(&self) -> String {
        let Self {
            path,
            max_in_flight,
            ..
        } = self;
        format!("<Endpoint {path} max_in_flight={max_in_flight}>")
    }
}
