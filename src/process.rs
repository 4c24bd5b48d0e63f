//! This process among those that hold permits: its slot, and who is alive.
//!
//! # Purpose
//! A permit must outlive any pause of its owner and no death of it. What the
//! kernel drops at the very end of a process, however it ends, is its locks:
//! so a process owns a slot of the region while it holds a lock on one byte of
//! the region's file. There are no heartbeats: a stopped process still has its
//! requests in flight. Process ids play no part, so they may be used again.
//!
//! # Protocol
//! - *Register*, when the first permit is asked for: beginning one slot further
//!   with each registration, lock the first slot's byte that nobody has locked
//!   (`F_OFD_SETLK`), and renew its generation.
//! - *Judge* an owner whose permit is wanted: ask who has the lock
//!   (`F_OFD_GETLK`), each slot at most once in [`PATIENCE_MS`].
//! - *Fork*: the lock belongs to the open file, which a child shares; it would
//!   keep a dead parent alive. So the child, before `fork` returns in it, opens
//!   the file anew and closes the shared one, and registers when it first asks
//!   for a permit. The parent's permits stay the parent's. After `exec` there
//!   is nothing left to share. What the region is mapped from is another open
//!   file, for a mapping keeps its own alive in the child.
//!
//! `pthread_atfork` costs nothing on the way of a permit. Asking for the process
//! id each time is a system call: 97 ns where taking a permit and giving it back
//! takes 23.
//!
//! # Limits
//! A child made by a bare `clone`, which runs no handlers, shares its parent's
//! slot. So does one forked by another thread in the microseconds in which a
//! region is being opened; if that is the process's seventeenth or a later one,
//! the child may wait for ever when it opens a region itself. A child that
//! cannot open the file again (no `/proc`, no descriptor left) cannot register,
//! and is told so. A program that closes descriptors it does not know lets go
//! of its permits; it is told so when it next asks for one after somebody has
//! noticed.

#![expect(unsafe_code, reason = "file locks and fork handlers are C functions")]

use crate::clock;
use crate::error::Error;
use crate::options::ClockKind;
use crate::permits::Judge;
use crate::slots::Slots;
use crate::sync::{Pause, TRIES, Word};
use crate::word::{Owner, SLOTS};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::OnceLock;

/// Ticks within which an owner found alive is not asked after again.
const PATIENCE_MS: u64 = 5;

/// Of [`Entry::identity`]: not registered; a thread is at it; else an owner.
const NOBODY: u64 = 0;
const SOON: u64 = u64::MAX;

/// Of [`Entry::fd`]: no file, for the region is this process's alone.
const NO_FILE: u64 = 0;
/// The file could not be opened again; with the system's error number.
const LOST: u64 = 1 << 32;

/// What the fork handler must find: one per open region. There are some to
/// begin with, so that a limiter in its caller's memory allocates nothing; more
/// are never freed, for a handler may be reading them, but used again.
struct Entry {
    taken: Word,
    identity: Word,
    /// The descriptor and 1, or one of the above.
    fd: Word,
    /// Device and inode of the file: the descriptor's number may be
    /// somebody else's by now.
    device: Word,
    inode: Word,
    next: OnceLock<&'static Entry>,
}

static SOME: [Entry; 16] = [const { Entry::new() }; 16];
static MORE: OnceLock<&'static Entry> = OnceLock::new();

/// This process, as far as one region knows it.
pub(crate) struct Process {
    entry: &'static Entry,
    /// When each slot's owner was last found alive.
    asked: Box<[Word]>,
}

impl Entry {
    const fn new() -> Self {
        Self {
            taken: Word::new(0),
            identity: Word::new(NOBODY),
            fd: Word::new(NO_FILE),
            device: Word::new(0),
            inode: Word::new(0),
            next: OnceLock::new(),
        }
    }

    /// All that are in use, and some that are not.
    fn all() -> impl Iterator<Item = &'static Self> {
        let next = |entry: &&'static Self| entry.next.get().copied();
        SOME.iter()
            .chain(std::iter::successors(MORE.get().copied(), next))
    }

    /// An entry that is not in use, or a new one.
    fn take() -> Option<&'static Self> {
        if let Some(entry) = SOME.iter().find(|entry| entry.taken.cas(0, 1)) {
            return Some(entry);
        }
        let mut link = &MORE;
        for _ in 0..TRIES {
            let entry = *link.get_or_init(|| Box::leak(Box::new(Self::new())));
            if entry.taken.cas(0, 1) {
                return Some(entry);
            }
            link = &entry.next;
        }
        None
    }

    fn fd(&self) -> Option<RawFd> {
        let fd = self.fd.load_acquire().checked_sub(1)?;
        RawFd::try_from(fd).ok().filter(|&fd| self.is_ours(fd))
    }

    /// Whether a descriptor still leads to the region's file.
    fn is_ours(&self, fd: RawFd) -> bool {
        stat(fd) == Some((self.device.load_relaxed(), self.inode.load_relaxed()))
    }
}

/// Device and inode of a descriptor's file.
fn stat(fd: RawFd) -> Option<(u64, u64)> {
    let mut found = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: writes into ours, and is valid if it succeeds.
    unsafe {
        if libc::fstat(fd, found.as_mut_ptr()) != 0 {
            return None;
        }
        let found = found.assume_init();
        Some((found.st_dev, found.st_ino))
    }
}

/// A lock on one byte.
fn byte(slot: u16) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: slot.into(),
        l_len: 1,
        l_pid: 0,
    }
}

impl Process {
    /// `file` is the region's; without one the region is this process's alone.
    pub(crate) fn new(file: Option<File>) -> Option<Self> {
        /// Installs the handler, once; what it returned.
        static HANDLER: OnceLock<libc::c_int> = OnceLock::new();
        // SAFETY: the handler is a function of ours, which a library that is
        // unloaded takes out again.
        let handler =
            HANDLER.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(in_child)) });
        if *handler != 0 {
            return None;
        }
        let entry = Entry::take()?;
        // Without a file there is nobody to ask after.
        let slots = if file.is_some() { SLOTS } else { 0 };
        if let Some(file) = file {
            let (device, inode) = stat(file.as_raw_fd()).unwrap_or_default();
            entry.device.store_relaxed(device);
            entry.inode.store_relaxed(inode);
            // A mapping keeps the open file it was made from, and its locks, in
            // every child: locks need one that nothing is mapped from.
            entry
                .fd
                .store_relaxed(opened_again(entry, file.as_raw_fd()));
        }
        Some(Self {
            entry,
            asked: (0..slots).map(|_| Word::new(0)).collect(),
        })
    }

    /// Who this process is, registering it if that has not been done.
    ///
    /// # Errors
    /// As [`Process::register`].
    #[inline(always)]
    pub(crate) fn owner(&self, slots: Slots<'_>, turn: &Word) -> Result<Owner, Error> {
        match self.entry.identity.load_acquire() {
            NOBODY | SOON => self.register(slots, turn),
            known if slots.is_void(unpack(known)) => self.register_again(known, slots, turn),
            known => Ok(unpack(known)),
        }
    }

    /// Somebody found our lock free, so it is: a permit of the old slot would
    /// count for nobody.
    #[cold]
    fn register_again(&self, known: u64, slots: Slots<'_>, turn: &Word) -> Result<Owner, Error> {
        self.entry.identity.cas(known, NOBODY);
        self.register(slots, turn)
    }

    /// Whether a permit's owner is this process.
    #[inline(always)]
    pub(crate) fn is(&self, owner: Owner) -> bool {
        owner.slot != 0 && self.entry.identity.load_acquire() == pack(owner)
    }

    /// # Errors
    /// [`Error::Slots`] when all are taken by processes that are alive,
    /// [`Error::Register`] when the system refuses.
    #[cold]
    fn register(&self, slots: Slots<'_>, turn: &Word) -> Result<Owner, Error> {
        let identity = &self.entry.identity;
        let pause = Pause::new();
        // Two threads must not lock one slot: a lock of this process's does
        // not exclude itself.
        while !identity.cas(NOBODY, SOON) {
            match identity.load_acquire() {
                NOBODY | SOON => pause.lost(),
                known => return Ok(unpack(known)),
            }
            std::thread::yield_now();
        }
        let registered = self.take_slot(slots, turn);
        identity.cas(
            SOON,
            registered.as_ref().map_or(NOBODY, |&owner| pack(owner)),
        );
        registered
    }

    fn take_slot(&self, slots: Slots<'_>, turn: &Word) -> Result<Owner, Error> {
        if self.entry.fd.load_acquire() == NO_FILE {
            /// No two private regions of this process, nor a child's copy, have
            /// one generation: a permit of another is nobody's.
            static SERIAL: Word = Word::new(0);
            return slots.begin(1, SERIAL.add(1)).ok_or(Error::Slots);
        }
        let fd = self.entry.fd().ok_or_else(|| {
            let known = self.entry.fd.load_acquire();
            let lost = known.checked_sub(LOST).map(|code| code as libc::c_int);
            // It was there, and somebody has closed it.
            let code = lost.unwrap_or(libc::EBADF);
            Error::Register { code }
        })?;
        // Slot 0 is nobody's.
        const COUNT: u64 = SLOTS as u64 - 1;
        // From its own beginning on, so that whoever registers at the same time
        // takes no slot out of the search.
        let first = turn.add(1);
        for step in 0..COUNT {
            let slot = ((first.wrapping_add(step) % COUNT) as u16).wrapping_add(1);
            let lock = byte(slot);
            // SAFETY: reads a lock of ours.
            if unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &lock) } == 0 {
                return slots.renew(slot).ok_or(Error::Slots);
            }
            match errno() {
                libc::EAGAIN | libc::EACCES | libc::EINTR => {}
                code => return Err(Error::Register { code }),
            }
        }
        Err(Error::Slots)
    }

    /// Whether nobody holds the lock on a slot's byte. Unsure: no.
    fn is_unlocked(&self, slot: u16) -> bool {
        let Some(fd) = self.entry.fd() else {
            return false;
        };
        let mut lock = byte(slot);
        // SAFETY: reads and writes a lock of ours.
        let asked = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &mut lock) };
        asked == 0 && lock.l_type == libc::F_UNLCK as libc::c_short
    }

    #[cold]
    fn is_dead(&self, slots: Slots<'_>, owner: Owner) -> bool {
        if self.is(owner) {
            return false;
        }
        let Some(asked) = self.asked.get(usize::from(owner.slot)) else {
            return true;
        };
        let now = clock::now_ms(ClockKind::Precise);
        let before = asked.load_relaxed();
        if now.wrapping_sub(before) < PATIENCE_MS {
            return false;
        }
        // The generation was read before the lock is looked at (S1).
        if slots.is_void(owner) {
            return true;
        }
        if self.is_unlocked(owner.slot) {
            slots.void(owner);
            return true;
        }
        asked.store_relaxed(now);
        false
    }

    /// Lets go of the slot: its permits are free from now on.
    pub(crate) fn leave(&self, slots: Slots<'_>) {
        match self.entry.identity.load_acquire() {
            NOBODY | SOON => {}
            known => slots.void(unpack(known)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(fd) = self.entry.fd() {
            // SAFETY: the descriptor is the region's, and the entry's own.
            drop(unsafe { File::from_raw_fd(fd) });
        }
        self.entry.fd.store_relaxed(NO_FILE);
        self.entry.identity.store_relaxed(NOBODY);
        // Release: whoever takes the entry sees it empty.
        self.entry.taken.cas(1, 0);
    }
}

/// Who is alive, as this process finds out.
pub(crate) struct Witness<'a> {
    pub(crate) process: &'a Process,
    pub(crate) slots: Slots<'a>,
    pub(crate) second: &'a dyn Fn() -> u64,
}

impl Judge for Witness<'_> {
    fn is_dead(&self, owner: Owner) -> bool {
        self.is_void(owner) || self.process.is_dead(self.slots, owner)
    }

    fn is_void(&self, owner: Owner) -> bool {
        self.slots.is_void(owner)
    }

    fn second(&self) -> u64 {
        (self.second)()
    }
}

const fn pack(owner: Owner) -> u64 {
    // Slots are from 1, so this is neither NOBODY nor SOON.
    (owner.slot as u64) << 16 | owner.generation as u64
}

const fn unpack(identity: u64) -> Owner {
    Owner {
        slot: (identity >> 16) as u16,
        generation: identity as u16,
    }
}

fn errno() -> libc::c_int {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default()
}

/// Runs in a child before `fork` returns, when only this thread is left: no
/// locks, no allocation, nothing that is not safe in a signal handler.
extern "C" fn in_child() {
    // SAFETY: errno is this thread's own; the caller of fork may read it.
    let saved = unsafe { *libc::__errno_location() };
    for entry in Entry::all() {
        // A private region is a copy from now on, and the permits in it are
        // void once the child renews their slot.
        entry.identity.store_relaxed(NOBODY);
        if let Some(fd) = entry.fd() {
            entry.fd.store_relaxed(opened_again(entry, fd));
            // SAFETY: the one shared with the parent, which nobody uses now.
            unsafe { libc::close(fd) };
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = saved };
}

/// Opens a descriptor's file anew: what [`Entry::fd`] is then to be.
fn opened_again(entry: &Entry, fd: RawFd) -> u64 {
    let path = DescriptorPath::new(fd);
    // SAFETY: a string that ends with NUL, and a descriptor of our own.
    unsafe {
        match libc::open(path.0.as_ptr().cast(), libc::O_RDWR | libc::O_CLOEXEC) {
            own @ 0.. if entry.is_ours(own) => u64::from(own.unsigned_abs()).wrapping_add(1),
            own @ 0.. => {
                libc::close(own);
                LOST | libc::ENOENT as u64
            }
            _ => LOST | u64::from(errno().unsigned_abs()),
        }
    }
}

/// `/proc/self/fd/N`, built without allocation.
struct DescriptorPath([u8; 32]);

impl DescriptorPath {
    fn new(fd: RawFd) -> Self {
        const DIRECTORY: &[u8] = b"/proc/self/fd/";
        let mut path = [0; 32];
        let mut digits = [0_u8; 10];
        let mut rest = fd.unsigned_abs();
        let mut count = 0_usize;
        for digit in &mut digits {
            *digit = b'0'.wrapping_add((rest % 10) as u8);
            count = count.wrapping_add(1);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let number = digits.iter().take(count).rev();
        for (place, byte) in path.iter_mut().zip(DIRECTORY.iter().chain(number)) {
            *place = *byte;
        }
        Self(path)
    }
}
