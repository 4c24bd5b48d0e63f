//! What a recorded trace proves.

/// Admissions of one key as they were seen from outside: each happened between
/// two readings of a clock.
pub(crate) type Trace = [(u64, u64, u32)];

/// Whether more than `limit` units were certainly admitted in some span
/// shorter than `window`; if so, where. Units are certainly in a span if both
/// their readings are.
pub(crate) fn violation(trace: &Trace, limit: u32, window: u64) -> Option<String> {
    let mut by_start = trace.to_vec();
    by_start.sort_unstable();
    // A span that holds too much holds it too if it begins with an admission.
    for (first, &(from, _, _)) in by_start.iter().enumerate() {
        let inside = by_start
            .iter()
            .skip(first)
            .take_while(|a| a.0 < from + window)
            .filter(|a| a.1 < from + window);
        let units: u32 = inside.map(|a| a.2).sum();
        if units > limit {
            return Some(format!("{units} of {limit} in the {window} after {from}"));
        }
    }
    None
}
