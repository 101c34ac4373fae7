//! Whether the process is ready, as a list of named checks that each say what is missing.
//!
//! A check is a value that answers from memory. Nothing here opens a port or asks anybody.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// All is well; the text says what there is.
    Ready(String),
    /// Not ready.
    Waiting {
        /// What is missing.
        why: String,
        /// What whoever runs the process can do about it.
        mend: String,
    },
}

impl State {
    /// All is well, and this is what there is.
    pub fn ready(what: impl Into<String>) -> Self {
        Self::Ready(what.into())
    }

    /// Not ready, why, and what to do about it.
    pub fn waiting(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Waiting {
            why: why.into(),
            mend: mend.into(),
        }
    }
}

/// One condition of readiness.
pub struct Check {
    name: &'static str,
    look: Box<dyn Fn() -> State + Send + Sync>,
}

impl Check {
    /// A check that asks `look` each time. It must answer at once.
    pub fn new(name: &'static str, look: impl Fn() -> State + Send + Sync + 'static) -> Self {
        Self {
            name,
            look: Box::new(look),
        }
    }

    /// A check that somebody else sets.
    #[must_use]
    pub fn switch(name: &'static str, first: State) -> (Self, Switch) {
        let state = Arc::new(ArcSwap::from_pointee(first));
        let switch = Switch(Arc::clone(&state));
        (Self::new(name, move || State::clone(&state.load())), switch)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Sets the state of the check it came with.
#[derive(Clone, Debug)]
pub struct Switch(Arc<ArcSwap<State>>);

impl Switch {
    /// From now on the check says this.
    pub fn set(&self, state: State) {
        self.0.store(Arc::new(state));
    }
}

/// All conditions of readiness. An empty one is ready.
#[derive(Debug, Default)]
pub struct Health {
    checks: Vec<Check>,
}

impl Health {
    /// No condition yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one condition more.
    #[must_use]
    pub fn with(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// What all checks say now.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            lines: self
                .checks
                .iter()
                .map(|check| (check.name, (check.look)()))
                .collect(),
        }
    }
}

/// What all checks said at one moment.
#[derive(Debug)]
pub struct Report {
    lines: Vec<(&'static str, State)>,
}

impl Report {
    /// Whether every check was ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lines
            .iter()
            .all(|(_, state)| matches!(state, State::Ready(_)))
    }

    /// The text of `/readyz`: all checks, or only those that wait.
    #[must_use]
    pub fn text(&self, all: bool) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for (name, state) in &self.lines {
            // Writing into a `String` cannot fail.
            let _ = match state {
                State::Ready(what) if all => writeln!(text, "[+] {name}: {what}"),
                State::Ready(_) => Ok(()),
                State::Waiting { why, mend } => {
                    writeln!(text, "[-] {name}: {why}\n    to mend it: {mend}")
                }
            };
        }
        text.push_str(if self.is_ready() {
            "ready\n"
        } else {
            "not ready\n"
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_waits_and_how_to_mend_it() {
        let (policies, switch) =
            Check::switch("policies", State::waiting("none loaded", "give `--policy`"));
        let health = Health::new()
            .with(Check::new("certificate", || State::ready("until tomorrow")))
            .with(policies);
        let waiting = "[-] policies: none loaded\n    to mend it: give `--policy`\nnot ready\n";
        let report = health.report();
        assert!(!report.is_ready());
        assert_eq!(
            report.text(false),
            waiting,
            "without `verbose` only what waits"
        );
        assert_eq!(
            report.text(true),
            format!("[+] certificate: until tomorrow\n{waiting}")
        );

        switch.set(State::ready("10 rules"));
        let report = health.report();
        assert!(report.is_ready());
        assert_eq!(report.text(false), "ready\n");
        assert_eq!(
            report.text(true),
            "[+] certificate: until tomorrow\n[+] policies: 10 rules\nready\n"
        );
    }

    #[test]
    fn nothing_to_wait_for_is_ready() {
        assert!(Health::new().report().is_ready());
    }
}
