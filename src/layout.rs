//! Where everything lies in a region. Pure: numbers to offsets, no memory.
//!
//! ```text
//! 0         header (one page; `Header` in region.rs)
//! 4096      slots of processes, 1024 × 8
//! 12288     set 0: ways 256 × 16
//!                  rings 256 × 64, their first lines; 256 × (cells − 8) × 8
//!                  latest, a line
//! …         set 1 …
//! …         permit set 0: ways 64 × 16
//!                         permits 64 × permit cells × 8
//!                         latest, a line
//! …         permit set 1 …
//! ```
//!
//! A set's ways and rings lie together, so that with huge pages a check
//! touches one page. The first lines of its rings, which are all that quiet
//! keys need, lie together before the rest: the span that many such keys cover
//! is a sixth of the whole at 64 cells. All parts begin on a cache line.

use crate::error::Error;
use crate::options::Options;
use crate::table::{WAYS, Way};
use crate::word::SLOTS;
use crossbeam_utils::CachePadded;

/// Version of this layout. A region of another version is refused.
pub(crate) const VERSION: u64 = 2;
/// "MAVERARL" as the first eight bytes of the file, on little-endian hosts.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"MAVERARL");
/// Reads differently on a host of another byte order.
pub(crate) const BYTE_ORDER: u64 = 0x0102_0304_0506_0708;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;
/// Alignment of a region: the header pads its counters against adjacent-line
/// prefetch, which is more than a line on some processors.
pub(crate) const ALIGN: usize = align_of::<CachePadded<u64>>();
/// Bytes of the header.
pub(crate) const HEADER: usize = 4096;
/// Bytes before the first set.
const BEFORE_SETS: usize = HEADER + SLOTS * WORD;

const WAYS_BYTES: usize = WAYS * size_of::<Way>();
const WORD: usize = size_of::<u64>();

/// Ways of a set of permits. A record is idle as soon as its permits are back,
/// so what a set must hold is what is in flight; fewer ways are searched
/// sooner for a key that has none.
pub(crate) const PERMIT_WAYS: usize = 64;
const PERMIT_WAYS_BYTES: usize = PERMIT_WAYS * size_of::<Way>();

/// The measures of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) sets: u32,
    pub(crate) cells: u32,
    pub(crate) permit_sets: u32,
    pub(crate) permit_cells: u32,
}

impl Geometry {
    /// # Errors
    /// [`Error::Option`] if an option is out of its range.
    pub(crate) fn of(options: &Options) -> Result<Self, Error> {
        options.validate()?;
        let keys = options.keys.unwrap_or(Options::DEFAULT_KEYS);
        Ok(Self {
            sets: sets_for(keys),
            cells: options.cells.unwrap_or(Options::DEFAULT_CELLS),
            permit_sets: permit_sets_for(options.permit_keys_or_default()),
            permit_cells: options
                .permit_cells
                .unwrap_or(Options::DEFAULT_PERMIT_CELLS),
        })
    }

    /// Bytes of one set.
    #[inline(always)]
    pub(crate) const fn stride(self) -> usize {
        WAYS_BYTES
            .wrapping_add(self.ring_words().wrapping_mul(WORD))
            .wrapping_add(LINE)
    }

    /// Words of all rings of a set.
    #[inline(always)]
    pub(crate) const fn ring_words(self) -> usize {
        WAYS.wrapping_mul(self.cells as usize)
    }

    /// Offsets of a set's ways, rings and `latest`. `set` is below `sets`.
    #[inline(always)]
    pub(crate) const fn set(self, set: u32) -> (usize, usize, usize) {
        let ways = BEFORE_SETS.wrapping_add((set as usize).wrapping_mul(self.stride()));
        let rings = ways.wrapping_add(WAYS_BYTES);
        let latest = rings.wrapping_add(self.ring_words().wrapping_mul(WORD));
        (ways, rings, latest)
    }

    /// Words of all permits of a set of them.
    #[inline(always)]
    pub(crate) const fn permit_words(self) -> usize {
        PERMIT_WAYS.wrapping_mul(self.permit_cells as usize)
    }

    /// Bytes of one set of permits.
    const fn permit_stride(self) -> usize {
        PERMIT_WAYS_BYTES
            .wrapping_add(self.permit_words().wrapping_mul(WORD))
            .wrapping_add(LINE)
    }

    /// Offsets of a permit set's ways, permits and `latest`. `set` is below
    /// `permit_sets`.
    #[inline(always)]
    pub(crate) const fn permit_set(self, set: u32) -> (usize, usize, usize) {
        let (first, _, _) = self.set(self.sets);
        let ways = first.wrapping_add((set as usize).wrapping_mul(self.permit_stride()));
        let permits = ways.wrapping_add(PERMIT_WAYS_BYTES);
        let latest = permits.wrapping_add(self.permit_words().wrapping_mul(WORD));
        (ways, permits, latest)
    }

    /// Bytes of the whole region, `None` if that is more than memory can be.
    pub(crate) fn bytes(self) -> Option<usize> {
        let windows = self
            .stride()
            .checked_mul(usize::try_from(self.sets).ok()?)?;
        let permits = self
            .permit_stride()
            .checked_mul(usize::try_from(self.permit_sets).ok()?)?;
        BEFORE_SETS
            .checked_add(windows)?
            .checked_add(permits)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
    }

    /// Records the table can hold.
    pub(crate) const fn ways(self) -> u64 {
        (self.sets as u64).wrapping_mul(WAYS as u64)
    }

    /// Records of permits the region can hold.
    pub(crate) const fn permit_ways(self) -> u64 {
        (self.permit_sets as u64).wrapping_mul(PERMIT_WAYS as u64)
    }
}

/// Sets for so many keys, with 32 % to spare: a set overflows by chance long
/// before the average does.
pub(crate) const fn sets_for(keys: u64) -> u32 {
    keys.saturating_mul(132).div_ceil(100).div_ceil(WAYS as u64) as u32
}

/// Sets of permits for so many keys in flight at once, with as many to spare:
/// with sets this small the fullest has nearly twice the average.
pub(crate) const fn permit_sets_for(keys: u64) -> u32 {
    keys.saturating_mul(2).div_ceil(PERMIT_WAYS as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_follow_one_another_without_gap_or_overlap() {
        for cells in [8, 64, 1024] {
            let geometry = Geometry {
                sets: 3,
                cells,
                permit_sets: 2,
                permit_cells: 16,
            };
            let (ways, rings, latest) = geometry.set(1);
            assert_eq!(ways, BEFORE_SETS + geometry.stride());
            assert_eq!(rings, ways + WAYS * 16);
            assert_eq!(latest, rings + WAYS * cells as usize * 8);
            assert_eq!(geometry.set(2).0, latest + LINE);
            let (ways, permits, latest) = geometry.permit_set(0);
            assert_eq!(ways, geometry.set(3).0);
            assert_eq!(permits, ways + PERMIT_WAYS * 16);
            assert_eq!(latest, permits + PERMIT_WAYS * 16 * 8);
            assert_eq!(geometry.permit_set(1).0, latest + LINE);
            assert_eq!(geometry.bytes(), Some(geometry.permit_set(2).0));
            assert!(ways % LINE == 0 && permits % LINE == 0 && latest % LINE == 0);
            let (ways, rings, latest) = geometry.set(1);
            assert!(ways % LINE == 0 && rings % LINE == 0 && latest % LINE == 0);
        }
    }

    #[test]
    fn the_table_has_32_percent_to_spare() {
        assert_eq!(sets_for(1), 1);
        assert_eq!(sets_for(193), 1);
        assert_eq!(sets_for(194), 2);
        assert_eq!(sets_for(1_000_000), 5157);
        assert_eq!(
            u64::from(sets_for(1 << 32)),
            (1_u64 << 32) * 132 / 100 / 256 + 1
        );
    }
}
