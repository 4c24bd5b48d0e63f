//! `mavera_rl_plan`: tiers, endpoints and known keys.

use super::check::Policy;
use super::code::MAVERA_RL_ENOENT;
use super::sized::{room, sized};
use super::{Answer, Fault, entry, key_bytes};
use crate::limit::Policy as Limit;
use crate::plan::Plan;
use core::ffi::{CStr, c_char, c_int, c_void};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// A plan. All functions that take one may be called from any number of
/// threads at once, but for mavera_rl_plan_free.
pub struct PlanHandle {
    pub(super) plan: Plan,
    /// The endpoints' paths as C has them, in the plan's order.
    paths: Box<[CString]>,
}

impl PlanHandle {
    /// An endpoint's path, for as long as the plan lives.
    pub(super) fn path(&self, endpoint: &crate::plan::Endpoint) -> *const c_char {
        let all = self.plan.endpoints().iter().zip(&self.paths);
        all.into_iter()
            .find(|(known, _)| core::ptr::eq(*known, endpoint))
            .map_or(core::ptr::null(), |(_, path)| path.as_ptr())
    }
}

/// An endpoint with a limit on requests in flight.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// sizeof(mavera_rl_endpoint)
    pub size: usize,
    /// The request path; lives as long as the plan
    pub path: *const c_char,
    /// The endpoint's class, as mavera_rl_class_id says of its path
    pub class_id: u32,
    /// Most requests of one key in flight
    pub max_in_flight: u32,
}
sized!(Endpoint, "out");

/// # Safety
/// `out` is NULL or writable.
unsafe fn give(plan: Plan, out: *mut *mut PlanHandle) -> Answer {
    let paths = plan
        .endpoints()
        .iter()
        // A path with a NUL is no path; plan files refuse it.
        .map(|endpoint| CString::new(&*endpoint.path).unwrap_or_default())
        .collect();
    // SAFETY: the callers have examined `out`.
    unsafe { out.write(Box::into_raw(Box::new(PlanHandle { plan, paths }))) };
    Ok(0)
}

/// # Safety
/// `plan` is NULL or a plan that is not freed.
unsafe fn enter(plan: *const PlanHandle, body: impl FnOnce(&PlanHandle) -> Answer) -> c_int {
    // SAFETY: as the caller promises.
    entry(|| match unsafe { plan.as_ref() } {
        Some(plan) => body(plan),
        None => Err(Fault::Argument("plan")),
    })
}

/// # Safety
/// `text` is NULL or a string that ends with NUL.
unsafe fn string<'a>(text: *const c_char, name: &'static str) -> Result<&'a CStr, Fault> {
    if text.is_null() {
        return Err(Fault::Argument(name));
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// # Safety
/// `out` is NULL or writable for its size.
unsafe fn answer(policy: Option<Limit>, out: *mut Policy) -> Answer {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        let out = room(out)?;
        let policy = policy.ok_or(Fault::Plain(MAVERA_RL_ENOENT))?;
        out.write(Policy {
            size: size_of::<Policy>(),
            limit: policy.limit(),
            window_ms: policy.window_ms(),
        });
        Ok(0)
    }
}

/// The built-in plan: tiers starter 60, basic 120, professional 240 and
/// enterprise 600 per 60 s; in flight /mave/chat 10, /focus-groups 5,
/// /video-analyses 3; no keys.
///
/// out: gets the plan; give it to mavera_rl_plan_free.
/// Returns: 0; MAVERA_RL_EINVAL.
/// Thread safety: any thread. Progress: wait-free. Allocates. Not in the
/// freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_default(out: *mut *mut PlanHandle) -> c_int {
    entry(|| {
        if out.is_null() {
            return Err(Fault::Argument("out"));
        }
        // SAFETY: as the caller promises.
        unsafe { give(Plan::default(), out) }
    })
}

/// Reads a plan from a TOML file:
///
/// | window = "60s"                # default; ms, or "500ms" "60s" "5m" "1h"
/// | [tiers]
/// | starter = 60                  # requests per window
/// | trial = { limit = 5, window = "10s" }
/// | [endpoints]
/// | "/mave/chat" = 10             # requests of one key in flight
/// | "/focus-groups" = { in_flight = 5, also = ["/v1/focus-groups"] }
/// | [keys]                        # API keys, if the gateway keeps them here
/// | "key-one" = "starter"
/// | "key-two" = { tier = "enterprise", limit = 5000 }
///
/// A part that is missing is the built-in plan's, but for keys.
///
/// out: gets the plan; give it to mavera_rl_plan_free.
/// Returns: 0; MAVERA_RL_EINVAL, _EPLAN (mavera_rl_last_error names file, line
/// and key).
/// Thread safety: any thread. Allocates and reads a file. Not in the
/// freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_load(
    toml_path: *const c_char,
    out: *mut *mut PlanHandle,
) -> c_int {
    entry(|| {
        if out.is_null() {
            return Err(Fault::Argument("out"));
        }
        // SAFETY: as the caller promises, here and below.
        unsafe {
            let path = string(toml_path, "toml_path")?;
            let plan = Plan::load(OsStr::from_bytes(path.to_bytes())).map_err(Fault::Plan)?;
            give(plan, out)
        }
    })
}

/// Frees a plan.
///
/// plan: NULL is allowed and does nothing.
/// Thread safety: no other thread may use the plan any more. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_free(plan: *mut PlanHandle) {
    if plan.is_null() {
        return;
    }
    entry(|| {
        // SAFETY: from a Box, not freed yet, as the caller promises.
        drop(unsafe { Box::from_raw(plan) });
        Ok(0)
    });
}

/// What a tier may.
///
/// tier: its name.
/// out: size set; gets limit and window.
/// Returns: 0; MAVERA_RL_ENOENT, _EINVAL, _ESIZE.
/// Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
/// wait-free. Allocates and blocks: no. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_policy(
    plan: *const PlanHandle,
    tier: *const c_char,
    out: *mut Policy,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        enter(plan, |plan| {
            let tier = string(tier, "tier")?.to_str();
            answer(tier.ok().and_then(|tier| plan.plan.policy(tier)), out)
        })
    }
}

/// What a key of the plan's own list may.
///
/// key, key_len: the API key.
/// out: size set; gets limit and window.
/// Returns: 0; MAVERA_RL_ENOENT (the plan does not know it), _EINVAL, _ESIZE.
/// Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
/// wait-free. Allocates and blocks: no. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_key_policy(
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    out: *mut Policy,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        enter(plan, |plan| {
            answer(plan.plan.key_policy(key_bytes(key, key_len)?), out)
        })
    }
}

/// Gives a tier other numbers, for all checks from now on. What its keys have
/// spent is kept, unless the window's length changes.
///
/// tier: its name.
/// limit: units, 0..8388608. window_ms: from 1.
/// Returns: 0; MAVERA_RL_ENOENT, _EINVAL.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_set_tier(
    plan: *mut PlanHandle,
    tier: *const c_char,
    limit: u32,
    window_ms: u32,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        enter(plan, |plan| {
            let tier = string(tier, "tier")?;
            let policy = Limit::new(limit, window_ms)?;
            let tier = tier.to_str().map_err(|_| Fault::Plain(MAVERA_RL_ENOENT))?;
            plan.plan.set_tier(tier, policy)?;
            Ok(0)
        })
    }
}

/// The longest window of the plan's tiers and keys: what a region that serves
/// it needs as max_window_ms.
///
/// Returns: milliseconds; 0 if plan is NULL.
/// Thread safety: any thread, also beside mavera_rl_plan_set_tier. Progress:
/// wait-free. Allocates and blocks: no. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_max_window_ms(plan: *const PlanHandle) -> u32 {
    let mut longest = 0;
    // SAFETY: as the caller promises.
    unsafe {
        enter(plan, |plan| {
            longest = plan.plan.max_window_ms();
            Ok(0)
        });
    }
    longest
}

/// The class of an endpoint's path: the same in every process and in every
/// order of a plan.
///
/// name: a path as a plan has it; any other name will do for a class of the
/// caller's own. A trailing slash does not count.
/// Returns: the class; of NULL, as of "".
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_class_id(name: *const c_char) -> u32 {
    let mut class_id = crate::plan::class_id("");
    entry(|| {
        if !name.is_null() {
            // SAFETY: a string that ends with NUL, as the caller promises.
            let name = unsafe { CStr::from_ptr(name) };
            class_id = crate::plan::class_id(&name.to_string_lossy());
        }
        Ok(0)
    });
    class_id
}

/// The endpoint whose limit on requests in flight a request falls under.
///
/// target: the request target as it came, with its query or without.
/// out: size set; gets the endpoint.
/// Returns: 0; MAVERA_RL_ENOENT (under none); MAVERA_RL_EINVAL, _ESIZE.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_endpoint(
    plan: *const PlanHandle,
    target: *const c_char,
    out: *mut Endpoint,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        enter(plan, |plan| {
            let out = room(out)?;
            let target = string(target, "target")?.to_bytes();
            let endpoint = plan.plan.endpoint(target);
            let endpoint = endpoint.ok_or(Fault::Plain(MAVERA_RL_ENOENT))?;
            out.write(Endpoint {
                size: size_of::<Endpoint>(),
                path: plan.path(endpoint),
                class_id: endpoint.class_id,
                max_in_flight: endpoint.max_in_flight,
            });
            Ok(0)
        })
    }
}

/// The plan's endpoints, one by one.
///
/// index: from 0.
/// out: size set; gets the endpoint.
/// Returns: 0; MAVERA_RL_ENOENT past the last; MAVERA_RL_EINVAL, _ESIZE.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_plan_endpoint_at(
    plan: *const PlanHandle,
    index: usize,
    out: *mut Endpoint,
) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        enter(plan, |plan| {
            let out = room(out)?;
            let (endpoint, path) = plan
                .plan
                .endpoints()
                .get(index)
                .zip(plan.paths.get(index))
                .ok_or(Fault::Plain(MAVERA_RL_ENOENT))?;
            out.write(Endpoint {
                size: size_of::<Endpoint>(),
                path: path.as_ptr(),
                class_id: endpoint.class_id,
                max_in_flight: endpoint.max_in_flight,
            });
            Ok(0)
        })
    }
}
