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
use super::tree::{Entry, Kind, Packed, Place, Shape, Tree};
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
        if self.families.ecr
            && let Some(host) = ecr::EcrHost::parse(&image.host)
        {
            of(Place::class(Kind::Ecr, None));
            of(Place::class(Kind::Ecr, Some(host.account_id)));
        }
        if self.families.azure
            && let Some(host) = azure::AcrHost::parse(&image.host)
        {
            of(Place::class(Kind::Azure, None));
            of(Place::class(Kind::Azure, Some(host.registry)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageRef;

    #[test]
    fn an_image_meets_a_few_matchers_however_many_there_are() {
        type Form = fn(usize) -> String;
        let forms: [(&str, Form, &str); 9] = [
            (
                "literal hosts",
                |i| format!("r{i}.example.com"),
                "r77.example.com/a",
            ),
            (
                "literal paths",
                |i| format!("quay.io/o{i}"),
                "quay.io/o77/a",
            ),
            (
                "glob paths",
                |i| format!("quay.io/o{i}-*"),
                "quay.io/o77-x/a",
            ),
            (
                "a glob before a literal segment",
                |i| format!("quay.io/*/a{i}"),
                "quay.io/o/a77",
            ),
            (
                "the first label",
                |i| format!("t{i}-*.example.com"),
                "t77-x.example.com/a",
            ),
            (
                "a label below a glob",
                |i| format!("*.r{i}.example.com"),
                "x.r77.example.com/a",
            ),
            (
                "a label above a glob",
                |i| format!("r{i}.*.example.com"),
                "r77.x.example.com/a",
            ),
            (
                "two globs",
                |i| format!("t{i}-*.*.example.com"),
                "t77-x.y.example.com/a",
            ),
            (
                "ports",
                |i| format!("*.example.com:{i}"),
                "x.example.com:77/a",
            ),
        ];
        for (what, form, image) in forms {
            let mut builder = Builder::default();
            for i in 0..10_000 {
                let pattern = Pattern::parse(&form(i)).expect(what);
                builder.insert(u32::try_from(i).unwrap(), &ImageMatch::Pattern(pattern));
            }
            let image = ImageRef::parse(image).expect(image);
            let mut met = Vec::new();
            let index = builder.finish();
            index.candidates(&Candidate::new(&image), &mut |id| met.push(id));
            assert_eq!(met, [77], "{what}");
        }
    }
}
