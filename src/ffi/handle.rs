//! `mavera_rl`: a handle on a region.

use super::sized::{read, room, sized};
use super::{Answer, Fault, code::MAVERA_RL_EINTERNAL, entry};
use crate::error::Error;
use crate::layout::ALIGN;
use crate::limiter::Limiter;
use crate::options::{ClockKind, OnFull, Options};
use crate::sync::Word;
use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;

/// Of mavera_rl_options.clock: the precise one when a region is created;
/// whatever it has when one is attached to.
pub const MAVERA_RL_CLOCK_DEFAULT: u32 = 0;
/// CLOCK_BOOTTIME to the millisecond, about 20 ns a reading.
pub const MAVERA_RL_CLOCK_PRECISE: u32 = 1;
/// CLOCK_MONOTONIC_COARSE, about 3 ns a reading; answers come up to twice its
/// resolution (often 8 ms) later.
pub const MAVERA_RL_CLOCK_COARSE: u32 = 2;
/// The caller passes the time: the functions that end in _at.
pub const MAVERA_RL_CLOCK_CALLER: u32 = 3;

/// Of mavera_rl_options.on_full: deny when a region is created; whatever it
/// has when one is attached to.
pub const MAVERA_RL_ON_FULL_DEFAULT: u32 = 0;
/// A key that finds no room hears MAVERA_RL_FULL.
pub const MAVERA_RL_ON_FULL_DENY: u32 = 1;
/// A key that finds no room is allowed without being counted.
pub const MAVERA_RL_ON_FULL_ALLOW: u32 = 2;

/// Options of a region. Set size to sizeof(mavera_rl_options) and the rest to
/// zero, then what is to differ. Zero means the default when a region is
/// created, and "whatever it has" when one is attached to; what is set must
/// then agree with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct COptions {
    /// sizeof(mavera_rl_options)
    pub size: usize,
    /// Keys active within one window, 1..2^32; default 100000. The table has
    /// room for 32 % more.
    pub keys: u64,
    /// Cells of a key's ring: a power of two, 8..1024; default 64. Limits up to
    /// cells - 4 are exact to the millisecond, above to about window / cells.
    /// Memory per key is about 10.6 bytes times cells.
    pub cells: u32,
    /// The longest window any policy may have, in ms; default 60000. A record
    /// can be reused this long after its key's last admission.
    pub max_window_ms: u32,
    /// MAVERA_RL_CLOCK_*
    pub clock: u32,
    /// MAVERA_RL_ON_FULL_*
    pub on_full: u32,
    /// Permission bits of a new region file, the umask not applied; default
    /// 0600.
    pub mode: u32,
    /// 0
    pub reserved: u32,
    /// Secret that keys are hashed with. All zero: drawn from the system. The
    /// freestanding library needs one, and it must be random.
    pub secret: [u8; 16],
    /// Keys with requests in flight at one time, each counted once for every
    /// class, 1..2^32; default 4096, or keys if that is less. There is room for
    /// twice as many.
    pub permit_keys: u64,
    /// Most permits of a key and class: a multiple of 8, 8..256; default 16.
    pub permit_cells: u32,
    /// 0
    pub reserved2: u32,
}
sized!(COptions, "options", secret);

/// What a region is and has seen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CStats {
    /// sizeof(mavera_rl_stats_t)
    pub size: usize,
    /// Records the table can hold.
    pub keys_capacity: u64,
    /// Records given to keys and not taken back.
    pub keys_held: u64,
    /// Records ever given to a key.
    pub inserted: u64,
    /// Records taken back: from idle keys, and in a full table now and then
    /// from one that was given but not charged yet.
    pub evicted: u64,
    /// Checks and acquisitions answered by on_full.
    pub full: u64,
    /// Size of the region in bytes.
    pub bytes: u64,
    /// As in mavera_rl_options.
    pub cells: u32,
    /// As in mavera_rl_options.
    pub clock: u32,
    /// As in mavera_rl_options.
    pub on_full: u32,
    /// As in mavera_rl_options.
    pub max_window_ms: u32,
    /// Keys and classes that can have permits at one time.
    pub permit_capacity: u64,
    /// As in mavera_rl_options.
    pub permit_cells: u32,
    /// 0
    pub reserved: u32,
}
sized!(CStats, "out", permit_capacity);

/// A handle on a region. All functions that take one may be called from any
/// number of threads at once, but for mavera_rl_close.
#[repr(align(128))]
pub struct Handle {
    limiter: Limiter<'static>,
    /// 1 once a panic was caught.
    poisoned: Word,
    /// Whether the handle lies in memory of our own.
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "it never does"))]
    owned: bool,
}

const _: () = assert!(size_of::<Handle>().is_multiple_of(ALIGN));

/// log2 of a word's bytes.
const WORD_SHIFT: u32 = size_of::<u64>().trailing_zeros();

impl Handle {
    fn new(limiter: Limiter<'static>, owned: bool) -> Self {
        Self {
            limiter,
            poisoned: Word::new(0),
            owned,
        }
    }

    /// Runs a function's body on the handle's limiter.
    ///
    /// # Safety
    /// `handle` is NULL or a handle that is not closed.
    #[inline(always)]
    pub(super) unsafe fn enter(
        handle: *const Self,
        body: impl FnOnce(&Limiter<'static>) -> Answer,
    ) -> c_int {
        // SAFETY: as the caller promises.
        let Some(handle) = (unsafe { handle.as_ref() }) else {
            return entry(|| Err(Fault::Argument("rl")));
        };
        if handle.poisoned.load_relaxed() != 0 {
            return entry(|| Err(Fault::Plain(MAVERA_RL_EINTERNAL)));
        }
        let code = entry(|| body(&handle.limiter));
        if code == MAVERA_RL_EINTERNAL {
            handle.poisoned.store_relaxed(1);
        }
        code
    }
}

impl COptions {
    /// # Safety
    /// `from` is NULL or points to options.
    unsafe fn options(from: *const Self) -> Result<Options, Fault> {
        if from.is_null() {
            return Ok(Options::new());
        }
        // SAFETY: as the caller promises.
        let given = unsafe { read(from)? };
        if given.reserved != 0 || given.reserved2 != 0 {
            return Err(Fault::Argument("options.reserved"));
        }
        let some = |value: u32| (value != 0).then_some(value);
        let secret = u128::from_le_bytes(given.secret);
        Ok(Options {
            keys: (given.keys != 0).then_some(given.keys),
            cells: some(given.cells),
            max_window_ms: some(given.max_window_ms),
            clock: match given.clock {
                MAVERA_RL_CLOCK_DEFAULT => None,
                MAVERA_RL_CLOCK_PRECISE => Some(ClockKind::Precise),
                MAVERA_RL_CLOCK_COARSE => Some(ClockKind::Coarse),
                MAVERA_RL_CLOCK_CALLER => Some(ClockKind::Caller),
                _ => return Err(Fault::Argument("options.clock")),
            },
            on_full: match given.on_full {
                MAVERA_RL_ON_FULL_DEFAULT => None,
                MAVERA_RL_ON_FULL_DENY => Some(OnFull::Deny),
                MAVERA_RL_ON_FULL_ALLOW => Some(OnFull::Allow),
                _ => return Err(Fault::Argument("options.on_full")),
            },
            mode: some(given.mode),
            permit_keys: (given.permit_keys != 0).then_some(given.permit_keys),
            permit_cells: some(given.permit_cells),
            secret: (secret != 0).then_some([secret as u64, (secret >> 64) as u64]),
        })
    }
}

/// Bytes that mavera_rl_init needs for a region with these options.
///
/// opts: NULL for the defaults.
/// Returns: the bytes, whatever the memory's alignment; 0 if an option is out
/// of its range (mavera_rl_last_error says which).
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_region_size(opts: *const COptions) -> usize {
    let mut bytes = 0;
    entry(|| {
        // SAFETY: as the caller promises.
        let options = unsafe { COptions::options(opts)? };
        let words = Limiter::words_needed(&options)?;
        bytes = words
            .saturating_mul(size_of::<u64>())
            .saturating_add(size_of::<Handle>())
            .saturating_add(ALIGN);
        Ok(0)
    });
    bytes
}

/// Makes a region in the caller's memory, for threads of this process. The
/// memory is cleared, and belongs to the handle until mavera_rl_close.
///
/// memory, len: at least mavera_rl_region_size(opts) bytes.
/// opts: NULL for the defaults.
/// out: gets the handle, which lies in the memory.
/// Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _ENOMEM (len is too small).
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_init(
    memory: *mut c_void,
    len: usize,
    opts: *const COptions,
    out: *mut *mut Handle,
) -> c_int {
    entry(|| {
        if memory.is_null() {
            return Err(Fault::Argument("memory"));
        }
        if out.is_null() {
            return Err(Fault::Argument("out"));
        }
        // SAFETY: as the caller promises.
        let options = unsafe { COptions::options(opts)? };
        let handle = memory.cast::<u8>();
        let gap = handle.align_offset(ALIGN);
        let before = gap.saturating_add(size_of::<Handle>());
        // SAFETY: as the caller promises.
        let needed = unsafe { mavera_rl_region_size(opts) };
        if needed == 0 || len < needed || isize::try_from(len).is_err() {
            Limiter::words_needed(&options)?;
            return Err(Fault::Error(Error::Memory {
                needed: needed as u64,
                given: len as u64,
            }));
        }
        let handle = handle.wrapping_add(gap).cast::<Handle>();
        let words = len.wrapping_sub(before) >> WORD_SHIFT;
        // SAFETY: the caller gives `len` bytes, of which `before` come first;
        // both parts are aligned to a line; they are the handle's until it is
        // closed, and the caller does not touch them meanwhile.
        let memory = unsafe {
            let base = handle.wrapping_add(1).cast::<MaybeUninit<u64>>();
            core::slice::from_raw_parts_mut(base, words)
        };
        let limiter = Limiter::in_uninit(memory, &options)?;
        // SAFETY: the handle's place is in the memory and aligned; `out` is
        // not NULL.
        unsafe {
            handle.write(Handle::new(limiter, false));
            out.write(handle);
        }
        Ok(0)
    })
}

/// Opens the region of all processes that open this path, and creates it if
/// there is none. Creation is atomic: whoever opens at the same time gets the
/// same region. A region from before a reboot is replaced.
///
/// path: best on /dev/shm; a symbolic link is not followed. NULL: a region of
/// this process alone.
/// opts: NULL for the defaults.
/// out: gets the handle; give it to mavera_rl_close.
/// Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _ENOMEM (no memory, or the file
/// system is full), _ESYS, _EFORMAT, _EVERSION, _EMISMATCH.
/// mavera_rl_last_error names the path and the values at odds.
/// Thread safety: any thread. Progress: may wait for another process that
/// replaces the region of an earlier boot. Allocates and makes system calls.
/// Open after fork, or before: both work. Not in the freestanding library.
/// Since 0.1.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_open(
    path: *const c_char,
    opts: *const COptions,
    out: *mut *mut Handle,
) -> c_int {
    use std::ffi::{CStr, OsStr};
    use std::os::unix::ffi::OsStrExt;
    entry(|| {
        if out.is_null() {
            return Err(Fault::Argument("out"));
        }
        // SAFETY: as the caller promises.
        let options = unsafe { COptions::options(opts)? };
        let opened = if path.is_null() {
            Limiter::private(&options)
        } else {
            // SAFETY: a string that ends with NUL, as the caller promises.
            let path = unsafe { CStr::from_ptr(path) };
            Limiter::open(OsStr::from_bytes(path.to_bytes()), &options)
        };
        let limiter = opened.map_err(Fault::Open)?;
        let handle = Box::into_raw(Box::new(Handle::new(limiter, true)));
        // SAFETY: not NULL, and the caller's to write.
        unsafe { out.write(handle) };
        Ok(0)
    })
}

/// Closes a handle. The region's file, and what is counted in it, stay; memory
/// given to mavera_rl_init is the caller's again. Permits that were taken
/// through the handle are given back.
///
/// rl: NULL is allowed and does nothing.
/// Thread safety: no other thread may use the handle any more. Progress:
/// wait-free. Makes a system call. Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_close(rl: *mut Handle) {
    if rl.is_null() {
        return;
    }
    entry(|| {
        // SAFETY: a handle that is not closed yet, as the caller promises, and
        // ours alone from now on; `owned` says that it came from a Box.
        unsafe {
            #[cfg(feature = "std")]
            if (*rl).owned {
                drop(Box::from_raw(rl));
                return Ok(0);
            }
            rl.drop_in_place();
        }
        Ok(0)
    });
}

/// What the region is and has seen. Counters are exact when nobody is writing.
///
/// out: size set; gets the rest.
/// Returns: 0; MAVERA_RL_EINVAL, _ESIZE, _EINTERNAL.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mavera_rl_stats(rl: *const Handle, out: *mut CStats) -> c_int {
    // SAFETY: as the caller promises, here and below.
    unsafe {
        Handle::enter(rl, |limiter| {
            let out = room(out)?;
            let stats = limiter.stats();
            out.write(CStats {
                size: size_of::<CStats>(),
                keys_capacity: stats.keys_capacity,
                keys_held: stats.keys_held,
                inserted: stats.inserted,
                evicted: stats.evicted,
                full: stats.full,
                bytes: stats.bytes,
                cells: stats.cells,
                clock: stats.clock as u32,
                on_full: stats.on_full as u32,
                max_window_ms: stats.max_window_ms,
                permit_capacity: stats.permit_capacity,
                permit_cells: stats.permit_cells,
                reserved: 0,
            });
            Ok(0)
        })
    }
}

/// Version of the binary interface: the number in the library's soname. It
/// changes when a program must be compiled anew.
pub const MAVERA_RL_ABI_VERSION: u32 = 0;

/// The library's MAVERA_RL_ABI_VERSION, to compare with the header's.
///
/// Returns: the number in the library's soname.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mavera_rl_abi_version() -> u32 {
    MAVERA_RL_ABI_VERSION
}

/// The library's version, as in "0.1.0".
///
/// Returns: a static string.
/// Thread safety: any thread. Progress: wait-free. Allocates and blocks: no.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn mavera_rl_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
