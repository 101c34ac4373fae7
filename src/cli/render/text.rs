//! Findings as people read them: message, place, the line it is about, what to do; as rustc draws them.
//!
//! An excerpt is at most 120 columns wide whatever the line, and a code is drawn at most twenty times.

use std::collections::BTreeMap;
use std::io::{self, Write};

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use super::{Report, is_unprintable, visible};
use crate::diagnostic::{Code, Diagnostic, Place, Severity};

/// The widest row of an excerpt, its line number included.
const WIDTH: usize = 120;
/// The widest part of a source line: what is left beside a line number of nine digits and the bars.
const WINDOW: usize = WIDTH - 16;
/// How much of a cut line stands in front of what is meant.
const LEAD: usize = 24;
/// A reader who has seen twenty of one kind knows it.
const MOST_OF_ONE_CODE: usize = 20;

/// Draws every finding.
pub fn write(report: &Report<'_>, colored: bool, out: &mut dyn Write) -> io::Result<()> {
    let renderer = if colored {
        Renderer::styled().hyperlink(false)
    } else {
        Renderer::plain()
    };
    // Lines are cut before they get there: the renderer need not.
    let renderer = renderer.term_width(2 * WIDTH);
    let mut drawn: BTreeMap<Code, usize> = BTreeMap::new();
    for finding in report.diagnostics {
        let drawn = drawn.entry(finding.code).or_default();
        *drawn += 1;
        if *drawn <= MOST_OF_ONE_CODE {
            writeln!(out, "{}\n", draw(finding, &renderer))?;
        }
    }
    for (code, count) in drawn
        .into_iter()
        .filter(|(_, count)| *count > MOST_OF_ONE_CODE)
    {
        let more = count - MOST_OF_ONE_CODE;
        let title = level(code).primary_title(format!("{more} more of this code are not shown"));
        writeln!(
            out,
            "{}\n",
            renderer.render(&[title.id(code.as_str()).elements(NONE)])
        )?;
    }
    Ok(())
}

const NONE: [Element<'static>; 0] = [];

fn level(code: Code) -> Level<'static> {
    match code.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    }
}

fn draw(finding: &Diagnostic, renderer: &Renderer) -> String {
    let mut elements: Vec<Element<'_>> = Vec::new();
    let mut corrections = Vec::new();
    let mut quote = |place: &Place, kind: AnnotationKind, label: Option<String>| {
        let excerpt = Excerpt::of(place);
        let start = place.start();
        let path = visible(place.source.name()).into_owned();
        if excerpt.column != start.column {
            // The renderer counts columns in what it is given, which is a part of the line.
            let at = |column| format!("{path}:{}:{column}", start.line);
            corrections.push((at(excerpt.column), at(start.column)));
        }
        if place.source.text().is_empty() {
            elements.push(Origin::path(path).into());
            return;
        }
        let annotation = kind.span(excerpt.start..excerpt.end).label(label);
        let snippet = Snippet::source(excerpt.text)
            .path(path)
            .line_start(start.line);
        elements.push(snippet.annotation(annotation).into());
    };
    if let Some(place) = &finding.place {
        quote(place, AnnotationKind::Primary, None);
        if let Some(holder) = place.source.origin() {
            quote(
                holder,
                AnnotationKind::Context,
                Some("the text is in here".into()),
            );
        }
    }
    if let Some((place, label)) = &finding.related {
        quote(
            place,
            AnnotationKind::Context,
            Some(visible(label).into_owned()),
        );
    }
    if let Some(help) = &finding.help {
        elements.push(Level::HELP.message(visible(help)).into());
    }
    let title = level(finding.code).primary_title(visible(&finding.message));
    let mut text = renderer.render(&[title.id(finding.code.as_str()).elements(elements)]);
    for (wrong, right) in corrections {
        text = text.replacen(&wrong, &right, 1);
    }
    text
}

/// The part of one line that is shown for a place, and which bytes of it are meant.
struct Excerpt {
    text: String,
    start: usize,
    end: usize,
    /// The column, from 1, where `start` stands in `text`.
    column: usize,
}

impl Excerpt {
    fn of(place: &Place) -> Self {
        let text = place.source.text();
        let start = floor(text, place.span.start as usize);
        let head = text.get(..start).unwrap_or_default();
        let tail = text.get(start..).unwrap_or_default();
        let tail = tail.split('\n').next().unwrap_or_default();
        let tail = tail.strip_suffix('\r').unwrap_or(tail);
        let head = head.rsplit('\n').next().unwrap_or_default();
        let meant = (place.span.end.saturating_sub(place.span.start) as usize).min(tail.len());
        let meant = floor(tail, meant);

        // The block scalar's own indentation belongs to the line as the file has it.
        let indent = " ".repeat(place.source.indent().min(WINDOW));
        let whole = indent.len() + width(head, WINDOW) + width(tail, WINDOW) <= WINDOW;
        let mut shown = String::new();
        let lead = if whole {
            shown.push_str(&indent);
            head
        } else {
            let lead = last_columns(head, LEAD);
            if lead.len() < head.len() {
                shown.push('…');
            } else if indent.len() <= LEAD {
                shown.push_str(&indent);
            }
            lead
        };
        shown.extend(lead.chars().map(shown_as));
        let column = shown.chars().count() + 1;
        let start = shown.len();
        let mut room = WINDOW.saturating_sub(width(&shown, WINDOW) + 1);
        let mut end = start;
        for (at, c) in tail.char_indices() {
            let needed = columns(c);
            if !whole && needed > room {
                shown.push('…');
                break;
            }
            room = room.saturating_sub(needed);
            shown.push(shown_as(c));
            if at < meant {
                end = shown.len();
            }
        }
        Self {
            text: shown,
            start,
            end,
            column,
        }
    }
}

/// The next offset at or before `at` that does not split a character.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default()
}

/// How many columns a character takes at most.
fn columns(c: char) -> usize {
    match c {
        '\t' => 4,
        c if c.is_ascii() => 1,
        _ => 2,
    }
}

/// How wide a text is; not counted much further than `most`.
fn width(text: &str, most: usize) -> usize {
    text.chars().take(most + 1).map(columns).sum()
}

/// The end of a text that fits into `most` columns.
fn last_columns(text: &str, most: usize) -> &str {
    let mut used = 0;
    let fits = text.char_indices().rev().take_while(|(_, c)| {
        used += columns(*c);
        used <= most
    });
    let start = fits.last().map_or(text.len(), |(at, _)| at);
    text.get(start..).unwrap_or_default()
}

/// One character for one, so that columns stay true.
fn shown_as(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Source, Span};

    fn drawn(text: &str, meant: &str) -> String {
        let source = Source::new("p.yaml", text);
        let start = u32::try_from(text.find(meant).unwrap()).unwrap();
        let span = Span {
            start,
            end: start + u32::try_from(meant.len()).unwrap(),
        };
        let finding = Diagnostic::new(Code::BadValue, &source, span, "no").help("yes");
        draw(&finding, &Renderer::plain().term_width(2 * WIDTH))
    }

    #[test]
    fn an_excerpt_fits_whatever_the_line() {
        let (x, cjk) = ("x".repeat(400), "中".repeat(200));
        for (text, why) in [
            (format!("a: MEANT{x}"), "a long tail"),
            (format!("{x}MEANT"), "a long head"),
            (format!("{x}MEANT{x}"), "both"),
            (format!("{cjk}MEANT{cjk}"), "wide characters"),
            (format!("{}MEANT", " ".repeat(300)), "deep indentation"),
            (format!("{}MEANT", "\t".repeat(60)), "tabs"),
            (
                format!("{}{}MEANT", "\n".repeat(99_999), " ".repeat(98)),
                "a long line number",
            ),
        ] {
            let text = drawn(&text, "MEANT");
            for row in text.lines() {
                let wide: usize = row.chars().map(columns).sum();
                assert!(wide <= WIDTH, "{why}: {wide} columns in {row}");
            }
            assert!(
                text.contains("MEANT"),
                "{why}: what is meant is shown in {text}"
            );
            assert!(text.contains("^^^^^"), "{why}: and marked in {text}");
        }
        let meant = format!("M{}T", "x".repeat(500));
        let text = drawn(&format!("a: {meant}"), &meant);
        assert!(
            text.lines().all(|row| row.chars().count() <= WIDTH),
            "{text}"
        );
    }

    #[test]
    fn a_cut_line_keeps_its_true_column() {
        let text = drawn(&format!("{}MEANT", "é".repeat(1000)), "MEANT");
        assert!(text.contains("p.yaml:1:1001\n"), "{text}");
    }

    #[test]
    fn an_excerpt_shows_control_characters_and_sends_none() {
        let text = drawn("a: \u{1b}[31m\u{9b}\u{202e}MEANT\r\n", "MEANT");
        assert!(text.contains("a: ␛[31m��MEANT\n"), "{text:?}");
        assert!(text.contains("p.yaml:1:11\n"), "{text:?}");
        assert!(!text.replace('\n', "").contains(is_unprintable), "{text:?}");
    }

    #[test]
    fn twenty_of_one_code_are_drawn_and_the_rest_counted() {
        let source = Source::new("p.yaml", "a: 1\n");
        let one = Diagnostic::new(Code::BadValue, &source, Span::default(), "no");
        let many = vec![one; 25];
        let report = Report {
            diagnostics: &many,
            files: &["p.yaml"],
            policies: 0,
            rejected: 1,
            foreign: 0,
            fail_on: crate::cli::shared::FailOn::Error,
        };
        let mut out = Vec::new();
        write(&report, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("error[PP114]: no").count(), 20);
        assert!(
            text.ends_with("error[PP114]: 5 more of this code are not shown\n\n"),
            "{text}"
        );
    }
}
