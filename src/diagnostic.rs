//! What is wrong with what somebody wrote, as data: code, severity, place, message, help.
//!
//! The one model for policies, tests of policies and admission warnings. It renders nothing: the
//! command line draws it as text, JSON, SARIF or JUnit, the server logs it as one line.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// A text that diagnostics point into, with where its first line stands in the file it came from.
///
/// A policy inside a ConfigMap's block scalar is a text of its own; its places are still told as
/// lines and columns of the file, because the block's lines are the file's lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    first_line: usize,
    indent: usize,
    origin: Option<Place>,
    marks: Marks,
}

impl Source {
    /// A text that is a whole file (or stands for one), called `name` in every message.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Self::embedded(name, text, 1, 0)
    }

    /// A text that starts at line `first_line` of the file `name`, each line indented by `indent`.
    pub fn embedded(
        name: impl Into<String>,
        text: impl Into<String>,
        first_line: usize,
        indent: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            first_line,
            indent,
            origin: None,
            marks: Marks::default(),
        })
    }

    /// A text that another text holds in a form whose lines are not its own: a quoted string.
    pub fn within(origin: Place, name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
            first_line: 1,
            indent: 0,
            origin: Some(origin),
            marks: Marks::default(),
        })
    }

    /// The name that messages use: a path, `-`, or `ConfigMap namespace/name key`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of the file on which this text starts, from 1.
    #[must_use]
    pub fn first_line(&self) -> usize {
        self.first_line
    }

    /// How many columns the text is indented by in its file.
    #[must_use]
    pub fn indent(&self) -> usize {
        self.indent
    }

    /// The place that holds this text, when its lines are not lines of a file.
    #[must_use]
    pub fn origin(&self) -> Option<&Place> {
        self.origin.as_ref()
    }

    /// The line and column, both from 1 and the column in characters, of a byte offset.
    #[must_use]
    pub fn locate(&self, offset: u32) -> Location {
        let offset = (offset as usize).min(self.text.len());
        let (line, column) = self.marks.count(self.text.as_bytes(), offset);
        Location {
            line: self.first_line + line,
            column: self.indent + column + 1,
        }
    }
}

/// Line and column, from 0, at every [`Marks::STRIDE`]th byte of a text: ten thousand findings in a
/// text of one long line must not mean ten thousand walks through it.
#[derive(Debug, Default)]
struct Marks(OnceLock<Box<[(u32, u32)]>>);

impl Marks {
    const STRIDE: usize = 1024;

    fn count(&self, text: &[u8], offset: usize) -> (usize, usize) {
        let marks = self.0.get_or_init(|| {
            text.chunks(Self::STRIDE)
                .scan((0, 0), |at, chunk| {
                    let start = *at;
                    *at = advance(start, chunk);
                    Some(start)
                })
                .collect()
        });
        let mark = offset / Self::STRIDE;
        let (mark, start) = match marks.get(mark).or(marks.last()) {
            Some(start) => (mark.min(marks.len() - 1), *start),
            None => (0, (0, 0)),
        };
        let rest = text.get(mark * Self::STRIDE..offset).unwrap_or_default();
        let (line, column) = advance(start, rest);
        (line as usize, column as usize)
    }
}

/// The line and column behind some bytes; a character counts where it begins.
fn advance(start: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    bytes.iter().fold(start, |(line, column), byte| match byte {
        b'\n' => (line + 1, 0),
        0x80..=0xBF => (line, column),
        _ => (line, column + 1),
    })
}

/// A cache says nothing about the text.
impl PartialEq for Marks {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Marks {}

/// A line and a column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A range of bytes in a [`Source`]'s text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The part of `text` that the span covers, or nothing when it lies outside.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// A place: which text, which bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// The bytes.
    pub span: Span,
}

impl Place {
    /// Where the place starts.
    #[must_use]
    pub fn start(&self) -> Location {
        self.source.locate(self.span.start)
    }

    /// Where the place ends.
    #[must_use]
    pub fn end(&self) -> Location {
        self.source.locate(self.span.end)
    }

    /// The place in a file: this one, or the string that holds the text it is in.
    #[must_use]
    pub fn in_file(&self) -> &Self {
        self.source.origin().map_or(self, Self::in_file)
    }
}

impl fmt::Display for Place {
    /// `file:line:column`, as editors read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { line, column } = self.start();
        write!(f, "{}:{line}:{column}", self.source.name())
    }
}

/// How bad it is. An error keeps a document out; a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a look; everything still works as written.
    Warning,
    /// The document is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $number:literal $severity:ident, )+) => {
        /// Every finding pullpass can report. The number never changes its meaning.
        ///
        /// PP10x–PP12x are errors in documents, PP13x warnings in documents, PP14x errors in tests
        /// of policies, PP2xx warnings about one admission.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $( $(#[doc = $doc])+ $name, )+ }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// `PP101` and so on.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("PP", $number),)+ }
            }

            /// How bad a finding of this code is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// The text is not YAML (or JSON), or not UTF-8.
    Syntax = "101" Error,
    /// A field that the document type does not have.
    UnknownField = "102" Error,
    /// A value of another type than the field takes.
    WrongType = "103" Error,
    /// A required field is absent.
    MissingField = "104" Error,
    /// A required field is there and empty.
    EmptyField = "105" Error,
    /// A class parameter is an empty list.
    EmptyParameter = "106" Error,
    /// One name twice in one document.
    DuplicateName = "107" Error,
    /// A pattern that cannot be parsed.
    BadPattern = "108" Error,
    /// A label selector that no API server would accept.
    BadSelector = "109" Error,
    /// `everyPod` beside images or classes.
    EveryPodBesideImages = "110" Error,
    /// A credential in a tenant's policy.
    TenantCredential = "111" Error,
    /// A policy or credential name that an earlier document has.
    NameTaken = "112" Error,
    /// A name that no API server would accept.
    BadName = "113" Error,
    /// A value that the field does not take.
    BadValue = "114" Error,
    /// A key twice in one mapping.
    DuplicateKey = "115" Error,
    /// The input is larger, deeper or more self-referring than a policy may be.
    TooLarge = "116" Error,
    /// The document says an `apiVersion` that this version does not know.
    UnknownVersion = "117" Error,
    /// A credential that is one of pullpass's own Secrets.
    ReservedName = "118" Error,
    /// An injected secret of which no credential says where it comes from.
    UnknownSource = "130" Warning,
    /// A pattern that matches no image.
    NeverMatches = "131" Warning,
    /// A pattern that another one shadows wholly.
    Shadowed = "132" Warning,
    /// A credential that no rule injects.
    UnusedCredential = "133" Warning,
    /// A scheme or `/v1/` in a pattern.
    PatternNoise = "134" Warning,
    /// A ConfigMap labelled as a policy that holds none.
    NoPolicyKey = "135" Warning,
    /// A test names a file that cannot be used.
    TestFile = "140" Error,
    /// An image reference in a Pod that does not parse.
    ImageUnreadable = "201" Warning,
    /// Winning rules name different service accounts.
    AccountConflict = "202" Warning,
    /// The service account to switch to does not exist.
    AccountMissing = "203" Warning,
    /// A switch to an enforcing account that the API server would refuse.
    AccountRefuses = "204" Warning,
    /// An enforcing account does not list what a rule injects.
    AccountDoesNotList = "205" Warning,
    /// A running Pod lacks what a new container's image needs.
    CannotChange = "206" Warning,
    /// What a policy in `mode: Audit` would change.
    AuditOnly = "207" Warning,
    /// The request holds no Pod that can be read.
    NotAPod = "208" Warning,
    /// A ConfigMap with a tenant's policies, and these are off.
    TenantsOff = "209" Warning,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Self::ALL
            .iter()
            .find(|code| code.as_str().eq_ignore_ascii_case(text))
            .copied()
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

/// A code that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("no diagnostic has the code `{0}`; `docs/diagnostics.md` lists them all")]
pub struct UnknownCode(String);

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind of finding.
    pub code: Code,
    /// Where, unless the whole input is meant.
    pub place: Option<Place>,
    /// What is wrong: lower case, no full stop, values in backticks.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that belongs to it, with what stands there.
    pub related: Option<(Place, String)>,
}

impl Diagnostic {
    /// A finding at a place.
    #[must_use]
    pub fn new(code: Code, source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            place: Some(Place {
                source: Arc::clone(source),
                span,
            }),
            message: message.into(),
            help: None,
            related: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another place that belongs to it.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related = Some((place, label.into()));
        self
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl fmt::Display for Diagnostic {
    /// One line, for a log: `error[PP108] policy.yaml:4:9: … (help: …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.severity(), self.code)?;
        if let Some(place) = &self.place {
            write!(f, " {place}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, " (help: {help})")?;
        }
        Ok(())
    }
}

/// Whether any of them is an error.
#[must_use]
pub fn any_error(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity() == Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_unique_and_survives_print_and_parse() {
        for (i, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str().parse::<Code>().unwrap(), *code);
            assert!(
                Code::ALL[..i]
                    .iter()
                    .all(|other| other.as_str() < code.as_str()),
                "{code}"
            );
        }
        assert!("PP999".parse::<Code>().is_err());
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let source = Source::new("p.yaml", "a: 1\nné: x\n");
        for (offset, want) in [(0, (1, 1)), (5, (2, 1)), (10, (2, 5)), (999, (3, 1))] {
            let Location { line, column } = source.locate(offset);
            assert_eq!((line, column), want, "offset {offset}");
        }
    }

    #[test]
    fn a_place_far_into_a_text_is_counted_from_the_nearest_mark() {
        let text = format!("{}\n{}x", "é".repeat(3000), "ab\n".repeat(2000));
        let source = Source::new("p.yaml", text.as_str());
        for offset in [
            0,
            1023,
            1024,
            1025,
            2048,
            5999,
            6000,
            6001,
            9000,
            text.len(),
        ] {
            let before = &text.as_bytes()[..offset];
            let line = before.split(|&b| b == b'\n').count();
            let last = before.split(|&b| b == b'\n').next_back().unwrap();
            let column = String::from_utf8_lossy(last).chars().count();
            // An offset inside a character means its end.
            let want = Location {
                line,
                column: column + 1,
            };
            assert_eq!(
                source.locate(u32::try_from(offset).unwrap()),
                want,
                "offset {offset}"
            );
        }
    }

    #[test]
    fn a_text_within_a_string_knows_the_place_that_holds_it() {
        let file = Source::new("cm.json", "{\"a\": \"b: 1\\n\"}");
        let holder = Place {
            source: file,
            span: Span { start: 6, end: 13 },
        };
        let source = Source::within(holder.clone(), "cm.json key a", "b: 1\n");
        let place = Place {
            source,
            span: Span { start: 3, end: 4 },
        };
        assert_eq!(place.to_string(), "cm.json key a:1:4");
        assert_eq!(place.in_file(), &holder);
    }

    #[test]
    fn an_embedded_text_tells_the_place_in_its_file() {
        let source = Source::embedded("cm.yaml", "a: 1\nb: 2\n", 7, 4);
        assert_eq!(source.locate(5), Location { line: 8, column: 5 });
    }
}
