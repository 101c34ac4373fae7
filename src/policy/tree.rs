//! Entries filed under places, in flat lists → what stands at a place, in two memory accesses or so.
//!
//! The store of the index: it knows edges by their literal texts and compares hashes alone, so what it
//! finds is a candidate, never an answer. Immutable; nothing in it is larger than the entries need.

use super::glob;
use super::index::MatcherId;

/// A place in the tree: the hash of all edges that lead to it. Two that collide cost comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// What a place is about, so that no two kinds share one.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    LiteralHost = 1,
    GlobHosts,
    Literal,
    Glob,
    Ecr,
    EcrPublic,
    Google,
    Azure,
}

impl Place {
    pub(super) fn literal_host(host: &str, port: Option<&str>) -> Self {
        Self(0).then(Kind::LiteralHost, host, port.unwrap_or_default())
    }

    /// Where the glob hosts of as many labels and this port begin.
    pub(super) fn glob_hosts(host: &str, port: Option<&str>) -> Self {
        let labels = host.bytes().filter(|&b| b == b'.').count() as u64;
        Self(labels).then(Kind::GlobHosts, "", port.unwrap_or_default())
    }

    pub(super) fn class(kind: Kind, parameter: Option<&str>) -> Self {
        Self(parameter.is_some().into()).then(kind, parameter.unwrap_or_default(), "")
    }

    /// The place behind an edge. Not keyed: whoever can write patterns that collide can as well write
    /// equal ones.
    fn then(self, kind: Kind, first: impl AsRef<[u8]>, second: impl AsRef<[u8]>) -> Self {
        let mut state = self.0 ^ (kind as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for text in [first.as_ref(), second.as_ref()] {
            for word in text.chunks(8) {
                let mut bytes = [0; 8];
                for (to, from) in bytes.iter_mut().zip(word) {
                    *to = *from;
                }
                state = fold(state ^ u64::from_le_bytes(bytes));
            }
            // The length keeps two texts from being taken for another two.
            state = fold(state ^ (text.len() as u64 + 1));
        }
        Self(state)
    }
}

/// Both halves of a product with an odd constant: every bit of the input reaches every one of it.
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ 0x2545_f491_4f6c_dd1d) * 0xd6e8_feb8_6659_fd93;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are what is wanted"
    )]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// A matcher whose literal texts all led here.
    Matcher(MatcherId),
    /// Literal edges leave.
    Literal,
    /// An edge for texts with these ends leaves.
    Glob(Shape),
}

impl Entry {
    /// Where the edge leads for a text that fits it.
    pub(super) fn edge(self, place: Place, text: &str) -> Option<Place> {
        match self {
            Self::Matcher(_) => None,
            Self::Literal => Some(place.then(Kind::Literal, text, "")),
            Self::Glob(shape) => {
                let (prefix, suffix) = shape.ends(text)?;
                Some(place.then(Kind::Glob, prefix, suffix))
            }
        }
    }
}

/// An [`Entry`] in four bytes: half the table's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packed(u32);

const LITERAL: u32 = 1 << 30;
const GLOB: u32 = 1 << 31;

impl From<Entry> for Packed {
    fn from(entry: Entry) -> Self {
        Self(match entry {
            // A text of 16 MiB has fewer than 2^24 patterns, and no table 64 of these.
            Entry::Matcher(id) => id & (LITERAL - 1),
            Entry::Literal => LITERAL,
            Entry::Glob(Shape { prefix, suffix }) => {
                GLOB | u32::from(prefix) << 8 | u32::from(suffix)
            }
        })
    }
}

impl From<Packed> for Entry {
    fn from(Packed(bits): Packed) -> Self {
        let [suffix, prefix, ..] = bits.to_le_bytes();
        match bits {
            GLOB.. => Self::Glob(Shape { prefix, suffix }),
            LITERAL => Self::Literal,
            id => Self::Matcher(id),
        }
    }
}

/// The lengths of a glob's literal ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    prefix: u8,
    suffix: u8,
}

impl Shape {
    pub(super) fn of(glob: &str) -> Self {
        let (prefix, suffix) = glob::affixes(glob);
        let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
        Self {
            prefix: length(prefix),
            suffix: length(suffix),
        }
    }

    /// The ends of a text that has room for both.
    fn ends(self, text: &str) -> Option<(&[u8], &[u8])> {
        let text = text.as_bytes();
        let middle = text.len().checked_sub(usize::from(self.suffix))?;
        if middle < usize::from(self.prefix) {
            return None;
        }
        Some((text.get(..usize::from(self.prefix))?, text.get(middle..)?))
    }
}

/// Entries by place, in three flat lists: the bucket of a place is told by its high bits, and in the
/// bucket its other bits tell it from its neighbours.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// How many high bits name the bucket.
    bits: u32,
    /// Where each bucket starts; one more than there are buckets.
    buckets: Box<[u32]>,
    prints: Box<[u32]>,
    entries: Box<[Packed]>,
}

impl Tree {
    pub(super) fn new(mut entries: Vec<(Place, Packed)>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let bits = entries.len().next_power_of_two().ilog2();
        let mut tree = Self {
            bits,
            ..Self::default()
        };
        let mut buckets = Vec::with_capacity((1 << bits) + 1);
        for (at, (place, _)) in (0_u32..).zip(&entries) {
            let bucket = tree.bucket(*place);
            buckets.resize(buckets.len().max(bucket + 1), at);
        }
        let end = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        buckets.resize((1 << bits) + 1, end);
        tree.buckets = buckets.into();
        tree.prints = entries
            .iter()
            .map(|(place, _)| tree.print(*place))
            .collect();
        tree.entries = entries.into_iter().map(|(_, entry)| entry).collect();
        tree
    }

    pub(super) fn at(&self, place: Place) -> impl Iterator<Item = Entry> {
        let bucket = self.bucket(place);
        let print = self.print(place);
        let range = match self.buckets.get(bucket..bucket + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        };
        let prints = self.prints.get(range.clone()).unwrap_or_default();
        let entries = self.entries.get(range).unwrap_or_default();
        let here = prints
            .iter()
            .zip(entries)
            .filter(move |(other, _)| **other == print);
        here.map(|(_, entry)| Entry::from(*entry))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most `bits` bits are left"
    )]
    fn bucket(&self, place: Place) -> usize {
        place.0.checked_shr(u64::BITS - self.bits).unwrap_or(0) as usize
    }

    /// The 32 bits behind those that name the bucket.
    fn print(&self, place: Place) -> u32 {
        ((place.0 << self.bits) >> u32::BITS) as u32
    }
}
