//! The limiter's face.

use crate::admission::Admission;
use crate::argument::{duration_ms, key, optional, policy, seconds, text, whole};
use crate::clock::ManualClock;
use crate::decision::Decision;
use crate::engine::Engine;
use crate::error::{Kind, closed, from_call, from_open, no_pickle};
use crate::permit::Permit;
use crate::plan::Plan;
use mavera_rl::plan::class_id;
use mavera_rl::{
    Acquired, ClockKind, Decision as Answer, Error, Limiter as Inner, OnFull, Options, Policy,
    Request,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// From so many keys on, `check_many` lets other threads run meanwhile: what
/// letting go and taking up again costs is then lost in the work.
const DETACH_FROM: usize = 512;

/// An exact sliding-window rate limiter.
#[pyclass(frozen, module = "mavera_rl")]
pub(crate) struct Limiter {
    state: RwLock<State>,
    plan: Py<Plan>,
    tier: Option<String>,
    path: Option<PathBuf>,
}

#[derive(Clone)]
enum State {
    Open(Arc<Engine>),
    /// Allows everything.
    Off,
    Closed,
}

/// What a region is and has seen.
#[pyclass(frozen, get_all, module = "mavera_rl")]
pub(crate) struct Stats {
    keys_capacity: u64,
    keys_held: u64,
    inserted: u64,
    evicted: u64,
    full: u64,
    permit_capacity: u64,
    permit_cells: u32,
    bytes: u64,
    cells: u32,
    max_window: f64,
}

impl Limiter {
    /// What answers; `None`: not enabled.
    #[inline]
    fn engine(&self, py: Python<'_>) -> PyResult<Option<Arc<Engine>>> {
        // Nothing that holds it can panic. It is held for no longer than this,
        // so a fork cannot come between.
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(engine) => Ok(Some(Arc::clone(engine))),
            State::Off => Ok(None),
            State::Closed => Err(closed(py)),
        }
    }

    #[inline]
    fn policy(
        &self,
        py: Python<'_>,
        key: &[u8],
        tier: Option<&str>,
        limit: Option<&Bound<'_, PyAny>>,
        window: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Policy> {
        match (tier, limit) {
            (None, Some(limit)) => policy(limit, window),
            (Some(_), Some(_)) => Err(PyTypeError::new_err("give tier or limit, not both")),
            (_, None) if window.is_some() => Err(PyTypeError::new_err(
                "window goes with limit; a tier has its own",
            )),
            (Some(tier), None) => self.plan.get().tier_policy(py, tier),
            (None, None) => {
                let plan = self.plan.get();
                match (plan.inner.key_policy(key), &self.tier) {
                    (Some(policy), _) => Ok(policy),
                    (None, Some(tier)) => plan.tier_policy(py, tier),
                    (None, None) if plan.inner.has_keys() => {
                        Err(Kind::UnknownKey.says(py, "the plan does not list this key"))
                    }
                    (None, None) => Err(Kind::Tier.says(
                        py,
                        "the plan lists no keys: give tier or limit here, \
                         or a tier for all keys to Limiter",
                    )),
                }
            }
        }
    }
}

/// What a limiter says that is not enabled.
fn free(policy: Policy) -> Answer {
    Answer::untracked(policy, 0)
}

#[pymethods]
impl Limiter {
    #[new]
    #[pyo3(signature = (
        path = None, *, keys = None, cells = None, max_window = None, clock = None,
        on_full = None, mode = None, permit_keys = None, permit_cells = None,
        plan = None, tier = None, enabled = true,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python's")]
    fn new(
        py: Python<'_>,
        path: Option<PathBuf>,
        keys: Option<&Bound<'_, PyAny>>,
        cells: Option<&Bound<'_, PyAny>>,
        max_window: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, PyAny>>,
        on_full: Option<&str>,
        mode: Option<&Bound<'_, PyAny>>,
        permit_keys: Option<&Bound<'_, PyAny>>,
        permit_cells: Option<&Bound<'_, PyAny>>,
        plan: Option<&Bound<'_, PyAny>>,
        tier: Option<String>,
        enabled: bool,
    ) -> PyResult<Self> {
        let plan = match plan {
            None => Py::new(py, Plan::contract(py))?,
            Some(plan) => match plan.cast::<Plan>() {
                Ok(plan) => plan.clone().unbind(),
                Err(_) => Py::new(py, Plan::read(py, plan.extract()?)?)?,
            },
        };
        if let Some(tier) = &tier {
            plan.get().tier_policy(py, tier)?;
        }
        let mut options = Options::new();
        if let Some(keys) = optional(keys, "keys")? {
            options = options.keys(keys);
        }
        if let Some(cells) = optional(cells, "cells")? {
            options = options.cells(cells);
        }
        if let Some(mode) = optional(mode, "mode")? {
            options = options.mode(mode);
        }
        if let Some(keys) = optional(permit_keys, "permit_keys")? {
            options = options.permit_keys(keys);
        }
        if let Some(cells) = optional(permit_cells, "permit_cells")? {
            options = options.permit_cells(cells);
        }
        let longest = plan.get().inner.max_window_ms();
        match max_window {
            Some(window) => options = options.max_window_ms(duration_ms(window, "max_window")?),
            None if longest > Options::DEFAULT_MAX_WINDOW_MS => {
                options = options.max_window_ms(longest);
            }
            None => {}
        }
        match on_full {
            None => {}
            Some("deny") => options = options.on_full(OnFull::Deny),
            Some("allow") => options = options.on_full(OnFull::Allow),
            Some(other) => {
                return Err(Kind::Option.says(
                    py,
                    format!("on_full is {other:?}, but must be \"deny\" or \"allow\""),
                ));
            }
        }
        let (kind, time) = clock_of(clock)?;
        if let Some(kind) = kind {
            options = options.clock(kind);
        }
        let state = if enabled {
            // Reserving the memory of a large region takes its time.
            let opened = py.detach(|| match &path {
                Some(path) => Inner::open(path, &options),
                None => Inner::private(&options),
            });
            let limiter = opened.map_err(|error| from_open(py, error))?;
            State::Open(Arc::new(Engine { limiter, time }))
        } else {
            State::Off
        };
        Ok(Self {
            state: RwLock::new(state),
            plan,
            tier,
            path,
        })
    }

    /// Charges `cost` units to `key` if its limit admits them now.
    #[inline]
    #[pyo3(signature = (key, tier = None, *, limit = None, window = None, cost = None))]
    fn check(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        tier: Option<&str>,
        limit: Option<&Bound<'_, PyAny>>,
        window: Option<&Bound<'_, PyAny>>,
        cost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Decision> {
        let key = self::key(key)?;
        let policy = self.policy(py, key, tier, limit, window)?;
        let cost = units(cost)?;
        self.answer(py, policy, |engine| engine.check(key, policy, cost))
    }

    /// Whether `check` would admit `cost` units now. Charges nothing.
    #[pyo3(signature = (key, tier = None, *, limit = None, window = None, cost = None))]
    fn peek(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        tier: Option<&str>,
        limit: Option<&Bound<'_, PyAny>>,
        window: Option<&Bound<'_, PyAny>>,
        cost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Decision> {
        let key = self::key(key)?;
        let policy = self.policy(py, key, tier, limit, window)?;
        let cost = units(cost)?;
        self.answer(py, policy, |engine| engine.peek(key, policy, cost))
    }

    /// `check` of many keys, each on its own.
    #[pyo3(signature = (keys, tier = None, *, limit = None, window = None, cost = None))]
    fn check_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        tier: Option<&str>,
        limit: Option<&Bound<'_, PyAny>>,
        window: Option<&Bound<'_, PyAny>>,
        cost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let cost = units(cost)?;
        // A string would be taken for its letters.
        if keys.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("keys must be several, not one str"));
        }
        // Kept here, so that no other thread can drop one meanwhile.
        let keys = keys.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let engine = self.engine(py)?;
        let mut requests = Vec::with_capacity(keys.len());
        for key in &keys {
            let key = self::key(key)?;
            let policy = self.policy(py, key, tier, limit, window)?;
            if let Some(engine) = &engine {
                // What is wrong with one is found before any is charged.
                engine
                    .fits(policy, cost)
                    .map_err(|error| from_call(py, error))?;
            }
            requests.push(Request { key, policy, cost });
        }
        let mut answers: Vec<Result<Answer, Error>> = (requests.iter())
            .map(|request| Ok(free(request.policy)))
            .collect();
        if let Some(engine) = &engine {
            if requests.len() < DETACH_FROM {
                engine.check_many(&requests, &mut answers);
            } else {
                py.detach(|| engine.check_many(&requests, &mut answers));
            }
        }
        let unix_ms = wall(engine.as_deref());
        let decisions = answers.into_iter().map(|answer| match answer {
            Ok(answer) => Ok(Decision::new(answer, unix_ms, None)),
            Err(error) => Err(from_call(py, error)),
        });
        PyList::new(py, decisions.collect::<PyResult<Vec<_>>>()?)
    }

    /// Permit and quota in one call, by the plan and the request's path.
    #[pyo3(signature = (key, target, tier = None, *, limit = None, window = None))]
    fn admit(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        target: &Bound<'_, PyAny>,
        tier: Option<&str>,
        limit: Option<&Bound<'_, PyAny>>,
        window: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Admission> {
        let key = self::key(key)?;
        let target = text(target, "target")?;
        let policy = self.policy(py, key, tier, limit, window)?;
        let plan = self.plan.get();
        let Some(engine) = self.engine(py)? else {
            let decision = Decision::new(free(policy), wall(None), None);
            return Ok(Admission {
                decision: Py::new(py, decision)?,
                permit: None,
                is_allowed: true,
            });
        };
        let admitted = engine.admit(&plan.inner, key, policy, target);
        let admitted = admitted.map_err(|error| from_call(py, error))?;
        // Wrapped first: whatever fails from here on gives it back.
        let permit = admitted
            .permit
            .map(|held| Permit::new(Some(Arc::clone(&engine)), held.into_permit()));
        let endpoint = admitted.endpoint.and_then(|found| plan.path_of(py, found));
        let is_allowed = admitted.decision.is_allowed();
        let decision = Decision::new(admitted.decision, engine.unix_ms(), endpoint);
        Ok(Admission {
            decision: Py::new(py, decision)?,
            permit: permit.map(|permit| Py::new(py, permit)).transpose()?,
            is_allowed,
        })
    }

    /// Takes a permit alone, without asking for quota.
    #[pyo3(signature = (key, endpoint, *, max = None, lease = None))]
    fn permit(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        endpoint: &Bound<'_, PyString>,
        max: Option<&Bound<'_, PyAny>>,
        lease: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Permit> {
        let key = self::key(key)?;
        let max = optional(max, "max")?;
        let class = Class::of(self.plan.get(), endpoint, max)?;
        let lease_ms = match lease {
            Some(lease) => duration_ms(lease, "lease")?,
            None => class.lease_ms,
        };
        let Some(engine) = self.engine(py)? else {
            return Ok(Permit::new(None, mavera_rl::Permit::UNTRACKED));
        };
        let acquired = engine.limiter.acquire(key, class.id, class.max, lease_ms);
        let in_flight = match acquired.map_err(|error| from_call(py, error))? {
            Acquired::Held(held) => {
                let permit = held.into_permit();
                return Ok(Permit::new(Some(Arc::clone(&engine)), permit));
            }
            Acquired::Busy { in_flight } => Some(in_flight),
            Acquired::Full => None,
        };
        Err(Kind::Concurrency.with(py, (endpoint.to_str()?.to_owned(), in_flight, class.max)))
    }

    /// Requests of a key in flight on an endpoint.
    fn in_flight(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        endpoint: &Bound<'_, PyString>,
    ) -> PyResult<u32> {
        let key = self::key(key)?;
        // The number does not depend on how many there may be.
        let class = Class::of(self.plan.get(), endpoint, Some(1))?;
        let engine = self.engine(py)?;
        Ok(engine.map_or(0, |engine| engine.limiter.in_flight(key, class.id)))
    }

    /// What the region is and has seen; `None` if the limiter is not enabled.
    fn stats(&self, py: Python<'_>) -> PyResult<Option<Stats>> {
        let engine = self.engine(py)?;
        Ok(engine.map(|engine| {
            let stats = engine.limiter.stats();
            Stats {
                keys_capacity: stats.keys_capacity,
                keys_held: stats.keys_held,
                inserted: stats.inserted,
                evicted: stats.evicted,
                full: stats.full,
                permit_capacity: stats.permit_capacity,
                permit_cells: stats.permit_cells,
                bytes: stats.bytes,
                cells: stats.cells,
                max_window: seconds(stats.max_window_ms.into()),
            }
        }))
    }

    #[getter]
    fn plan(&self, py: Python<'_>) -> Py<Plan> {
        self.plan.clone_ref(py)
    }

    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    #[getter]
    fn enabled(&self) -> bool {
        !matches!(
            *self.state.read().unwrap_or_else(PoisonError::into_inner),
            State::Off
        )
    }

    #[getter]
    fn closed(&self) -> bool {
        matches!(
            *self.state.read().unwrap_or_else(PoisonError::into_inner),
            State::Closed
        )
    }

    /// Lets go of the region. What is counted in its file stays.
    fn close(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Closed;
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __exit__(&self, _kind: Py<PyAny>, _value: Py<PyAny>, _trace: Py<PyAny>) {
        self.close();
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle(
            "cannot pickle a Limiter: open the same path in the other process, \
             Limiter(path), and it is the same limit",
        ))
    }

    fn __repr__(&self) -> String {
        let state = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open(_) => "",
            State::Off => " not enabled",
            State::Closed => " closed",
        };
        match &self.path {
            Some(path) => format!("<Limiter {}{state}>", path.display()),
            None => format!("<Limiter private{state}>"),
        }
    }
}

impl Limiter {
    #[inline]
    fn answer(
        &self,
        py: Python<'_>,
        policy: Policy,
        ask: impl FnOnce(&Engine) -> Result<Answer, Error>,
    ) -> PyResult<Decision> {
        // Not `engine`, which counts its users: this is the way of every check.
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let engine = match &*state {
            State::Open(engine) => engine,
            State::Off => return Ok(Decision::new(free(policy), wall(None), None)),
            State::Closed => return Err(closed(py)),
        };
        match ask(engine) {
            Ok(answer) => Ok(Decision::new(answer, engine.unix_ms(), None)),
            Err(error) => Err(from_call(py, error)),
        }
    }
}

/// What permits are counted under.
struct Class {
    id: u32,
    max: u32,
    lease_ms: u32,
}

impl Class {
    /// By the plan, or, with a maximum of the caller's, by any name.
    fn of(plan: &Plan, endpoint: &Bound<'_, PyString>, max: Option<u32>) -> PyResult<Self> {
        let name = endpoint.to_str()?;
        match (plan.inner.endpoint(name.as_bytes()), max) {
            (Some(found), max) => Ok(Self {
                id: found.class_id,
                max: max.unwrap_or(found.max_in_flight),
                lease_ms: found.lease_ms,
            }),
            (None, Some(max)) => Ok(Self {
                id: class_id(name),
                max,
                lease_ms: 0,
            }),
            (None, None) => Err(Kind::Tier.says(
                endpoint.py(),
                format!("the plan has no endpoint for {name:?}: give max"),
            )),
        }
    }
}

fn units(cost: Option<&Bound<'_, PyAny>>) -> PyResult<u32> {
    cost.map_or(Ok(1), |cost| whole(cost, "cost"))
}

fn wall(engine: Option<&Engine>) -> u64 {
    match engine {
        Some(engine) => engine.unix_ms(),
        None => {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            u64::try_from(now.as_millis()).unwrap_or_default()
        }
    }
}

type Clock = (Option<ClockKind>, Option<Arc<crate::clock::Time>>);

fn clock_of(clock: Option<&Bound<'_, PyAny>>) -> PyResult<Clock> {
    let Some(clock) = clock else {
        return Ok((None, None));
    };
    if let Ok(manual) = clock.cast::<ManualClock>() {
        let time = Arc::clone(&manual.get().time);
        return Ok((Some(ClockKind::Caller), Some(time)));
    }
    match clock.extract::<String>().as_deref() {
        Ok("precise") => Ok((Some(ClockKind::Precise), None)),
        Ok("coarse") => Ok((Some(ClockKind::Coarse), None)),
        _ => Err(PyValueError::new_err(
            "clock must be \"precise\", \"coarse\" or a ManualClock",
        )),
    }
}
