//! Structs that begin with their own size, so that old callers work with a
//! new library and new callers with an old one.

use super::Fault;
use core::mem::MaybeUninit;

/// A size above this is a stray value, not a struct.
const LARGEST: usize = 4096;

/// # Safety
/// The type is `repr(C)`, its first field is `size: usize`, and all zero bytes
/// are a value of it.
pub(super) unsafe trait Sized: Copy {
    /// Size of the first version that was released.
    const SMALLEST: usize;
    /// The name in the header, for messages.
    const NAME: &'static str;
}

/// Room for a struct, examined: its address and its size.
#[derive(Clone, Copy)]
pub(super) struct Room<T> {
    to: *mut T,
    size: usize,
}

/// A copy of the struct at `from`; what an older caller's lacks is zero.
///
/// # Safety
/// `from` is NULL or readable for as many bytes as its `size` says.
#[inline(always)]
pub(super) unsafe fn read<T: Sized>(from: *const T) -> Result<T, Fault> {
    if from.is_null() {
        return Err(Fault::Argument(T::NAME));
    }
    // SAFETY: a struct has at least its size.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    if size == size_of::<T>() {
        // SAFETY: it is as long as it should be.
        return Ok(unsafe { from.read_unaligned() });
    }
    // SAFETY: as the caller promises.
    unsafe { read_other(from, size) }
}

#[cold]
unsafe fn read_other<T: Sized>(from: *const T, size: usize) -> Result<T, Fault> {
    // SAFETY: as the caller of `read` promises.
    unsafe { known(from, size)? };
    let mut value = MaybeUninit::<T>::zeroed();
    let len = size.min(size_of::<T>());
    // SAFETY: both sides have `len` bytes, and the copy is ours; zero bytes
    // are a value of `T`, and so are a caller's.
    unsafe {
        core::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast(), len);
        Ok(value.assume_init())
    }
}

/// Whether a struct of this size can be one of ours.
///
/// # Safety
/// `size` bytes from `at` are readable.
unsafe fn known<T: Sized>(at: *const T, size: usize) -> Result<(), Fault> {
    if !(T::SMALLEST..=LARGEST).contains(&size) {
        return Err(Fault::Size(T::NAME));
    }
    for offset in size_of::<T>()..size {
        // SAFETY: below `size`.
        if unsafe { at.cast::<u8>().wrapping_add(offset).read() } != 0 {
            return Err(Fault::Size(T::NAME));
        }
    }
    Ok(())
}

/// Examines where an output is to go.
///
/// # Safety
/// `to` is NULL or readable for as many bytes as its `size` says.
#[inline(always)]
pub(super) unsafe fn room<T: Sized>(to: *mut T) -> Result<Room<T>, Fault> {
    if to.is_null() {
        return Err(Fault::Argument(T::NAME));
    }
    // SAFETY: a struct has at least its size.
    let size = unsafe { to.cast::<usize>().read_unaligned() };
    if size != size_of::<T>() {
        // SAFETY: as the caller promises.
        unsafe { known(to, size)? };
    }
    Ok(Room { to, size })
}

impl<T: Sized> Room<T> {
    /// Writes what the caller's struct has room for; its size stays.
    ///
    /// # Safety
    /// The struct that was examined is writable.
    #[inline(always)]
    pub(super) unsafe fn write(self, value: T) {
        let from = core::ptr::from_ref(&value).cast::<u8>();
        let to = self.to.cast::<u8>();
        let skip = size_of::<usize>();
        let len = self.size.min(size_of::<T>()).wrapping_sub(skip);
        // SAFETY: both sides have `skip + len` bytes: ours by its type, the
        // caller's by its examined size, which is at least SMALLEST > skip.
        unsafe {
            core::ptr::copy_nonoverlapping(from.wrapping_add(skip), to.wrapping_add(skip), len);
        }
    }
}

/// Implements [`Sized`] for a struct whose first release ended before
/// `$first_later`, or that has not grown since.
macro_rules! sized {
    ($type:ty, $name:literal) => {
        const _: () = assert!(core::mem::offset_of!($type, size) == 0);
        // SAFETY: repr(C), begins with its size, made of numbers and pointers.
        unsafe impl $crate::ffi::sized::Sized for $type {
            const SMALLEST: usize = size_of::<$type>();
            const NAME: &'static str = $name;
        }
    };
    ($type:ty, $name:literal, $first_later:ident) => {
        const _: () = assert!(core::mem::offset_of!($type, size) == 0);
        // SAFETY: repr(C), begins with its size, made of numbers and pointers.
        unsafe impl $crate::ffi::sized::Sized for $type {
            const SMALLEST: usize = core::mem::offset_of!($type, $first_later);
            const NAME: &'static str = $name;
        }
    };
}
pub(super) use sized;
