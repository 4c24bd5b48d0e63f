//! From an API key and a window's length, or a class, to its place in a table.
//!
//! SipHash-1-3 with 128 bits of output and a secret of the region's: nobody
//! who does not know the secret can choose keys that collide, and two keys are
//! merged only if they agree in the set and 42 bits more.

use crate::table::{Key, WAYS_IN_LINE};
use crate::word::Tag;
use core::hash::Hasher;
use siphasher::sip128::{Hasher128, SipHasher13};

/// The region's secret.
#[derive(Clone, Copy)]
pub(crate) struct Secret(pub(crate) [u64; 2]);

/// Which set, and what to look for there.
#[derive(Clone, Copy)]
pub(crate) struct Hashed {
    pub(crate) set: u32,
    pub(crate) key: Key,
}

impl Secret {
    /// Where a key's window of a length is, in one of `sets`, which is not 0.
    #[inline(always)]
    pub(crate) fn hash(self, key: &[u8], window_ms: u32, sets: u32) -> Hashed {
        self.hash_in(u64::from(window_ms), key, sets)
    }

    /// Where a key's permits of a class are, in one of `sets`, which is not 0.
    #[inline(always)]
    pub(crate) fn hash_class(self, key: &[u8], class_id: u32, sets: u32) -> Hashed {
        // No window's length is so great.
        self.hash_in(1 << 32 | u64::from(class_id), key, sets)
    }

    /// What the key is hashed for comes first and has a fixed size, so no two
    /// pairs hash the same bytes.
    #[inline(always)]
    fn hash_in(self, of: u64, key: &[u8], sets: u32) -> Hashed {
        let mut hasher = SipHasher13::new_with_keys(self.0[0], self.0[1]);
        hasher.write_u64(of);
        hasher.write(key);
        let hash = hasher.finish128();
        Hashed {
            // The upper half of a product of 32 bits spreads evenly over any
            // number of sets, without a division.
            set: ((hash.h2 >> 32).wrapping_mul(u64::from(sets)) >> 32) as u32,
            key: Key {
                fingerprint: Tag::fingerprint_of(hash.h1),
                // The search begins with a line of tags, not inside one.
                start: hash.h1 as u8 & WAYS_IN_LINE.wrapping_neg(),
            },
        }
    }
}
