//! A pattern and an image reference, a line each: parsing ends, what is parsed prints as a reference
//! equal to it, and the index agrees with the naive matcher.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pullpass::diagnostic::Source;
use pullpass::image::ImageRef;
use pullpass::policy::pattern::Candidate;
use pullpass::policy::table::Table;
use pullpass::policy::{ParseOptions, parse};

fuzz_target!(|text: &str| {
    let (pattern, image) = text.split_once('\n').unwrap_or(("*", text));
    let Ok(image) = ImageRef::parse(image) else {
        return;
    };
    let printed = image.to_string();
    assert_eq!(ImageRef::parse(&printed).as_ref(), Ok(&image), "{printed}");
    let quoted = pattern.replace('\'', "''");
    let policy = format!(
        "apiVersion: pullpass.dev/v1\nkind: RegistryPolicy\nmetadata: {{name: p}}\nspec:\n  rules:\n  \
         - {{name: r, match: {{images: ['{quoted}']}}, inject: {{}}}}\n"
    );
    let parsed = parse(&Source::new("fuzz.yaml", policy), &ParseOptions::default());
    let table = Table::new(parsed.policies);
    let candidate = Candidate::new(&image);
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    table.hits(&candidate, "web", &mut fast);
    table.hits_naively(&candidate, "web", &mut slow);
    assert_eq!(fast.len(), slow.len(), "{pattern} on {image}");
});
