//! Matchers of a table → the few that can match an image, however many there are.
//!
//! Every pattern is filed under one key (its literal host or the literal end of its glob host, its
//! literal leading path, the literal ends of its first glob), an image asks for the few keys it could be
//! filed under, and each candidate is then compared for real. So a wrong key can only lose a match,
//! which a property test against a naive matcher would see, and a colliding one costs a comparison.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

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
    seed: RandomState,
    /// Where at least one matcher is filed below: host and port.
    heads: HashSet<u64, Prehashed>,
    files: HashMap<u64, File, Prehashed>,
    /// How long the literal ends of the globs at a place are.
    shapes: HashMap<u64, Box<[Shape]>, Prehashed>,
    /// Bit n: there is a glob host of n labels.
    glob_labels: u64,
    any: Vec<MatcherId>,
    /// Whether a class needs its family's hosts to be parsed.
    families: Families,
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Identity(u64);
type Prehashed = BuildHasherDefault<Identity>;

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Nearly every key has one matcher; no list is made for it.
#[derive(Debug)]
enum File {
    One(MatcherId),
    Many(Vec<MatcherId>),
}

/// The lengths of a glob's literal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Debug, Default)]
struct Families {
    ecr: bool,
    google: bool,
    azure: bool,
}

/// What a key is about, so that no two kinds share one.
#[derive(Clone, Copy, Hash)]
enum Kind {
    Literal,
    Glob,
    GlobEnds,
    PathEnds,
    PathShapes,
    Ecr,
    EcrPublic,
    Google,
    Azure,
}

type State = <RandomState as BuildHasher>::Hasher;

impl Index {
    /// Files a matcher.
    pub(crate) fn insert(&mut self, id: MatcherId, matcher: &ImageMatch) {
        match matcher {
            ImageMatch::Pattern(pattern) => self.insert_pattern(id, pattern),
            ImageMatch::Class(class) => self.insert_class(id, class),
        }
    }

    fn insert_pattern(&mut self, id: MatcherId, pattern: &Pattern) {
        if pattern.is_any() {
            self.any.push(id);
            return;
        }
        let head = if pattern.is_literal_host() {
            self.literal_head(pattern.host(), pattern.port())
        } else {
            self.insert_glob_host(pattern)
        };
        self.heads.insert(head.finish());
        self.insert_path(id, head, pattern.segments());
    }

    fn insert_glob_host(&mut self, pattern: &Pattern) -> State {
        let host = pattern.host();
        let labels = host.split('.').count();
        self.glob_labels |= 1_u64.checked_shl(bits(labels)).unwrap_or(1 << 63);
        let (ends, literal) = last_glob_label(host);
        let place = self.glob_place(labels, literal, pattern.port());
        let shape = Shape::of(ends);
        self.add_shape(place.finish(), shape);
        let (prefix, suffix) = shape.ends(ends).unwrap_or_default();
        glob_ends(&place, Kind::GlobEnds, prefix, suffix)
    }

    fn insert_path<'p>(
        &mut self,
        id: MatcherId,
        mut place: State,
        segments: impl Iterator<Item = &'p str>,
    ) {
        for segment in segments {
            if glob::is_glob(segment) {
                let shape = Shape::of(segment);
                self.add_shape(path_shapes(&place), shape);
                let (prefix, suffix) = shape.ends(segment).unwrap_or_default();
                place = glob_ends(&place, Kind::PathEnds, prefix, suffix);
                break;
            }
            descend(&mut place, segment);
        }
        self.file(place.finish(), id);
    }

    fn insert_class(&mut self, id: MatcherId, class: &Class) {
        class.anchors(|anchor| match anchor {
            Anchor::Literal(host, path) => {
                let head = self.literal_head(host, None);
                self.heads.insert(head.finish());
                self.insert_path(id, head, path.split('/').filter(|_| !path.is_empty()));
            }
            Anchor::Google(path) => {
                self.families.google = true;
                let head = self.start(Kind::Google);
                self.insert_path(id, head, path.split('/').filter(|_| !path.is_empty()));
            }
            Anchor::Ecr(account) => {
                self.families.ecr = true;
                self.file(self.key(Kind::Ecr, account), id);
            }
            Anchor::Azure(registry) => {
                self.families.azure = true;
                self.file(self.key(Kind::Azure, registry), id);
            }
            Anchor::EcrPublic => self.file(self.key(Kind::EcrPublic, None), id),
        });
    }

    fn file(&mut self, key: u64, id: MatcherId) {
        match self.files.get_mut(&key) {
            None => {
                self.files.insert(key, File::One(id));
            }
            Some(File::Many(ids)) => ids.push(id),
            Some(file) => {
                if let File::One(first) = *file {
                    *file = File::Many(vec![first, id]);
                }
            }
        }
    }

    fn add_shape(&mut self, key: u64, shape: Shape) {
        let shapes = self.shapes.entry(key).or_default();
        if !shapes.contains(&shape) {
            let mut longer = std::mem::take(shapes).into_vec();
            longer.push(shape);
            *shapes = longer.into();
        }
    }

    /// Drops the room that growing left.
    pub(crate) fn shrink(&mut self) {
        self.heads.shrink_to_fit();
        self.files.shrink_to_fit();
        self.shapes.shrink_to_fit();
        self.any.shrink_to_fit();
    }

    /// Calls `visit` with every matcher that could match; one may come twice.
    pub(crate) fn candidates(&self, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        self.any.iter().copied().for_each(&mut *visit);
        let head = self.literal_head(&image.host, image.port);
        if self.heads.contains(&head.finish()) {
            self.paths(head, image, visit);
        }
        self.glob_hosts(image, visit);
        if image.port.is_none() {
            self.classes(image, visit);
        }
    }

    fn glob_hosts(&self, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        if self.glob_labels == 0 {
            return;
        }
        let labels = image.host.split('.').count();
        if self.glob_labels & 1_u64.checked_shl(bits(labels)).unwrap_or(1 << 63) == 0 {
            return;
        }
        // Each label may be the last glob one, with all behind it literal.
        let mut rest: &str = &image.host;
        loop {
            let (label, behind) = rest.split_once('.').unwrap_or((rest, ""));
            let place = self.glob_place(labels, behind, image.port);
            for shape in self.shapes.get(&place.finish()).into_iter().flatten() {
                if let Some((prefix, suffix)) = shape.ends(label) {
                    let head = glob_ends(&place, Kind::GlobEnds, prefix, suffix);
                    if self.heads.contains(&head.finish()) {
                        self.paths(head, image, visit);
                    }
                }
            }
            if behind.is_empty() {
                return;
            }
            rest = behind;
        }
    }

    fn paths(&self, mut place: State, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        let mut segments = image.segments();
        loop {
            self.visit(place.finish(), visit);
            let Some(segment) = segments.next() else {
                return;
            };
            for shape in self.shapes.get(&path_shapes(&place)).into_iter().flatten() {
                if let Some((prefix, suffix)) = shape.ends(segment) {
                    self.visit(
                        glob_ends(&place, Kind::PathEnds, prefix, suffix).finish(),
                        visit,
                    );
                }
            }
            descend(&mut place, segment);
        }
    }

    fn classes(&self, image: &Candidate<'_>, visit: &mut impl FnMut(MatcherId)) {
        if self.families.ecr {
            if let Some(host) = ecr::EcrHost::parse(&image.host) {
                self.visit(self.key(Kind::Ecr, None), visit);
                self.visit(self.key(Kind::Ecr, Some(host.account_id)), visit);
            }
        }
        if self.families.azure {
            if let Some(host) = azure::AcrHost::parse(&image.host) {
                self.visit(self.key(Kind::Azure, None), visit);
                self.visit(self.key(Kind::Azure, Some(host.registry)), visit);
            }
        }
        if self.families.google && google::GoogleHost::parse(&image.host).is_some() {
            self.paths(self.start(Kind::Google), image, visit);
        }
        if ecr_public::is_ecr_public(&image.host) {
            self.visit(self.key(Kind::EcrPublic, None), visit);
        }
    }

    fn visit(&self, key: u64, visit: &mut impl FnMut(MatcherId)) {
        match self.files.get(&key) {
            Some(File::One(id)) => visit(*id),
            Some(File::Many(ids)) => ids.iter().copied().for_each(visit),
            None => {}
        }
    }

    fn start(&self, kind: Kind) -> State {
        let mut state = self.seed.build_hasher();
        kind.hash(&mut state);
        state
    }

    fn key(&self, kind: Kind, value: Option<&str>) -> u64 {
        let mut state = self.start(kind);
        value.hash(&mut state);
        state.finish()
    }

    fn literal_head(&self, host: &str, port: Option<&str>) -> State {
        let mut state = self.start(Kind::Literal);
        host.hash(&mut state);
        port.hash(&mut state);
        state
    }

    fn glob_place(&self, labels: usize, literal: &str, port: Option<&str>) -> State {
        let mut state = self.start(Kind::Glob);
        labels.hash(&mut state);
        literal.hash(&mut state);
        port.hash(&mut state);
        state
    }
}

fn bits(labels: usize) -> u32 {
    u32::try_from(labels).unwrap_or(u32::MAX)
}

/// The last label with a special character, and the literal labels behind it.
fn last_glob_label(host: &str) -> (&str, &str) {
    let mut behind = host.len();
    for label in host.rsplit('.') {
        let start = behind - label.len();
        if glob::is_glob(label) {
            return (
                label,
                host.get(behind..)
                    .unwrap_or_default()
                    .trim_start_matches('.'),
            );
        }
        behind = start.saturating_sub(1);
    }
    (host, "")
}

fn glob_ends(place: &State, kind: Kind, prefix: &[u8], suffix: &[u8]) -> State {
    let mut state = place.clone();
    kind.hash(&mut state);
    prefix.hash(&mut state);
    suffix.hash(&mut state);
    state
}

fn path_shapes(place: &State) -> u64 {
    let mut state = place.clone();
    Kind::PathShapes.hash(&mut state);
    state.finish()
}

fn descend(place: &mut State, segment: &str) {
    segment.hash(place);
}
