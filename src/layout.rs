//! Where everything lies in a region. Pure: numbers to offsets, no memory.
//!
//! ```text
//! 0         header (one page; `Header` in region.rs)
//! 4096      set 0: ways 256 × 16
//!                  rings 256 × 64, their first lines; 256 × (cells − 8) × 8
//!                  latest, a line
//! …         set 1 …
//! ```
//!
//! A set's ways and rings lie together, so that with huge pages a check
//! touches one page. The first lines of its rings, which are all that quiet
//! keys need, lie together before the rest: the span that many such keys cover
//! is a sixth of the whole at 64 cells. All parts begin on a cache line.

use crate::error::Error;
use crate::options::Options;
use crate::table::{WAYS, Way};
use crossbeam_utils::CachePadded;

/// Version of this layout. A region of another version is refused.
pub(crate) const VERSION: u64 = 1;
/// "MAVERARL" as the first eight bytes of the file, on little-endian hosts.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"MAVERARL");
/// Reads differently on a host of another byte order.
pub(crate) const BYTE_ORDER: u64 = 0x0102_0304_0506_0708;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;
/// Alignment of a region: the header pads its counters against adjacent-line
/// prefetch, which is more than a line on some processors.
pub(crate) const ALIGN: usize = align_of::<CachePadded<u64>>();
/// Bytes before the first set.
pub(crate) const HEADER: usize = 4096;

const WAYS_BYTES: usize = WAYS * size_of::<Way>();
const WORD: usize = size_of::<u64>();

/// The measures of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) sets: u32,
    pub(crate) cells: u32,
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
        let ways = HEADER.wrapping_add((set as usize).wrapping_mul(self.stride()));
        let rings = ways.wrapping_add(WAYS_BYTES);
        let latest = rings.wrapping_add(self.ring_words().wrapping_mul(WORD));
        (ways, rings, latest)
    }

    /// Bytes of the whole region, `None` if that is more than memory can be.
    pub(crate) fn bytes(self) -> Option<usize> {
        self.stride()
            .checked_mul(usize::try_from(self.sets).ok()?)?
            .checked_add(HEADER)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
    }

    /// Records the table can hold.
    pub(crate) const fn ways(self) -> u64 {
        (self.sets as u64).wrapping_mul(WAYS as u64)
    }
}

/// Sets for so many keys, with 32 % to spare: a set overflows by chance long
/// before the average does.
pub(crate) const fn sets_for(keys: u64) -> u32 {
    keys.saturating_mul(132).div_ceil(100).div_ceil(WAYS as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_follow_one_another_without_gap_or_overlap() {
        for cells in [8, 64, 1024] {
            let geometry = Geometry { sets: 3, cells };
            let (ways, rings, latest) = geometry.set(1);
            assert_eq!(ways, HEADER + geometry.stride());
            assert_eq!(rings, ways + WAYS * 16);
            assert_eq!(latest, rings + WAYS * cells as usize * 8);
            assert_eq!(geometry.set(2).0, latest + LINE);
            assert_eq!(geometry.bytes(), Some(geometry.set(3).0));
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
