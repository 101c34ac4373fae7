//! The page of a diagnostic code: `docs/diagnostics.md`, cut at its headings.
//!
//! One text for readers of the documentation, `lint --explain` and the rules of a SARIF log.

use crate::diagnostic::Code;

const PAGES: &str = include_str!("../../docs/diagnostics.md");

/// Where the pages are published.
const URL: &str = "https://pullpass.dev/docs/diagnostics";

/// The page of a code: from its heading to the next.
#[must_use]
pub fn page(code: Code) -> Option<&'static str> {
    let start = PAGES.find(&format!("\n## {code}: "))? + 1;
    let page = PAGES.get(start..)?;
    // The next page begins with its anchor.
    let end = page.find("\n<a id=").unwrap_or(page.len());
    page.get(..end).map(str::trim_end)
}

/// What its heading says: `not YAML, or not UTF-8`.
#[must_use]
pub fn title(code: Code) -> Option<&'static str> {
    let heading = page(code)?.lines().next()?;
    heading.split_once(": ").map(|(_, title)| title)
}

/// The address of the page.
#[must_use]
pub fn url(code: Code) -> String {
    format!("{URL}#{}", code.as_str().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_four_parts_and_an_anchor() {
        for &code in Code::ALL {
            let page = page(code).unwrap_or_else(|| panic!("{code} has no page"));
            for part in ["**What.** ", "**Why.** ", "**Bad**", "**Good**"] {
                assert!(page.contains(&format!("\n{part}")), "{code} has no {part}");
            }
            assert!(!page.contains("<a id="), "{code}: two pages in one");
            let anchor = format!(
                "<a id=\"{}\"></a>\n\n## {code}: ",
                code.as_str().to_lowercase()
            );
            assert!(PAGES.contains(&anchor), "{code} has no anchor");
            assert!(
                title(code).is_some_and(|title| title.len() > 5),
                "{code} has no title"
            );
        }
    }

    #[test]
    fn every_page_is_of_a_code() {
        let pages = PAGES.matches("\n## PP").count();
        assert_eq!(pages, Code::ALL.len());
    }
}
