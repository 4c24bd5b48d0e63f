//! Keys, numbers and durations as Python gives them.

use crate::error::Kind;
use mavera_rl::Policy;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

const MS_PER_S: f64 = 1000.0;

/// The bytes of a key: those of `bytes`, or of a `str` in UTF-8.
#[inline]
pub(crate) fn key<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    let bytes = text(object, "key")?;
    if bytes.is_empty() {
        return Err(Kind::Key.says(object.py(), "key is empty"));
    }
    Ok(bytes)
}

#[inline]
pub(crate) fn text<'a>(object: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a [u8]> {
    if let Ok(text) = object.cast::<PyString>() {
        match text.to_str() {
            Ok(text) => Ok(text.as_bytes()),
            Err(why) => Err(no_utf8(object.py(), name, &why)),
        }
    } else if let Ok(bytes) = object.cast::<PyBytes>() {
        Ok(bytes.as_bytes())
    } else {
        Err(wrong_type(name, "str or bytes", object))
    }
}

#[cold]
fn no_utf8(py: Python<'_>, name: &str, why: &PyErr) -> PyErr {
    let error = Kind::Key.says(py, format!("{name} cannot be written in UTF-8: {why}"));
    error.set_cause(py, Some(why.clone_ref(py)));
    error
}

#[cold]
fn wrong_type(name: &str, wanted: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let got = object.get_type();
    let got = got.name().map(|name| name.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!("{name} must be {wanted}, not {got}"))
}

#[cold]
fn out_of_range(name: &str, must: &str, object: &Bound<'_, PyAny>) -> PyErr {
    Kind::Option.says(
        object.py(),
        format!("{name} is {object}, but must be {must}"),
    )
}

/// A whole number that `T` can hold.
#[inline]
pub(crate) fn whole<'py, T>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    if !object.is_instance_of::<PyInt>() || object.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, "int", object));
    }
    object
        .extract()
        .map_err(|_: <T as FromPyObject<'_, 'py>>::Error| {
            let bits = u64::from(u8::try_from(size_of::<T>()).unwrap_or(u8::MAX)) * 8;
            out_of_range(name, &format!("from 0 to 2^{bits} - 1"), object)
        })
}

pub(crate) fn optional<'py, T>(
    object: Option<&Bound<'py, PyAny>>,
    name: &str,
) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    object.map(|object| whole(object, name)).transpose()
}

/// Seconds as milliseconds, rounded to the nearest, at least one of them.
pub(crate) fn duration_ms(object: &Bound<'_, PyAny>, name: &str) -> PyResult<u32> {
    let number = object.is_instance_of::<PyFloat>()
        || object.is_instance_of::<PyInt>() && !object.is_instance_of::<PyBool>();
    if !number {
        return Err(wrong_type(name, "a number of seconds", object));
    }
    let must = "from 0.001 to 4294967.295 seconds";
    let seconds: f64 = object
        .extract()
        .map_err(|_| out_of_range(name, must, object))?;
    let ms = (seconds * MS_PER_S).round();
    if (1.0..=f64::from(u32::MAX)).contains(&ms) {
        Ok(ms as u32)
    } else {
        Err(out_of_range(name, must, object))
    }
}

/// Unix seconds as milliseconds.
pub(crate) fn instant_ms(seconds: f64, name: &str, py: Python<'_>) -> PyResult<u64> {
    // Up to there milliseconds are exact in a double.
    const LAST: f64 = 1e12;
    if (0.0..=LAST).contains(&seconds) {
        Ok((seconds * MS_PER_S).round() as u64)
    } else {
        let must = "from 0 to 1e12 seconds";
        Err(Kind::Option.says(py, format!("{name} is {seconds}, but must be {must}")))
    }
}

/// Milliseconds as seconds.
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / MS_PER_S
}

/// A limit that is passed by numbers; the window is a minute unless it is said.
pub(crate) fn policy(
    limit: &Bound<'_, PyAny>,
    window: Option<&Bound<'_, PyAny>>,
) -> PyResult<Policy> {
    const MINUTE_MS: u32 = 60_000;
    let window_ms = match window {
        Some(window) => duration_ms(window, "window")?,
        None => MINUTE_MS,
    };
    let units = whole(limit, "limit")?;
    Policy::new(units, window_ms).map_err(|error| crate::error::from_call(limit.py(), error))
}
