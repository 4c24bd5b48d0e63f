//! Request paths and the patterns they fall under; pure, without std.
//!
//! Nobody may slip past a limit by spelling a path in another way. So a path is
//! read as the most lenient of the servers behind a gateway might read it:
//! decoded once, an encoded slash a slash, without empty segments, dot segments
//! and path parameters.

use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher13};

/// Most segments of a pattern. No match looks at more of a path, however deep
/// it is.
pub(super) const MAX_SEGMENTS: usize = 16;

/// Identifies an endpoint to all processes that share a region, whatever the
/// order of their plans: the upper 32 bits of SipHash-1-3 with 128 bits and a
/// zero key, of its path without a trailing slash.
pub fn class_id(name: &str) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(name.strip_suffix('/').unwrap_or(name).as_bytes());
    (hasher.finish128().h2 >> 32) as u32
}

/// A segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment<L> {
    /// `*`: exactly one segment, whatever it is.
    Any,
    Literal(L),
}

impl<L: AsRef<[u8]>> Segment<L> {
    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    fn admits(&self, raw: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => spells(raw, literal.as_ref()),
        }
    }
}

/// What is wrong with a pattern.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    if !pattern.starts_with('/') {
        return Err("a pattern must begin with /");
    }
    // No path has these once it is read, so the pattern would match nothing.
    if pattern.contains(['\0', '?', '#', '%', ';']) {
        return Err("a pattern must have no NUL, ?, #, % or ;");
    }
    if names(pattern).any(|name| matches!(name, "" | "." | "..")) {
        return Err("a pattern must have no segment that is empty, . or ..");
    }
    if names(pattern).count() > MAX_SEGMENTS {
        return Err("a pattern must have at most 16 segments");
    }
    Ok(())
}

/// The segments of a pattern that is checked.
pub(super) fn segments(pattern: &str) -> impl Iterator<Item = Segment<&str>> {
    names(pattern).map(|name| match name {
        "*" => Segment::Any,
        name => Segment::Literal(name),
    })
}

fn names(pattern: &str) -> impl Iterator<Item = &str> {
    let inner = pattern.strip_prefix('/').unwrap_or(pattern);
    let all = inner.strip_suffix('/').unwrap_or(inner).split('/');
    // The root has no segments, not an empty one.
    all.skip(usize::from(inner.is_empty()))
}

/// Whether a pattern goes before another that matches the same path: the one
/// with more segments, then the one with the first literal for a `*`.
pub(super) fn goes_before<L: AsRef<[u8]>>(pattern: &[Segment<L>], other: &[Segment<L>]) -> bool {
    let literals = pattern.iter().map(Segment::is_literal);
    let by_length = pattern.len().cmp(&other.len());
    by_length
        .then_with(|| literals.cmp(other.iter().map(Segment::is_literal)))
        .is_gt()
}

/// The path of a request: its first segments, as they are spelled.
pub(super) struct Target<'a> {
    kept: [&'a [u8]; MAX_SEGMENTS],
    /// Of all segments: `..` removes those too that are not kept.
    depth: usize,
}

impl<'a> Target<'a> {
    pub(super) fn new(target: &'a [u8]) -> Self {
        let mut path = Self {
            kept: [&[]; MAX_SEGMENTS],
            depth: 0,
        };
        let mut rest = Decoded(path_of(target));
        while !rest.0.is_empty() {
            path.enter(next_segment(&mut rest));
        }
        path
    }

    fn enter(&mut self, segment: &'a [u8]) {
        if segment.is_empty() || spells(segment, b".") {
            return;
        }
        if spells(segment, b"..") {
            // The root is its own parent.
            self.depth = self.depth.saturating_sub(1);
            return;
        }
        if let Some(place) = self.kept.get_mut(self.depth) {
            *place = segment;
        }
        self.depth = self.depth.saturating_add(1);
    }

    /// Whether the pattern is a prefix of the path, by whole segments.
    pub(super) fn falls_under<L: AsRef<[u8]>>(&self, pattern: &[Segment<L>]) -> bool {
        let kept = self.kept.get(..self.depth).unwrap_or(&self.kept);
        pattern.len() <= kept.len()
            && pattern
                .iter()
                .zip(kept)
                .all(|(segment, raw)| segment.admits(raw))
    }
}

/// The path in a request target, RFC 9112 section 3.2: without query and
/// fragment and, in absolute-form, without scheme and authority.
fn path_of(target: &[u8]) -> &[u8] {
    let ends = |byte: &u8| matches!(byte, b'?' | b'#');
    let target = target.split(ends).next().unwrap_or_default();
    match after_scheme(target) {
        Some([b'/', b'/', rest @ ..]) => {
            let authority_ends = rest.iter().position(|&byte| byte == b'/');
            authority_ends
                .and_then(|at| rest.get(at..))
                .unwrap_or_default()
        }
        Some(path) => path,
        None => target,
    }
}

/// What follows a scheme and its colon, if it begins with a slash. Without one
/// it is no path, and what looks like a scheme might be a host or a segment.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let colon = target.iter().position(|byte| !in_scheme(byte))?;
    let begins = target.first().is_some_and(u8::is_ascii_alphabetic);
    let rest = target.get(colon..)?.strip_prefix(b":")?;
    (begins && rest.starts_with(b"/")).then_some(rest)
}

/// Takes a segment and the slash behind it, and gives what is before its
/// parameters.
fn next_segment<'a>(rest: &mut Decoded<'a>) -> &'a [u8] {
    let all = rest.0;
    let mut name = None;
    loop {
        let so_far = all.len().saturating_sub(rest.0.len());
        match rest.next() {
            // From the first on, all is parameters.
            Some(b';') => name = name.or(Some(so_far)),
            Some(b'/') | None => return all.get(..name.unwrap_or(so_far)).unwrap_or(all),
            Some(_) => {}
        }
    }
}

fn spells(raw: &[u8], name: &[u8]) -> bool {
    Decoded(raw).eq(name.iter().copied())
}

/// Bytes, percent-decoded once. What is no encoding stays as it is.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'%', high, low, rest @ ..] = self.0
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            self.0 = rest;
            return Some(high << 4 | low);
        }
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
