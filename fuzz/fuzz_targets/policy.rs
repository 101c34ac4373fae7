//! Any text → policies, findings and a table. Nothing may panic, hang, or point outside of its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass::diagnostic::Source;
use pullpass::policy::table::Table;
use pullpass::policy::{ParseOptions, checks, parse};

fuzz_target!(|text: &str| {
    let options = ParseOptions {
        tenant_policies: true,
        ..ParseOptions::default()
    };
    let mut parsed = parse(&Source::new("fuzz.yaml", text), &options);
    checks::run(&mut parsed);
    for finding in &parsed.diagnostics {
        if let Some(place) = &finding.place {
            let span = place.span.start as usize..place.span.end as usize;
            assert!(place.source.text().get(span).is_some(), "{finding}");
        }
    }
    let _ = Table::new(parsed.policies);
});
