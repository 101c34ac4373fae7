//! Passwords that tests have put somewhere, and where they must never turn up: in what a process says.
//!
//! Each is looked for as it is and in base64, alone and behind a user's name, at each of the three places where it can begin.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shorter ones are words that anything may say.
const SHORTEST: usize = 8;

static SEEDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on nobody may say this.
pub(crate) fn seed(password: &str) {
    if password.len() >= SHORTEST {
        let mut seeded = SEEDED.lock().unwrap_or_else(PoisonError::into_inner);
        seeded.insert(password.to_owned());
    }
}

/// Fails when a text says one of them, in whatever form.
pub(crate) fn assert_silent(what: &str, text: &str) {
    let seeded = SEEDED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for password in &seeded {
        for form in forms(password) {
            let Some(at) = text.find(&form) else { continue };
            // What stands before it says where it was said, and not what.
            let start = text.floor_char_boundary(at.saturating_sub(300));
            panic!("{what} says a password, behind:\n{}", &text[start..at]);
        }
    }
}

/// As it is; in base64; and the middle of its base64 when one or two bytes stand before it.
fn forms(password: &str) -> [String; 4] {
    let behind = |before: &str| {
        let text = STANDARD_NO_PAD.encode(format!("{before}{password}"));
        // The first and the last characters also tell of the neighbours.
        let skipped = if before.is_empty() {
            0
        } else {
            before.len() + 1
        };
        let end = text.len() - 2;
        text[skipped..end].to_owned()
    };
    [password.to_owned(), behind(""), behind("x"), behind("xx")]
}

#[test]
fn a_password_is_found_in_each_of_its_forms() {
    let password = "tr0ub4dor-and-3";
    for (text, why) in [
        (format!("auth failed for u:{password}!"), "as it is"),
        (STANDARD_NO_PAD.encode(password), "in base64"),
        (
            STANDARD_NO_PAD.encode(format!("u:{password}")),
            "behind a user",
        ),
        (
            STANDARD_NO_PAD.encode(format!("user:{password}")),
            "behind another",
        ),
        (
            STANDARD_NO_PAD.encode(format!("AWS:{password}")),
            "behind a third",
        ),
        (
            STANDARD_NO_PAD.encode(format!("{{\"password\":\"{password}\"}}")),
            "within JSON",
        ),
    ] {
        let found = forms(password).iter().any(|form| text.contains(form));
        assert!(found, "{why}: {text}");
    }
    let other = STANDARD_NO_PAD.encode("user:something else entirely");
    assert!(!forms(password).iter().any(|form| other.contains(form)));
}
