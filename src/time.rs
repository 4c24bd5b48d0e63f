//! Arithmetic on ticks, quanta and seconds. Pure.
//!
//! A *tick* is one millisecond of the region's clock, counted from the
//! region's epoch; 0 means "never". Sums of ticks saturate: at the end of
//! time (34.8 years after the epoch) a window stays closed instead of
//! wrapping open.

/// Milliseconds in the second that HTTP headers speak of.
pub(crate) const MS_PER_S: u64 = 1000;

/// Ticks before the first reading of the clock: 2.2 years. A caller's clock
/// may step back by so much and its readings still be told apart.
const LEAD: u64 = 1 << 36;

/// The reading that is tick 0 of a region whose clock shows `now` at first.
/// Never 0, which means "not yet known".
pub(crate) const fn epoch_before(now: u64) -> u64 {
    let epoch = now.wrapping_sub(LEAD);
    if epoch == 0 { u64::MAX } else { epoch }
}

/// Cells of a ring that no admitted run may count on: one is the proposal,
/// one the newest run's, and a window touches up to two quanta more than fit
/// into it.
pub(crate) const SPARE_CELLS: u32 = 4;

/// log2 of the smallest quantum, a power of two of milliseconds, of which
/// `cells − 4` cover `span` milliseconds.
#[inline(always)]
pub(crate) const fn coarse_quantum(span: u64, cells: u32) -> u32 {
    let quanta = cells.saturating_sub(SPARE_CELLS) as u64;
    // ceil(log2(span)) − floor(log2(quanta)) is the answer or one more.
    let above = u64::BITS.saturating_sub(span.saturating_sub(1).leading_zeros());
    let below = u64::BITS
        .saturating_sub(1)
        .saturating_sub(quanta.leading_zeros());
    let guess = above.saturating_sub(below).saturating_sub(1);
    if quanta << guess >= span {
        guess
    } else {
        guess.saturating_add(1)
    }
}

/// The last tick of the quantum in which `tick` lies.
#[inline(always)]
pub(crate) const fn quantum_end(tick: u64, log2: u32) -> u64 {
    tick | (1_u64 << log2).wrapping_sub(1)
}

/// Whole seconds that are at least `ms`; 0 for 0.
#[inline(always)]
pub(crate) const fn ceil_seconds(ms: u64) -> u64 {
    ms.div_ceil(MS_PER_S)
}

#[cfg(all(test, not(loom)))]
#[expect(clippy::arithmetic_side_effects, reason = "numbers of a test's own")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_coarse_quantum_is_the_smallest_that_covers_the_window(
            span in 1_u64..=1 << 33,
            log2_cells in 3_u32..=10,
        ) {
            let cells = 1_u32 << log2_cells;
            let quanta = u64::from(cells - SPARE_CELLS);
            let log2 = coarse_quantum(span, cells);
            prop_assert!(quanta << log2 >= span);
            prop_assert!(log2 == 0 || quanta << (log2 - 1) < span);
        }

        #[test]
        fn a_quantum_ends_at_or_after_each_of_its_ticks(
            tick in 0_u64..1 << 40, log2 in 0_u32..30,
        ) {
            let end = quantum_end(tick, log2);
            prop_assert!(end >= tick && end - tick < 1 << log2);
            prop_assert_eq!((end + 1) % (1 << log2), 0);
        }
    }

    #[test]
    fn seconds_are_rounded_up_and_never_one_more() {
        for (ms, s) in [(0, 0), (1, 1), (999, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(ceil_seconds(ms), s, "{ms} ms");
        }
    }
}
