//! The answer to a check.

use crate::argument::seconds;
use mavera_rl::http::{Flavour, Response};
use mavera_rl::{Decision as Inner, Outcome};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

/// Every value of a header fits, but for numbers of absurd plans.
const VALUE: usize = 128;

/// The answer to a check: a value that never changes.
#[pyclass(frozen, eq, hash, module = "mavera_rl")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Decision {
    inner: Inner,
    unix_ms: u64,
    endpoint: Option<Text>,
}

/// A string of Python's that is compared by what it says.
struct Text(Py<PyString>);

impl Text {
    fn with<T>(&self, then: impl FnOnce(&str) -> T) -> T {
        // A path of a plan's, which is UTF-8.
        Python::attach(|py| then(self.0.bind(py).to_str().unwrap_or_default()))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.with(|one| other.with(|two| one == two))
    }
}

impl Eq for Text {}

impl std::hash::Hash for Text {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.with(|text| text.hash(state));
    }
}

impl Decision {
    #[inline]
    pub(crate) fn new(inner: Inner, unix_ms: u64, endpoint: Option<Py<PyString>>) -> Self {
        Self {
            inner,
            unix_ms,
            endpoint: endpoint.map(Text),
        }
    }

    fn response<T>(&self, then: impl FnOnce(&Response<'_>) -> T) -> T {
        let response = Response::new(&self.inner, self.unix_ms);
        match &self.endpoint {
            Some(endpoint) => endpoint.with(|path| then(&response.on(Some(path)))),
            None => then(&response),
        }
    }

    /// Gives each header's name and value.
    fn each_header(
        &self,
        flavour: &str,
        mut each: impl FnMut(&str, &[u8]) -> PyResult<()>,
    ) -> PyResult<()> {
        let flavour = match flavour {
            "legacy" => Flavour::Legacy,
            "ietf" => Flavour::Ietf,
            "both" => Flavour::Both,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "flavour is {flavour:?}, but must be \"legacy\", \"ietf\" or \"both\""
                )));
            }
        };
        let response = Response::new(&self.inner, self.unix_ms);
        let mut value = [0; VALUE];
        for index in 0.. {
            let Some((name, len)) = response.header(flavour, index, &mut value) else {
                break;
            };
            let value = value.get(..len).unwrap_or(&value);
            each(name.to_str().unwrap_or_default(), value)?;
        }
        Ok(())
    }
}

type RawName = PyOnceLock<Py<PyBytes>>;

/// Names in lower case, made once: they are on every response.
static RAW_NAMES: [(&str, RawName); 6] = [
    ("X-RateLimit-Limit", RawName::new()),
    ("X-RateLimit-Remaining", RawName::new()),
    ("X-RateLimit-Reset", RawName::new()),
    ("Retry-After", RawName::new()),
    ("RateLimit", RawName::new()),
    ("RateLimit-Policy", RawName::new()),
];

fn raw_name<'py>(py: Python<'py>, name: &str) -> Bound<'py, PyBytes> {
    let make = || PyBytes::new(py, name.to_ascii_lowercase().as_bytes());
    let known = RAW_NAMES.iter().find(|(known, _)| *known == name);
    known.map_or_else(make, |(_, made)| {
        made.get_or_init(py, || make().unbind()).bind(py).clone()
    })
}

#[pymethods]
impl Decision {
    #[getter]
    fn allowed(&self) -> bool {
        self.inner.is_allowed()
    }

    #[getter]
    fn limit(&self) -> u32 {
        self.inner.policy.limit()
    }

    #[getter]
    fn window(&self) -> f64 {
        seconds(self.inner.policy.window_ms().into())
    }

    #[getter]
    fn remaining(&self) -> u32 {
        self.inner.remaining()
    }

    #[getter]
    fn used(&self) -> u32 {
        self.inner.used
    }

    #[getter]
    fn retry_after(&self) -> f64 {
        seconds(self.inner.retry_after_ms)
    }

    #[getter]
    fn reset_after(&self) -> f64 {
        seconds(self.inner.reset_after_ms)
    }

    #[getter]
    fn reset_at(&self) -> f64 {
        seconds(self.unix_ms.saturating_add(self.inner.reset_after_ms))
    }

    #[getter]
    fn in_flight(&self) -> u32 {
        self.inner.in_flight
    }

    #[getter]
    fn max_in_flight(&self) -> u32 {
        self.inner.max_in_flight
    }

    #[getter]
    fn endpoint(&self, py: Python<'_>) -> Option<Py<PyString>> {
        self.endpoint.as_ref().map(|path| path.0.clone_ref(py))
    }

    #[getter]
    fn untracked(&self) -> bool {
        self.inner.untracked
    }

    #[getter]
    fn reason(&self) -> Option<&'static str> {
        match self.inner.outcome {
            Outcome::Allowed => None,
            Outcome::Limited => Some("rate_limit_exceeded"),
            Outcome::Busy => Some("concurrency_limit_exceeded"),
            Outcome::Full => Some("table_full"),
        }
    }

    /// The headers of a response, by their names.
    #[pyo3(signature = (flavour = "legacy"))]
    fn headers<'py>(&self, py: Python<'py>, flavour: &str) -> PyResult<Bound<'py, PyDict>> {
        let headers = PyDict::new(py);
        self.each_header(flavour, |name, value| {
            headers.set_item(name, String::from_utf8_lossy(value))
        })?;
        Ok(headers)
    }

    /// The same as ASGI wants them: names in lower case, bytes.
    #[pyo3(signature = (flavour = "legacy"))]
    fn raw_headers<'py>(&self, py: Python<'py>, flavour: &str) -> PyResult<Bound<'py, PyList>> {
        let headers = PyList::empty(py);
        self.each_header(flavour, |name, value| {
            headers.append((raw_name(py, name), PyBytes::new(py, value)))
        })?;
        Ok(headers)
    }

    /// The JSON error of a refusal; empty if the request was allowed.
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let body = self.response(|response| {
            let mut body = vec![0; response.body(&mut [])];
            response.body(&mut body);
            body
        });
        PyBytes::new(py, &body)
    }

    fn __bool__(&self) -> bool {
        self.allowed()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let mut text = match self.reason() {
            None => "<Decision allowed".to_owned(),
            Some(reason) => format!("<Decision {reason} retry_after={}", self.retry_after()),
        };
        let (remaining, limit) = (self.remaining(), self.limit());
        text += &format!(" remaining={remaining}/{limit}");
        if let Some(endpoint) = &self.endpoint {
            let (held, max) = (self.in_flight(), self.max_in_flight());
            text += &format!(" in_flight={held}/{max} on {}", endpoint.0.bind(py));
        }
        text + ">"
    }
}
