//! Headers and bodies of a response, into the caller's buffer.

use super::check::Decision;
use super::code::{MAVERA_RL_ALLOWED, MAVERA_RL_BUSY};
use super::entry;
use super::sized::read;
use crate::http::{Flavour, Response};
#[cfg(feature = "std")]
use core::ffi::CStr;
use core::ffi::c_char;

/// X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset
pub const MAVERA_RL_HEADERS_LEGACY: u32 = 1;
/// RateLimit-Policy and RateLimit of draft-ietf-httpapi-ratelimit-headers-11
pub const MAVERA_RL_HEADERS_IETF: u32 = 2;
/// Both of them
pub const MAVERA_RL_HEADERS_BOTH: u32 = 3;

/// Gives `text` by snprintf's contract.
///
/// # Safety
/// `cap` bytes from `buf` are writable; `buf` may be NULL if `cap` is 0.
#[cfg(feature = "std")]
pub(super) unsafe fn give(text: &[u8], buf: *mut c_char, cap: usize) -> usize {
    // SAFETY: as the caller promises.
    unsafe {
        write(buf, cap, |out| {
            for (place, &byte) in out.iter_mut().zip(text) {
                *place = byte;
            }
            text.len()
        })
    }
}

/// Runs `text` on the buffer less a byte for the NUL, which it sets.
///
/// # Safety
/// `cap` bytes from `buf` are writable; `buf` may be NULL if `cap` is 0.
unsafe fn write(buf: *mut c_char, cap: usize, mut text: impl FnMut(&mut [u8]) -> usize) -> usize {
    let len = text(&mut []);
    let Some(room) = cap.checked_sub(1).filter(|_| !buf.is_null()) else {
        return len;
    };
    let buf = buf.cast::<u8>();
    let fits = len.min(room);
    // SAFETY: `fits` bytes and the NUL are below `cap`; they are initialised
    // before a reference to them is made.
    unsafe {
        buf.write_bytes(0, fits.saturating_add(1));
        text(core::slice::from_raw_parts_mut(buf, fits))
    }
}

/// A decision's values, without its endpoint, which only a body names: headers
/// may be wanted when its plan is gone.
///
/// # Safety
/// `d` is NULL or points to a decision.
unsafe fn response(d: *const Decision) -> Option<Response<'static>> {
    let mut response = None;
    entry(|| {
        // SAFETY: as the caller promises.
        let decision = unsafe { read(d)? };
        response = Some(Response {
            limit: decision.limit,
            remaining: decision.remaining,
            window_ms: decision.window_ms,
            reset_after_ms: decision.reset_after_ms,
            reset_unix_ms: decision.reset_unix_ms,
            retry_after_s: match decision.outcome {
                MAVERA_RL_ALLOWED => 0,
                _ => decision.retry_after_s,
            },
            busy: decision.outcome == MAVERA_RL_BUSY,
            in_flight: decision.in_flight,
            max_in_flight: decision.max_in_flight,
            endpoint: None,
        });
        Ok(0)
    });
    response
}

fn flavour(number: u32) -> Option<Flavour> {
    match number {
        MAVERA_RL_HEADERS_LEGACY => Some(Flavour::Legacy),
        MAVERA_RL_HEADERS_IETF => Some(Flavour::Ietf),
        MAVERA_RL_HEADERS_BOTH => Some(Flavour::Both),
        _ => None,
    }
}

/// All headers of a decision, as lines that end with CR LF; a refusal's
/// include Retry-After.
///
/// d: a decision.
/// flavour: MAVERA_RL_HEADERS_*
/// buf, cap: where they go; as snprintf, at most cap - 1 bytes and a NUL. 512
/// are enough.
/// Returns: the whole length without the NUL; 0 if d or flavour is wrong.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_format_headers(
    d: *const Decision,
    flavour: u32,
    buf: *mut c_char,
    cap: usize,
) -> usize {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        match (response(d), self::flavour(flavour)) {
            (Some(response), Some(flavour)) => {
                write(buf, cap, |out| response.headers(flavour, out))
            }
            _ => write(buf, cap, |_| 0),
        }
    }
}

/// One header of a decision, for servers that take them one by one.
///
/// d: a decision.
/// flavour: MAVERA_RL_HEADERS_*
/// index: from 0.
/// name: gets the header's name, a static string; NULL past the last.
/// buf, cap: where the value goes; as snprintf. 64 are enough.
/// Returns: the value's length without the NUL; 0 past the last, or if an
/// argument is wrong.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_format_header(
    d: *const Decision,
    flavour: u32,
    index: usize,
    name: *mut *const c_char,
    buf: *mut c_char,
    cap: usize,
) -> usize {
    if name.is_null() {
        return 0;
    }
    let mut found = core::ptr::null();
    // SAFETY: as the caller promises, here and below.
    unsafe {
        let len = match (response(d), self::flavour(flavour)) {
            (Some(response), Some(flavour)) => {
                write(buf, cap, |out| match response.header(flavour, index, out) {
                    Some((name, len)) => {
                        found = name.as_ptr();
                        len
                    }
                    None => 0,
                })
            }
            _ => write(buf, cap, |_| 0),
        };
        name.write(found);
        len
    }
}

/// The JSON error of a refusal; its status is 429 and its Content-Type
/// application/json.
///
/// d: a decision; one that was refused for requests in flight names its
/// endpoint, so its plan must not be freed.
/// buf, cap: where it goes; as snprintf. 256 are enough, and of a refusal for
/// requests in flight as many as the endpoint's name has besides.
/// Returns: the whole length without the NUL; 0 if the decision allows, or d
/// is wrong.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_format_body(
    d: *const Decision,
    buf: *mut c_char,
    cap: usize,
) -> usize {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        match response(d) {
            // Without std there are no plans, and no names of endpoints.
            #[cfg(feature = "std")]
            Some(response) if response.busy => {
                // SAFETY: it was read just now.
                let endpoint = read(d).map_or(core::ptr::null(), |d: Decision| d.endpoint);
                let name = match endpoint.is_null() {
                    true => None,
                    false => CStr::from_ptr(endpoint).to_str().ok(),
                };
                write(buf, cap, |out| response.on(name).body(out))
            }
            Some(response) => write(buf, cap, |out| response.body(out)),
            None => write(buf, cap, |_| 0),
        }
    }
}
