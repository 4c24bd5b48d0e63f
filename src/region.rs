//! A region: bytes that hold one limiter's state, seen as words.
//!
//! # Purpose
//! The core's only `unsafe`. Everything above this file sees references to
//! [`Word`]s; everything below it is pure or works on those.
//!
//! # State
//! [`Header`], then the sets where [`Geometry`] says. Geometry, secret and the
//! other settings are copied into the process when the region is opened and
//! never read from it again: what is written into the region later can make
//! answers wrong, but cannot move an access outside it.
//!
//! # Invariants
//! - **R1** `base` is aligned to [`ALIGN`], and `geometry.bytes()` bytes
//!   from it are mapped readable and writable for as long as the `Region`
//!   lives. Established by whoever calls [`Region::new`].
//! - **R2** All accesses to those bytes, in this process and all others, are
//!   atomic: nobody holds a plain reference into them.

#![expect(
    unsafe_code,
    reason = "turns bytes into references to words, here and nowhere else"
)]

use crate::error::Error;
use crate::hash::Secret;
use crate::layout::{ALIGN, BYTE_ORDER, Geometry, HEADER, LINE, MAGIC, PERMIT_WAYS, VERSION};
#[cfg(feature = "std")]
use crate::layout::{permit_sets_for, sets_for};
use crate::options::{ClockKind, OnFull, Options};
use crate::slots::Slots;
use crate::sync::Word;
use crate::table::{Set, WAYS, WAYS_IN_LINE, Way};
use crate::word::SLOTS;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use crossbeam_utils::CachePadded;

/// The first page. Written before the region is published, but for `epoch`
/// and the counters.
#[repr(C)]
pub(crate) struct Header {
    magic: Word,
    byte_order: Word,
    version: Word,
    /// Checksum of the settings.
    seal: Word,
    /// The settings, in the order of [`Settings::words`].
    settings: [Word; SETTINGS],
    /// The clock's reading that is tick 0; 0: not yet known, for the caller
    /// supplies the time and has not called. Alone on its line with what only
    /// changes once.
    pub(crate) epoch: CachePadded<Word>,
    pub(crate) inserted: CachePadded<Word>,
    pub(crate) evicted: Word,
    pub(crate) full: CachePadded<Word>,
    /// Registrations so far: slots are taken in turn.
    pub(crate) turn: CachePadded<Word>,
}

const _: () = assert!(size_of::<Header>() <= HEADER);
const _: () = assert!(align_of::<Header>() <= ALIGN);

const SETTINGS: usize = 15;

/// What a region is, fixed when it is created.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Active keys asked for when the region was created.
    pub(crate) keys: u64,
    /// Keys in flight asked for.
    pub(crate) permit_keys: u64,
    pub(crate) geometry: Geometry,
    pub(crate) max_window_ms: u32,
    pub(crate) clock: ClockKind,
    pub(crate) on_full: OnFull,
    /// Ticks added to recorded times, by the clock's imprecision.
    pub(crate) slack: u32,
    pub(crate) secret: Secret,
    /// Which boot and which clock's offset the ticks belong to; 0 if none.
    pub(crate) boot: [u64; 2],
    pub(crate) time_namespace: u64,
}

/// Why bytes are not a region of ours.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Magic,
    ByteOrder,
    Version(u64),
    Seal,
    Value(&'static str, u64),
    Length { expected: u64 },
}

impl Settings {
    /// Settings for a new region in this process alone.
    ///
    /// # Errors
    /// [`Error::Option`] if an option is out of its range.
    pub(crate) fn new(options: &Options, secret: Secret) -> Result<Self, Error> {
        Ok(Self {
            keys: options.keys.unwrap_or(Options::DEFAULT_KEYS),
            permit_keys: options.permit_keys_or_default(),
            geometry: Geometry::of(options)?,
            max_window_ms: options
                .max_window_ms
                .unwrap_or(Options::DEFAULT_MAX_WINDOW_MS),
            clock: options.clock.unwrap_or(ClockKind::Precise),
            on_full: options.on_full.unwrap_or(OnFull::Deny),
            slack: 0,
            secret,
            boot: [0; 2],
            time_namespace: 0,
        })
    }

    /// The bytes the region needs, `None` if that is more than memory can be.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.geometry.bytes()
    }

    fn words(&self) -> [u64; SETTINGS] {
        [
            self.bytes().unwrap_or_default() as u64,
            self.geometry.sets.into(),
            self.geometry.cells.into(),
            self.max_window_ms.into(),
            self.clock as u64,
            self.on_full as u64,
            self.slack.into(),
            self.secret.0[0],
            self.secret.0[1],
            self.boot[0],
            self.boot[1],
            self.time_namespace,
            self.keys,
            self.permit_keys,
            self.geometry.permit_cells.into(),
        ]
    }

    #[cfg(feature = "std")]
    fn from_words(words: [u64; SETTINGS]) -> Result<Self, Damage> {
        let [
            bytes,
            sets,
            cells,
            max_window,
            clock,
            on_full,
            slack,
            s0,
            s1,
            b0,
            b1,
            ns,
            keys,
            permit_keys,
            permit_cells,
        ] = words;
        let narrow =
            |name, value: u64| u32::try_from(value).map_err(|_| Damage::Value(name, value));
        let geometry = Geometry {
            sets: narrow("sets", sets)?,
            cells: narrow("cells", cells)?,
            permit_sets: permit_sets_for(permit_keys),
            permit_cells: narrow("permit_cells", permit_cells)?,
        };
        let max_window_ms = narrow("max_window_ms", max_window)?;
        let options = Options::new()
            .keys(keys)
            .cells(geometry.cells)
            .max_window_ms(max_window_ms)
            .permit_keys(permit_keys)
            .permit_cells(geometry.permit_cells);
        match options.validate() {
            Err(Error::Option { name, value, .. }) => return Err(Damage::Value(name, value)),
            _ if geometry.sets != sets_for(keys) => return Err(Damage::Value("sets", sets)),
            _ => {}
        }
        let settings = Self {
            keys,
            permit_keys,
            geometry,
            max_window_ms,
            clock: match clock {
                1 => ClockKind::Precise,
                2 => ClockKind::Coarse,
                3 => ClockKind::Caller,
                _ => return Err(Damage::Value("clock", clock)),
            },
            on_full: match on_full {
                1 => OnFull::Deny,
                2 => OnFull::Allow,
                _ => return Err(Damage::Value("on_full", on_full)),
            },
            slack: narrow("slack", slack)?,
            secret: Secret([s0, s1]),
            boot: [b0, b1],
            time_namespace: ns,
        };
        match settings.bytes() {
            Some(expected) if expected as u64 == bytes => Ok(settings),
            _ => Err(Damage::Value("size", bytes)),
        }
    }
}

/// A checksum of the settings: finds accidents, not forgeries.
fn seal(words: &[u64; SETTINGS]) -> u64 {
    words.iter().fold(MAGIC, |sum, word| {
        (sum.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// Bytes in use as a region.
pub(crate) struct Region {
    base: NonNull<u8>,
    pub(crate) settings: Settings,
}

// SAFETY: the bytes are valid wherever they are used from (R1) and only ever
// accessed atomically (R2).
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Makes a region of memory that is all zero, or that nobody uses yet and
    /// `settings` and [`Region::clear`] have been applied to.
    ///
    /// # Safety
    /// R1 and R2 must hold for `base` and `settings.bytes()`.
    pub(crate) unsafe fn new(base: NonNull<u8>, settings: Settings) -> Self {
        debug_assert!(base.cast::<Header>().is_aligned());
        Self { base, settings }
    }

    /// Writes the header of a new region. The memory is zero, and nobody else
    /// sees it yet.
    pub(crate) fn write_header(&self) {
        let header = self.header();
        let words = self.settings.words();
        for (word, value) in header.settings.iter().zip(words) {
            word.store_relaxed(value);
        }
        header.seal.store_relaxed(seal(&words));
        header.version.store_relaxed(VERSION);
        header.byte_order.store_relaxed(BYTE_ORDER);
        header.magic.store_relaxed(MAGIC);
    }

    /// Reads the settings of the region of which `len` bytes lie at `base`.
    ///
    /// # Errors
    /// [`Damage`]: what of the header is not as it should be.
    ///
    /// # Safety
    /// `base` is aligned to [`ALIGN`] and `len` bytes from it are mapped
    /// readable.
    #[cfg(feature = "std")]
    pub(crate) unsafe fn read_header(base: NonNull<u8>, len: u64) -> Result<Settings, Damage> {
        if len < HEADER as u64 {
            return Err(Damage::Length {
                expected: HEADER as u64,
            });
        }
        // SAFETY: the caller vouches for HEADER bytes, and any bytes are valid
        // words.
        let header = unsafe { base.cast::<Header>().as_ref() };
        if header.magic.load_acquire() != MAGIC {
            return Err(Damage::Magic);
        }
        if header.byte_order.load_acquire() != BYTE_ORDER {
            return Err(Damage::ByteOrder);
        }
        let version = header.version.load_acquire();
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        let mut words = [0; SETTINGS];
        for (value, word) in words.iter_mut().zip(&header.settings) {
            *value = word.load_acquire();
        }
        if header.seal.load_acquire() != seal(&words) {
            return Err(Damage::Seal);
        }
        let settings = Settings::from_words(words)?;
        match words[0] {
            expected if expected == len => Ok(settings),
            expected => Err(Damage::Length { expected }),
        }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: R1: HEADER bytes are mapped, and `base` is aligned; R2: they
        // are words.
        unsafe { self.base.cast::<Header>().as_ref() }
    }

    /// One set of the table; `index` is below the geometry's `sets`, as hashes
    /// are made.
    #[inline(always)]
    pub(crate) fn set(&self, index: u32) -> Set<'_> {
        let geometry = self.settings.geometry;
        debug_assert!(index < geometry.sets);
        // SAFETY: `geometry.set` of an index below `sets` stays inside
        // `geometry.bytes()`, with so many ways and words.
        unsafe {
            let words = geometry.ring_words();
            self.set_at(geometry.set(index), WAYS, words, geometry.cells as usize)
        }
    }

    /// One set of permits; `index` is below the geometry's `permit_sets`.
    #[inline(always)]
    pub(crate) fn permit_set(&self, index: u32) -> Set<'_> {
        let geometry = self.settings.geometry;
        debug_assert!(index < geometry.permit_sets);
        let cells = geometry.permit_cells as usize;
        // SAFETY: as in `set`, by `geometry.permit_set`.
        unsafe {
            let words = geometry.permit_words();
            self.set_at(geometry.permit_set(index), PERMIT_WAYS, words, cells)
        }
    }

    /// # Safety
    /// The offsets are those of a set of the geometry's, with so many ways and
    /// words.
    #[inline(always)]
    unsafe fn set_at(
        &self,
        (ways, words, latest): (usize, usize, usize),
        way_count: usize,
        word_count: usize,
        cells: usize,
    ) -> Set<'_> {
        // SAFETY: R1: inside `geometry.bytes()`, as the caller promises, and
        // offsets are multiples of a cache line; R2: those bytes are words.
        unsafe {
            let ways = self.base.add(ways).cast::<Way>();
            let words = self.base.add(words).cast::<Word>();
            let latest = self.base.add(latest).cast::<Word>();
            Set::new(
                latest.as_ref(),
                core::slice::from_raw_parts(ways.as_ptr(), way_count),
                core::slice::from_raw_parts(words.as_ptr(), word_count),
                cells,
            )
        }
    }

    /// The slots of processes.
    #[inline(always)]
    pub(crate) fn slots(&self) -> Slots<'_> {
        // SAFETY: R1: they follow the header; R2: they are words.
        unsafe {
            let slots = self.base.add(HEADER).cast::<Word>();
            Slots(core::slice::from_raw_parts(slots.as_ptr(), SLOTS))
        }
    }

    /// Asks for the lines that a check of a key is going to need: the line of
    /// tags where the search begins and, because a quiet key's ring is kept
    /// there, the first lines of those ways' rings. All addresses are known
    /// from the hash alone, so the misses overlap.
    #[inline(always)]
    pub(crate) fn prefetch(&self, set: u32, way: u8) {
        let (ways, rings, _) = self.settings.geometry.set(set);
        let way = usize::from(way);
        let tags = ways.wrapping_add(way.wrapping_mul(size_of::<Way>()));
        let fronts = rings.wrapping_add(way.wrapping_mul(LINE));
        self.prefetch_line(tags);
        for line in 0..usize::from(WAYS_IN_LINE) {
            self.prefetch_line(fronts.wrapping_add(line.wrapping_mul(LINE)));
        }
    }

    /// As [`Region::prefetch`], for a set of permits: the tags, and the permits
    /// of the first way, which is where the record most often is.
    #[inline(always)]
    pub(crate) fn prefetch_permits(&self, set: u32, way: u8) {
        let geometry = self.settings.geometry;
        let (ways, permits, _) = geometry.permit_set(set);
        let way = usize::from(way) & PERMIT_WAYS.wrapping_sub(1);
        let record = (geometry.permit_cells as usize).wrapping_mul(size_of::<Word>());
        self.prefetch_line(ways.wrapping_add(way.wrapping_mul(size_of::<Way>())));
        self.prefetch_line(permits.wrapping_add(way.wrapping_mul(record)));
    }

    #[inline(always)]
    fn prefetch_line(&self, offset: usize) {
        let line = self.base.as_ptr().wrapping_add(offset);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and cannot fault.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.cast_const().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }

    /// Makes a region of a caller's memory: clears it and writes the header.
    ///
    /// # Errors
    /// [`Error::Memory`] when it is too small.
    pub(crate) fn in_memory(
        memory: &mut [MaybeUninit<u64>],
        settings: Settings,
    ) -> Result<Self, Error> {
        let given = size_of_val(memory);
        let base = memory.as_mut_ptr().cast::<u8>();
        let gap = base.align_offset(ALIGN);
        let needed = settings.bytes().and_then(|bytes| bytes.checked_add(gap));
        let (Some(needed), Some(base)) = (needed, NonNull::new(base.wrapping_add(gap))) else {
            return Err(Error::Memory {
                needed: u64::MAX,
                given: given as u64,
            });
        };
        if needed > given {
            return Err(Error::Memory {
                needed: needed as u64,
                given: given as u64,
            });
        }
        memory.fill(MaybeUninit::new(0));
        // SAFETY: R1: `needed` bytes were given and `gap` aligns them; whoever
        // keeps the region holds on to the borrow. R2: the borrow is
        // exclusive, so only the region accesses them.
        let region = unsafe { Self::new(base, settings) };
        region.write_header();
        Ok(region)
    }
}

/// A caller's memory as [`Region::in_memory`] takes it.
pub(crate) fn as_uninit(memory: &mut [u64]) -> &mut [MaybeUninit<u64>] {
    let (base, len) = (memory.as_mut_ptr(), memory.len());
    // SAFETY: the same memory, borrowed on; only zeros and words are written,
    // which are valid values of what it was.
    unsafe { core::slice::from_raw_parts_mut(base.cast(), len) }
}
