//! A thread's last error in full, kept in a fixed buffer.

use super::{Fault, code};
use core::ffi::{CStr, c_char};
use std::cell::RefCell;
use std::fmt::{self, Write};

/// Longer messages are cut; a path can be 4,096 bytes long.
const CAPACITY: usize = 1024;

struct Message {
    bytes: [u8; CAPACITY],
    len: usize,
}

thread_local! {
    static LAST: RefCell<Message> =
        const { RefCell::new(Message { bytes: [0; CAPACITY], len: 0 }) };
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(text.bytes()) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

pub(super) fn keep(fault: &Fault) {
    // A thread that is ending, or a signal handler that interrupts this very
    // function, goes without the words.
    let _ = LAST.try_with(|last| {
        let Ok(mut last) = last.try_borrow_mut() else {
            return;
        };
        last.len = 0;
        // Writing into the buffer does not fail.
        let _ = match fault {
            Fault::Argument(name) => write!(last, "{name} is NULL or out of its range"),
            Fault::Size(name) => write!(
                last,
                "{name}: size is too small, or the bytes beyond what this library knows are not zero"
            ),
            Fault::Error(error) => write!(last, "{error}"),
            Fault::Open(error) => write!(last, "{error}"),
            Fault::Plan(error) => write!(last, "{error}"),
            Fault::Plain(code) => {
                // SAFETY: a static string that ends with NUL.
                let text = unsafe { CStr::from_ptr(code::mavera_rl_strerror(*code)) };
                write!(last, "{}", text.to_string_lossy())
            }
        };
    });
}

/// The calling thread's last error in full: it names the values at odds, and
/// for files the path, the line and the key.
///
/// buf, cap: where it goes; as `snprintf`, at most cap - 1 bytes and a NUL.
/// Returns: the whole length without the NUL; 0 if there was no error.
/// Thread safety: any thread, each has its own. Progress: wait-free.
/// Allocates and blocks: no. Not in the freestanding library. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_last_error(buf: *mut c_char, cap: usize) -> usize {
    LAST.try_with(|last| {
        let last = last.try_borrow().ok()?;
        let text = last.bytes.get(..last.len).unwrap_or_default();
        // SAFETY: as the caller promises.
        Some(unsafe { super::response::give(text, buf, cap) })
    })
    .ok()
    .flatten()
    .unwrap_or_default()
}
