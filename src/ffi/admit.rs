//! Admission: permit and quota in one call.

use super::check::{Decision, Now, Policy, code_of, limit};
use super::handle::Handle;
use super::permit::CPermit;
use super::plan::PlanHandle;
use super::sized::room;
use super::{Fault, key_bytes};
use crate::error::Error;
use core::ffi::{CStr, c_char, c_int, c_void};

/// By what a quota is asked for.
enum By {
    /// A tier's name, or NULL.
    Tier(*const c_char),
    Policy(*const Policy),
}

/// The arguments of all forms.
struct Arguments {
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    by: By,
    path: *const c_char,
    out: *mut Decision,
    permit: *mut CPermit,
}

impl Arguments {
    /// # Safety
    /// The pointers are NULL or what the header says.
    unsafe fn answer(&self, rl: *const Handle, now: Now) -> c_int {
        // SAFETY: as the caller promises, here and below.
        unsafe {
            Handle::enter(rl, |limiter| {
                let plan = self.plan.as_ref().ok_or(Fault::Argument("plan"))?;
                let key = key_bytes(self.key, self.key_len)?;
                if self.path.is_null() {
                    return Err(Fault::Argument("path"));
                }
                if self.permit.is_null() {
                    return Err(Fault::Argument("permit"));
                }
                let path = CStr::from_ptr(self.path).to_bytes();
                let out = match self.out.is_null() {
                    true => None,
                    false => Some(room(self.out)?),
                };
                let policy = match self.by {
                    By::Tier(tier) if tier.is_null() => plan.plan.key_policy(key),
                    // No tier is called by what is no text.
                    By::Tier(tier) => CStr::from_ptr(tier)
                        .to_str()
                        .ok()
                        .and_then(|tier| plan.plan.policy(tier)),
                    By::Policy(policy) => Some(limit(policy)?),
                };
                let policy = policy.ok_or(Error::Tier)?;
                let admission = match now {
                    Now::Read => limiter.admit_policy(&plan.plan, key, policy, path),
                    Now::Given(at) => limiter.admit_policy_at(&plan.plan, key, policy, path, at),
                }?;
                if let Some(out) = out {
                    let mut decision = Decision::new(&admission.decision, now.unix_ms(limiter));
                    if let Some(endpoint) = admission.endpoint {
                        decision.endpoint = plan.path(endpoint);
                    }
                    out.write(decision);
                }
                let permit = admission.permit.map(crate::limiter::Held::into_permit);
                self.permit
                    .write(CPermit::of(permit.unwrap_or(crate::Permit::UNTRACKED)));
                Ok(code_of(admission.decision.outcome))
            })
        }
    }
}

/// Whether a request may go on: by its tier's quota, one unit, and by the limit
/// on requests in flight of the plan's endpoint that its path falls under
/// (mavera_rl_plan_endpoint). The permit is taken first, because it can be
/// given back: a request refused for what is in flight charges nothing, and
/// one refused for its quota leaves nothing in flight.
///
/// key, key_len: the API key, any bytes; not stored.
/// tier: its name. NULL: what the plan's own list says of the key.
/// path: the request target as it came, with its query or without.
/// out: size set; gets the decision; its outcome says which limit refused. Its
/// endpoint lives as long as the plan. May be NULL.
/// permit: gets the request's permit, for mavera_rl_release when its response
/// is finished; all zero when it was refused or is under no such limit.
/// Returns: MAVERA_RL_ALLOWED, _LIMITED, _BUSY, _FULL; MAVERA_RL_ENOENT (no such
/// tier or key), _EINVAL, _ESIZE, _ECOST, _ECLOCK, _ESLOTS, _EINTERNAL: then
/// nothing was charged. An endpoint with more in flight than the region has
/// permit_cells, or with a lease where the caller supplies the time, is
/// MAVERA_RL_EINVAL at every request under it.
/// Thread safety: any thread, any process on the region. Progress: lock-free.
/// Allocates and blocks: no; system calls as mavera_rl_acquire. Not in the
/// freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_admit(
    rl: *mut Handle,
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    tier: *const c_char,
    path: *const c_char,
    out: *mut Decision,
    permit: *mut CPermit,
) -> c_int {
    let arguments = Arguments {
        plan,
        key,
        key_len,
        by: By::Tier(tier),
        path,
        out,
        permit,
    };
    // SAFETY: as the caller promises.
    unsafe { arguments.answer(rl, Now::Read) }
}

/// mavera_rl_admit at the caller's time, as mavera_rl_check_at. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_admit_at(
    rl: *mut Handle,
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    tier: *const c_char,
    path: *const c_char,
    now_ms: u64,
    out: *mut Decision,
    permit: *mut CPermit,
) -> c_int {
    let arguments = Arguments {
        plan,
        key,
        key_len,
        by: By::Tier(tier),
        path,
        out,
        permit,
    };
    // SAFETY: as the caller promises.
    unsafe { arguments.answer(rl, Now::Given(now_ms)) }
}

/// mavera_rl_admit by a policy that the caller knows: a negotiated one that
/// the plan does not list.
///
/// policy: limit and window; the plan says the endpoints.
/// Otherwise as mavera_rl_admit, but for tiers and keys that are unknown.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_admit_policy(
    rl: *mut Handle,
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    path: *const c_char,
    out: *mut Decision,
    permit: *mut CPermit,
) -> c_int {
    let arguments = Arguments {
        plan,
        key,
        key_len,
        by: By::Policy(policy),
        path,
        out,
        permit,
    };
    // SAFETY: as the caller promises.
    unsafe { arguments.answer(rl, Now::Read) }
}

/// mavera_rl_admit_policy at the caller's time, as mavera_rl_check_at.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_admit_policy_at(
    rl: *mut Handle,
    plan: *const PlanHandle,
    key: *const c_void,
    key_len: usize,
    policy: *const Policy,
    path: *const c_char,
    now_ms: u64,
    out: *mut Decision,
    permit: *mut CPermit,
) -> c_int {
    let arguments = Arguments {
        plan,
        key,
        key_len,
        by: By::Policy(policy),
        path,
        out,
        permit,
    };
    // SAFETY: as the caller promises.
    unsafe { arguments.answer(rl, Now::Given(now_ms)) }
}
