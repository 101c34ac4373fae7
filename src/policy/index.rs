//! Matchers of a table → the few that can match an image, however many there are.
//!
//! A tree whose edges are texts: a literal host whole, a glob host label by label from its end, then
//! the path segment by segment. A glob's edge is its literal ends (`team-*-x` is `team-` and `-x`). An
//! image walks every edge it fits, and each matcher it meets is then compared for real. So a wrong edge
//! can only lose a match, which a property test against a naive matcher would see. What stays linear:
//! globs that differ only between two `*` of one label.

use super::class::{Anchor, Class};
use super::document::ImageMatch;
use super::glob;
use super::pattern::{Candidate, Pattern};
use crate::hosts::{azure, ecr, ecr_public, google};

/// The position of a matcher in its table.
pub(crate) type MatcherId = u32;

/// Finds matchers by image.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tree: Tree,
    any: Box<[MatcherId]>,
    /// Whether a class needs its family's hosts to be parsed.
    families: Families,
}

#[derive(Clone, Copy, Debug, Default)]
struct Families {
    ecr: bool,
    google: bool,
    azure: bool,
}

impl Index {
    /// Calls `visit` with every matcher that could match; one may come twice.
    pub(crate) fn candidates(&self, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        self.any.iter().copied().for_each(&mut *visit);
        let path = Some(&*image.path);
        self.paths(Place::literal_host(&image.host, image.port), path, visit);
        let root = Place::glob_hosts(&image.host, image.port);
        self.hosts(root, Some(&image.host), path, visit);
        if image.port.is_none() {
            self.classes(image, visit);
        }
    }

    /// Walks the labels of a host from its end, then the path.
    fn hosts(
        &self,
        place: Place,
        host: Option<&str>,
        path: Option<&str>,
        visit: &mut impl FnMut(MatcherId),
    ) {
        let Some(host) = host else {
            return self.paths(place, path, visit);
        };
        let (rest, label) = match host.rsplit_once('.') {
            Some((rest, label)) => (Some(rest), label),
            None => (None, host),
        };
        for entry in self.tree.at(place) {
            if let Some(next) = entry.edge(place, label) {
                self.hosts(next, rest, path, visit);
            }
        }
    }

    /// Walks the segments of a path; matchers wait at every place, for a path is a prefix.
    fn paths(&self, place: Place, path: Option<&str>, visit: &mut impl FnMut(MatcherId)) {
        let (segment, rest) = match path.map(|path| path.split_once('/').ok_or(path)) {
            Some(Ok((segment, rest))) => (Some(segment), Some(rest)),
            Some(Err(last)) => (Some(last), None),
            None => (None, None),
        };
        for entry in self.tree.at(place) {
            if let Entry::Matcher(id) = entry {
                visit(id);
            } else if let Some(next) = segment.and_then(|segment| entry.edge(place, segment)) {
                self.paths(next, rest, visit);
            }
        }
    }

    fn classes(&self, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        let mut of = |place| self.paths(place, None, visit);
        if self.families.ecr {
            if let Some(host) = ecr::EcrHost::parse(&image.host) {
                of(Place::class(Kind::Ecr, None));
                of(Place::class(Kind::Ecr, Some(host.account_id)));
            }
        }
        if self.families.azure {
            if let Some(host) = azure::AcrHost::parse(&image.host) {
                of(Place::class(Kind::Azure, None));
                of(Place::class(Kind::Azure, Some(host.registry)));
            }
        }
        if ecr_public::is_ecr_public(&image.host) {
            of(Place::class(Kind::EcrPublic, None));
        }
        if self.families.google && google::GoogleHost::parse(&image.host).is_some() {
            let root = Place::class(Kind::Google, None);
            self.paths(root, Some(&image.path), visit);
        }
    }
}

/// Takes matchers, then makes an [`Index`].
#[derive(Debug, Default)]
pub(crate) struct Builder {
    entries: Vec<(Place, Packed)>,
    any: Vec<MatcherId>,
    families: Families,
}

impl Builder {
    /// Files a matcher.
    pub(crate) fn insert(&mut self, id: MatcherId, matcher: &ImageMatch) {
        match matcher {
            ImageMatch::Pattern(pattern) => self.insert_pattern(id, pattern),
            ImageMatch::Class(class) => self.insert_class(id, class),
        }
    }

    /// Sorts what was filed.
    pub(crate) fn finish(self) -> Index {
        Index {
            tree: Tree::new(self.entries),
            any: self.any.into(),
            families: self.families,
        }
    }

    fn insert_pattern(&mut self, id: MatcherId, pattern: &Pattern) {
        if pattern.is_any() {
            self.any.push(id);
            return;
        }
        let host = pattern.host();
        let place = if pattern.is_literal_host() {
            Place::literal_host(host, pattern.port())
        } else {
            let root = Place::glob_hosts(host, pattern.port());
            host.rsplit('.')
                .fold(root, |place, label| self.step(place, label))
        };
        self.insert_path(id, place, pattern.segments());
    }

    fn insert_class(&mut self, id: MatcherId, class: &Class) {
        class.anchors(|anchor| match anchor {
            Anchor::Literal(host, path) => {
                let place = Place::literal_host(host, None);
                self.insert_path(id, place, path.split('/').filter(|_| !path.is_empty()));
            }
            Anchor::Google(path) => {
                self.families.google = true;
                let place = Place::class(Kind::Google, None);
                self.insert_path(id, place, path.split('/').filter(|_| !path.is_empty()));
            }
            Anchor::Ecr(account) => {
                self.families.ecr = true;
                self.file(Place::class(Kind::Ecr, account), Entry::Matcher(id));
            }
            Anchor::Azure(registry) => {
                self.families.azure = true;
                self.file(Place::class(Kind::Azure, registry), Entry::Matcher(id));
            }
            Anchor::EcrPublic => {
                self.file(Place::class(Kind::EcrPublic, None), Entry::Matcher(id));
            }
        });
    }

    fn insert_path<'p>(
        &mut self,
        id: MatcherId,
        place: Place,
        segments: impl Iterator<Item = &'p str>,
    ) {
        let place = segments.fold(place, |place, segment| self.step(place, segment));
        self.file(place, Entry::Matcher(id));
    }

    /// Makes the edge of a label or segment; the place it leads to.
    fn step(&mut self, place: Place, text: &str) -> Place {
        let edge = if glob::is_glob(text) {
            Entry::Glob(Shape::of(text))
        } else {
            Entry::Literal
        };
        self.file(place, edge);
        // A glob's text begins and ends with its own literal ends.
        edge.edge(place, text).unwrap_or(place)
    }

    fn file(&mut self, place: Place, entry: Entry) {
        self.entries.push((place, entry.into()));
    }
}

/// A place in the tree: the hash of all edges that lead to it. Two that collide cost comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(u64);

/// What a place is about, so that no two kinds share one.
#[derive(Clone, Copy)]
enum Kind {
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
    fn literal_host(host: &str, port: Option<&str>) -> Self {
        Self(0).then(Kind::LiteralHost, host, port.unwrap_or_default())
    }

    /// Where the glob hosts of as many labels and this port begin.
    fn glob_hosts(host: &str, port: Option<&str>) -> Self {
        let labels = host.bytes().filter(|&b| b == b'.').count() as u64;
        Self(labels).then(Kind::GlobHosts, "", port.unwrap_or_default())
    }

    fn class(kind: Kind, parameter: Option<&str>) -> Self {
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
enum Entry {
    /// A matcher whose literal texts all led here.
    Matcher(MatcherId),
    /// Literal edges leave.
    Literal,
    /// An edge for texts with these ends leaves.
    Glob(Shape),
}

impl Entry {
    /// Where the edge leads for a text that fits it.
    fn edge(self, place: Place, text: &str) -> Option<Place> {
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
struct Packed(u32);

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
struct Shape {
    prefix: u8,
    suffix: u8,
}

impl Shape {
    fn of(glob: &str) -> Self {
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
struct Tree {
    /// How many high bits name the bucket.
    bits: u32,
    /// Where each bucket starts; one more than there are buckets.
    buckets: Box<[u32]>,
    prints: Box<[u32]>,
    entries: Box<[Packed]>,
}

impl Tree {
    fn new(mut entries: Vec<(Place, Packed)>) -> Self {
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

    fn at(&self, place: Place) -> impl Iterator<Item = Entry> {
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
    #[expect(
        clippy::cast_possible_truncation,
        reason = "these 32 bits are what is wanted"
    )]
    fn print(&self, place: Place) -> u32 {
        ((place.0 << self.bits) >> u32::BITS) as u32
    }
}
