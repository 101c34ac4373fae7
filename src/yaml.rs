//! YAML (and so JSON) text → documents as trees of spanned nodes, bounded in size, depth and aliases.
//!
//! The reader underneath is `granit-parser`; this file only builds the tree and gives plain scalars
//! the type that `kubectl` gives them (YAML 1.1 booleans, octal `0644`), so that a manifest means
//! the same here as in the cluster. It never panics and never opens a file.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::Number;

use crate::diagnostic::{Code, Diagnostic, Source, Span};

/// The largest text that is read: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;
/// The deepest nesting: Kubernetes objects stay below 30.
const MAX_DEPTH: usize = 64;
/// The most nodes in one text, those that aliases repeat included: 10,000 rules have about 200,000.
const MAX_NODES: usize = 2_000_000;
/// The most nodes that aliases may add.
const MAX_ALIASED_NODES: usize = 100_000;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'t> {
    /// Where it stands; of a mapping or list the bracket, dash or key that it begins with.
    pub span: Span,
    /// What it is.
    pub value: Value<'t>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'t> {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Cow<'t, str>),
    /// A string written as a literal block (`|`), whose lines are the file's lines.
    Literal(Cow<'t, str>),
    /// A list.
    List(Vec<Node<'t>>),
    /// A mapping, in the order written; a key may stand twice.
    Map(Vec<Entry<'t>>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'t> {
    /// The key. A key that is no string is given as it is written.
    pub key: Cow<'t, str>,
    /// Where the key stands.
    pub span: Span,
    /// Its value.
    pub value: Node<'t>,
}

impl Node<'_> {
    /// The value of a key, when this is a mapping that has it; the last one when it is there twice.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .rev()
                .find(|e| e.key == key)
                .map(|e| &e.value),
            _ => None,
        }
    }

    /// The string, when this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) | Value::Literal(text) => Some(text),
            _ => None,
        }
    }

    /// What the node is, in the words of a message: `a string`, `a list`…
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) | Value::Literal(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The same value as JSON; a key that stands twice keeps its last value.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => serde_json::Value::Bool(*b),
            Value::Number(n) => serde_json::Value::Number(n.clone()),
            Value::String(s) | Value::Literal(s) => serde_json::Value::String(s.to_string()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|e| (e.key.to_string(), e.value.to_json()))
                .collect(),
        }
    }
}

/// One document of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document<'t> {
    /// Its content.
    pub root: Node<'t>,
    /// Its text, from behind its `---` to its end.
    pub span: Span,
}

/// Reads every document. A text that breaks off in the middle gives the documents before the break
/// and the error.
///
/// ```
/// use pullpass::{diagnostic::Source, yaml};
///
/// let source = Source::new("x.yaml", "kind: Pod\n---\nkind: Job\n");
/// let (documents, error) = yaml::read(&source);
/// assert_eq!(documents.len(), 2);
/// assert!(error.is_none());
/// ```
#[must_use]
pub fn read(source: &Arc<Source>) -> (Vec<Document<'_>>, Option<Diagnostic>) {
    let text = source.text();
    if text.len() > MAX_BYTES {
        let message = format!(
            "the input has {} bytes, and {MAX_BYTES} are the most",
            text.len()
        );
        let error = Diagnostic::new(Code::TooLarge, source, Span::default(), message)
            .help("split it into several files");
        return (Vec::new(), Some(error));
    }
    let mut documents = Vec::new();
    let mut builder = Builder::default();
    let error = builder
        .run(text, &mut documents)
        .err()
        .map(|stop| stop.diagnostic(source));
    (documents, error)
}

/// Why reading stopped.
struct Stop {
    code: Code,
    at: u32,
    message: String,
    help: Option<&'static str>,
}

impl Stop {
    fn too_large(span: Span, message: impl Into<String>) -> Self {
        Self {
            code: Code::TooLarge,
            at: span.start,
            message: message.into(),
            help: Some("a policy needs far less: is this the right file?"),
        }
    }

    fn diagnostic(self, source: &Arc<Source>) -> Diagnostic {
        let text = source.text();
        let start = (self.at as usize).min(text.len());
        // The scanner stops behind what it could not take: show at least one character.
        let width = text
            .get(start..)
            .and_then(|t| t.chars().next())
            .map_or(0, char::len_utf8);
        let span = Span {
            start: offset(start),
            end: offset(start + width),
        };
        let diagnostic = Diagnostic::new(self.code, source, span, self.message);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// A byte offset; texts are at most [`MAX_BYTES`] long.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn position(marker: &Marker) -> u32 {
    offset(marker.byte_offset().unwrap_or_else(|| marker.index()))
}

/// A collection that is still open.
struct Open<'t> {
    kind: Kind<'t>,
    /// Where its content starts among what is pending.
    start: usize,
    span: Span,
    anchor: usize,
}

enum Kind<'t> {
    List,
    /// With the key whose value comes next.
    Map(Option<(Cow<'t, str>, Span)>),
}

#[derive(Default)]
struct Builder<'t> {
    open: Vec<Open<'t>>,
    /// Items of all open lists, and entries of all open mappings: a collection gets a list of its own,
    /// of just its size, when it is closed. Most have one or two.
    items: Vec<Node<'t>>,
    entries: Vec<Entry<'t>>,
    anchors: HashMap<usize, (Node<'t>, Weight)>,
    nodes: usize,
    aliased: Weight,
}

/// What a tree costs to copy.
#[derive(Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl<'t> Builder<'t> {
    fn run(&mut self, text: &'t str, documents: &mut Vec<Document<'t>>) -> Result<(), Stop> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
            // What may be a key is kept until it is seen to be none: without a bound, a whole file
            // of one line. The longest key of a Kubernetes object is a label's or annotation's, of
            // 317 characters; YAML's own bound is this one.
            simple_key_max_lookahead: 1024,
        };
        let (mut started, mut ended) = (0, 0);
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| broken(&error))?;
            let span = Span {
                start: position(&span.start),
                end: position(&span.end),
            };
            let done = match event {
                Event::DocumentStart(explicit, _) => {
                    self.anchors.clear();
                    // Without a `---` the comments above the content are the document's too.
                    started = if explicit { span.end } else { ended };
                    None
                }
                Event::DocumentEnd => {
                    ended = span.end;
                    if let Some(document) = documents.last_mut() {
                        document.span.end = span.end.max(document.span.end);
                    }
                    None
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let tagged = tag.is_some_and(|tag| tag.suffix() == "str");
                    // A key is its text: `on:` is the key `on`.
                    let value = if self.expects_key() {
                        Value::String(text)
                    } else {
                        scalar(text, style, tagged)
                    };
                    self.close(Node { span, value }, anchor)?
                }
                Event::SequenceStart(_, anchor, _) => {
                    self.descend(Kind::List, span, anchor)?;
                    None
                }
                Event::MappingStart(_, anchor, _) => {
                    self.descend(Kind::Map(None), span, anchor)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some(open) => {
                        let mut span = open.span;
                        let value = match open.kind {
                            Kind::List => Value::List(self.items.drain(open.start..).collect()),
                            Kind::Map(_) => {
                                let entries = self.entries.drain(open.start..).collect();
                                Value::Map(merge(entries))
                            }
                        };
                        if span.start == span.end {
                            span = beginning(text, span, &value);
                        }
                        self.close(Node { span, value }, open.anchor)?
                    }
                    None => None,
                },
                Event::Alias(id) => {
                    let node = self.repeat(id, span)?;
                    self.close(node, 0)?
                }
                _ => None,
            };
            if let Some(root) = done {
                documents.push(Document {
                    root,
                    span: Span {
                        start: started,
                        end: span.end,
                    },
                });
            }
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        let open = self.open.last().map(|open| &open.kind);
        matches!(open, Some(Kind::Map(None)))
    }

    /// Opens a collection, unless it stands too deep.
    fn descend(&mut self, kind: Kind<'t>, span: Span, anchor: usize) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Stop::too_large(
                span,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        let start = match kind {
            Kind::List => self.items.len(),
            Kind::Map(_) => self.entries.len(),
        };
        self.open.push(Open {
            kind,
            start,
            span,
            anchor,
        });
        Ok(())
    }

    /// Puts a finished node where it belongs; the outermost one is the document, and given back.
    fn close(&mut self, node: Node<'t>, anchor: usize) -> Result<Option<Node<'t>>, Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values in one input");
            return Err(Stop::too_large(node.span, message));
        }
        if anchor != 0 {
            let weight = weigh(&node);
            self.anchors.insert(anchor, (node.clone(), weight));
            self.count_aliased(weight, node.span)?;
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => return Ok(Some(node)),
            Some(Kind::List) => self.items.push(node),
            Some(Kind::Map(key)) => match key.take() {
                None => *key = Some(as_key(node)),
                Some((key, span)) => self.entries.push(Entry {
                    key,
                    span,
                    value: node,
                }),
            },
        }
        Ok(None)
    }

    /// The node that an alias stands for. An anchor that is not finished refers to itself.
    fn repeat(&mut self, id: usize, span: Span) -> Result<Node<'t>, Stop> {
        let Some((node, weight)) = self.anchors.get(&id) else {
            return Err(Stop::too_large(
                span,
                "an alias inside the value that it stands for",
            ));
        };
        let weight = *weight;
        let value = node.value.clone();
        self.nodes += weight.nodes;
        self.count_aliased(weight, span)?;
        Ok(Node { span, value })
    }

    /// Copies are counted before they are kept, so that a bomb stops at its first large step.
    fn count_aliased(&mut self, weight: Weight, span: Span) -> Result<(), Stop> {
        self.aliased.nodes += weight.nodes;
        self.aliased.bytes += weight.bytes;
        if self.aliased.nodes > MAX_ALIASED_NODES {
            let message = format!("aliases repeat more than {MAX_ALIASED_NODES} values");
            return Err(Stop::too_large(span, message));
        }
        if self.aliased.bytes > MAX_BYTES {
            let message = format!("aliases repeat more than {MAX_BYTES} bytes");
            return Err(Stop::too_large(span, message));
        }
        Ok(())
    }
}

fn broken(error: &granit_parser::ScanError) -> Stop {
    let message = error.kind().to_string();
    let deep = message.contains("nesting") || message.contains("recursion limit");
    Stop {
        code: if deep { Code::TooLarge } else { Code::Syntax },
        at: position(error.marker()),
        message: if deep {
            format!("nested deeper than {MAX_DEPTH} levels")
        } else {
            message
        },
        help: Some(if deep {
            "a policy needs less than twenty levels"
        } else {
            "look for a quote, a bracket or an indentation that is wrong here or just above"
        }),
    }
}

/// A collection in block style starts with nothing: it is shown by its first key or dash.
fn beginning(text: &str, span: Span, value: &Value<'_>) -> Span {
    if let Value::Map(entries) = value {
        let end = entries.first().map(|entry| entry.span.end);
        let end = end.filter(|end| *end > span.start).unwrap_or(span.end);
        return Span { end, ..span };
    }
    let (before, behind) = text
        .split_at_checked(span.start as usize)
        .unwrap_or_default();
    // One that is not indented is said to start behind its dash.
    let before = before.trim_end();
    let start = match (behind.starts_with('-'), before.strip_suffix('-')) {
        (true, _) => span.start,
        (false, Some(dash)) => offset(dash.len()),
        (false, None) => return span,
    };
    Span {
        start,
        end: start + 1,
    }
}

/// What a tree costs to copy.
fn weigh(node: &Node<'_>) -> Weight {
    let mut weight = Weight { nodes: 1, bytes: 0 };
    let mut add = |bytes: usize, below: Weight| {
        weight.nodes += below.nodes;
        weight.bytes += bytes + below.bytes;
    };
    match &node.value {
        Value::String(text) | Value::Literal(text) => add(text.len(), Weight::default()),
        Value::List(items) => items.iter().for_each(|item| add(0, weigh(item))),
        Value::Map(entries) => entries
            .iter()
            .for_each(|e| add(e.key.len(), weigh(&e.value))),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    weight
}

/// A node in a key's place: a string as it is, anything else as it would be written.
fn as_key(node: Node<'_>) -> (Cow<'_, str>, Span) {
    let text = match node.value {
        Value::String(text) | Value::Literal(text) => text,
        Value::Null => Cow::Borrowed("null"),
        _ => Cow::Owned(node.to_json().to_string()),
    };
    (text, node.span)
}

/// Resolves merge keys (`<<`): what they bring is there unless the mapping says otherwise.
fn merge(entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let brings =
        |e: &Entry<'_>| e.key == "<<" && matches!(e.value.value, Value::Map(_) | Value::List(_));
    if !entries.iter().any(brings) {
        return entries;
    }
    let (merged, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(brings);
    let mut taken: HashSet<Cow<'_, str>> = own.iter().map(|e| e.key.clone()).collect();
    for entry in merged {
        let maps = match entry.value.value {
            Value::List(items) => items,
            value => vec![Node {
                span: entry.span,
                value,
            }],
        };
        for map in maps {
            if let Value::Map(inherited) = map.value {
                let new = inherited
                    .into_iter()
                    .filter(|e| taken.insert(e.key.clone()));
                own.extend(new);
            }
        }
    }
    own
}

/// The value of a scalar. Only a plain one without `!!str` can be anything but a string.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tagged_string: bool) -> Value<'_> {
    match style {
        ScalarStyle::Plain if !tagged_string => plain(text),
        ScalarStyle::Literal => Value::Literal(text),
        _ => Value::String(text),
    }
}

/// The rules of `sigs.k8s.io/yaml` (go-yaml v2), which `kubectl` reads manifests with.
fn plain(text: Cow<'_, str>) -> Value<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        candidate => match number(candidate) {
            Some(number) => Value::Number(number),
            None => Value::String(text),
        },
    }
}

fn number(text: &str) -> Option<Number> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    let clean: Cow<'_, str> = if text.contains('_') {
        text.replace('_', "").into()
    } else {
        text.into()
    };
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, clean.strip_prefix('+').unwrap_or(&clean)),
    };
    let radix = |digits: &str, radix: u32| -> Option<Number> {
        if digits.starts_with(['+', '-']) {
            return None;
        }
        let value = u64::from_str_radix(digits, radix).ok()?;
        if negative {
            i64::try_from(value).ok().map(|v| Number::from(-v))
        } else {
            Some(value.into())
        }
    };
    if let Some((prefix, rest)) = digits.split_at_checked(2) {
        match prefix {
            "0x" | "0X" => return radix(rest, 16),
            "0o" | "0O" => return radix(rest, 8),
            "0b" | "0B" => return radix(rest, 2),
            _ => {}
        }
    }
    if digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit())
        && let Some(octal) = radix(digits, 8)
    {
        return Some(octal);
    }
    if digits.bytes().all(|b| b.is_ascii_digit())
        && let Some(decimal) = radix(digits, 10)
    {
        return Some(decimal);
    }
    let float = digits
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && digits.bytes().any(|b| b.is_ascii_digit());
    if float {
        clean.parse::<f64>().ok().and_then(Number::from_f64)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_of(text: &str) -> serde_json::Value {
        let source = Source::new("t", text);
        let (documents, error) = read(&source);
        assert!(error.is_none(), "{error:?}");
        documents[0].root.to_json()
    }

    #[test]
    fn plain_scalars_have_the_type_that_kubectl_gives_them() {
        for (text, want) in [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("'yes'", json!("yes")),
            ("!!str 12", json!("12")),
            ("0644", json!(420)),
            ("0x1f", json!(31)),
            ("-7", json!(-7)),
            ("1_000", json!(1000)),
            ("1.5e3", json!(1500.0)),
            ("1.2.3", json!("1.2.3")),
            ("-", json!([null])),
            ("123456789012", json!(123_456_789_012_u64)),
            ("089", json!(89)),
            ("+", json!("+")),
            ("2024-01-01", json!("2024-01-01")),
            ("~", json!(null)),
        ] {
            assert_eq!(json_of(text), want, "{text}");
        }
    }

    #[test]
    fn aliases_and_merge_keys_are_resolved_and_a_key_is_its_text() {
        assert_eq!(
            json_of("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\n"),
            json!({"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"y": 3, "x": 1}})
        );
    }

    #[test]
    fn a_large_mapping_is_merged_in_time() {
        let keys: Vec<String> = (0..20_000).map(|i| format!("k{i}: 1")).collect();
        let keys = keys.join(", ");
        let text = format!("a: {{<<: {{{keys}}}, {keys}}}\n");
        assert_eq!(json_of(&text)["a"].as_object().unwrap().len(), 20_000);
    }

    #[test]
    fn json_reads_as_yaml_also_with_long_strings() {
        let long = "x".repeat(100_000);
        let text = format!("{{\"a\": [\"{long}\", {{\"c\": 1}}], \"b\": \"t\\tn\\u0041\"}}");
        assert_eq!(
            json_of(&text),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
    }

    #[test]
    fn a_collection_is_shown_by_what_it_begins_with() {
        for (text, want) in [
            ("a:\n- x", "-"),
            ("a:\n  - x", "-"),
            ("a:\n  b: 1\n  c: 2", "b"),
            ("a:\n  \"b c\": 1", "\"b c\""),
            ("a: {b: 1}", "{"),
            ("a: [1]", "["),
            ("a:\n  -", "-"),
        ] {
            let source = Source::new("t", text);
            let (documents, _) = read(&source);
            let span = documents[0].root.get("a").map(|node| node.span);
            assert_eq!(span.map(|span| span.of(text)), Some(want), "{text:?}");
        }
    }

    #[test]
    fn every_document_has_its_own_text() {
        let source = Source::new("t", "# top\na: 1\n--- # two\nb: 2 # end\n---\n\n");
        let (documents, error) = read(&source);
        assert!(error.is_none());
        let texts: Vec<_> = documents.iter().map(|d| d.span.of(source.text())).collect();
        assert_eq!(texts[..2], ["# top\na: 1\n", " # two\nb: 2 # end\n"]);
    }

    #[test]
    fn hostile_texts_are_one_error_soon() {
        let deep_flow = "[".repeat(100_000);
        let deep_block = (0..2000)
            .map(|i| " ".repeat(i) + "a:\n")
            .collect::<String>();
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let line = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.extend([format!("a{i}: &a{i} [{line}]\n")]);
        }
        let long = format!(
            "a: &a \"\\t{}\"\nb: [{}]",
            "x".repeat(100_000),
            "*a, ".repeat(1_000)
        );
        let wide = "- ".repeat(3) + &"[],".repeat(10);
        for (text, code, why) in [
            (deep_flow.as_str(), Code::TooLarge, "deep flow"),
            (deep_block.as_str(), Code::TooLarge, "deep block"),
            (bomb.as_str(), Code::TooLarge, "alias bomb"),
            (long.as_str(), Code::TooLarge, "a long text, often"),
            ("a: &a [*a]", Code::TooLarge, "an alias inside itself"),
            ("a: *nobody", Code::Syntax, "an unknown alias"),
            ("a: [1", Code::Syntax, "an open list"),
            ("a: b: c", Code::Syntax, "two values"),
            ("a:\n\tb: 1", Code::Syntax, "a tab"),
            (wide.as_str(), Code::Syntax, "nonsense"),
        ] {
            let source = Source::new("t", text);
            let error = read(&source).1.unwrap_or_else(|| panic!("{why}: no error"));
            assert_eq!(error.code, code, "{why}: {error}");
        }
        let huge = Source::new("t", " ".repeat(MAX_BYTES + 1));
        assert_eq!(read(&huge).1.unwrap().code, Code::TooLarge);
    }

    #[test]
    fn a_large_merge_does_not_compare_every_key_with_every_other() {
        let keys = |prefix: &str, n: usize| -> String {
            (0..n)
                .flat_map(|i| ["  ".into(), format!("{prefix}{i}: 1\n")])
                .collect()
        };
        let text = format!(
            "a: &a\n{}b:\n  <<: *a\n{}",
            keys("x", 20_000),
            keys("y", 50_000)
        );
        let source = Source::new("t", text);
        let (documents, error) = read(&source);
        assert!(error.is_none(), "{error:?}");
        let Some(Value::Map(entries)) = documents[0].root.get("b").map(|b| &b.value) else {
            panic!("a mapping")
        };
        assert_eq!(entries.len(), 70_000);
    }
}
