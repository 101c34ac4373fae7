//! What the certificate loop says of itself: readiness, metrics, log lines and Events.
//!
//! Each way of failing is told in all of them, with what to do about it. It changes nothing.

use std::time::SystemTime;

use super::super::apply::OURS;
use super::super::events::{Happening, Notice, Regarding};
use super::{Certificates, StepError};
use crate::cluster::explain::explain;
use crate::install::CA_SECRET;
use crate::metrics::{CertificateKind, Reconcile};
use crate::plan::certificates::{Action, ConfigurationId, Held, Plan, Seen, Step, Subject};
use crate::server::health::State;

impl Certificates {
    fn regarding(&self, subject: Subject) -> Regarding {
        Regarding {
            api_version: "v1",
            kind: "Secret",
            namespace: Some(self.options.namespace.clone()),
            name: match subject {
                Subject::Ca => CA_SECRET.to_owned(),
                Subject::Serving => self.options.tls_secret.clone(),
            },
            uid: None,
        }
    }

    pub(super) fn rotated(&self, subject: Subject, note: &str) {
        self.teller.tell(Notice {
            regarding: self.regarding(subject),
            happening: Happening::CertificateRotated,
            note: note.to_owned(),
        });
    }

    /// A step could not be carried out: counted, logged, told, and readiness says it.
    pub(super) fn failed(&self, step: &Step, error: &StepError) {
        self.metrics.reconcile_failed(Reconcile::Certificates);
        let (regarding, what) = match &step.action {
            Action::ApplyBundle { configuration, .. } => {
                let what = format!("the caBundle of the {configuration}");
                (about(configuration), what)
            }
            Action::MakeServing { .. } => {
                let regarding = self.regarding(Subject::Serving);
                let what = format!("the Secret `{}`", regarding.name);
                (regarding, what)
            }
            _ => (
                self.regarding(Subject::Ca),
                format!("the Secret `{CA_SECRET}`"),
            ),
        };
        let status = match error {
            StepError::Write(error) => error.status(),
            _ => None,
        };
        let (why, mend) = explain(&what, "written", status, error);
        let reason = &step.reason;
        tracing::error!(%reason, why, mend, "cannot keep the certificates");
        self.teller.tell(Notice {
            regarding,
            happening: Happening::CertificateRotationFailed,
            note: format!("{why}; {mend} ({reason})"),
        });
        self.switch.set(State::waiting(why, mend));
    }

    /// A Secret of others stands where ours should be.
    pub(super) fn foreign(&self, subjects: &[Subject]) {
        for subject in subjects {
            let regarding = self.regarding(*subject);
            let (why, mend) = explain_foreign(&regarding.name);
            tracing::error!(why, mend, "cannot keep the certificates");
            self.metrics.reconcile_failed(Reconcile::Certificates);
            self.teller.tell(Notice {
                regarding,
                happening: Happening::CertificateRotationFailed,
                note: format!("{why}; {mend}"),
            });
            self.switch.set(State::waiting(why, mend));
        }
    }

    /// Readiness and metrics.
    pub(super) fn show(&self, seen: &Seen, plan: &Plan, now: SystemTime) {
        if let Held::Whole(ca) = &seen.ca {
            let at = ca.authority.validity.not_after;
            self.metrics.certificate_expires(CertificateKind::Ca, at);
        }
        if let Held::Whole(serving) = &seen.serving {
            let at = serving.validity.not_after;
            self.metrics
                .certificate_expires(CertificateKind::Serving, at);
        }
        if !plan.foreign.is_empty() {
            return;
        }
        if let Some(step) = plan.steps.first() {
            // A moment before it is done, or while another replica leads.
            let reason = step.reason.to_string();
            let mend = "nothing: the replica that leads is about to mend it";
            let state = if is_good(seen, now) {
                State::ready(format!("in use; to be changed: {reason}"))
            } else {
                State::waiting(reason, mend)
            };
            self.switch.set(state);
        } else if let (Held::Whole(ca), Held::Whole(_)) = (&seen.ca, &seen.serving) {
            self.switch.set(State::ready(if ca.previous.is_empty() {
                "in order"
            } else {
                "in use; the CA is being replaced"
            }));
        } else {
            let why = "the serving certificate is lost and waits for its CA to be known";
            let mend = "nothing: it is made within a minute";
            self.switch.set(State::waiting(why, mend));
        }
    }
}

/// Whether what is there could be served with.
fn is_good(seen: &Seen, now: SystemTime) -> bool {
    match &seen.serving {
        Held::Whole(serving) => {
            let validity = serving.validity;
            now >= validity.not_before && now <= validity.not_after && !serving.signed_by.is_empty()
        }
        _ => false,
    }
}

fn explain_foreign(name: &str) -> (String, &'static str) {
    let (label, value) = OURS;
    (
        format!("the Secret `{name}` is not pullpass's: it has no label `{label}: {value}`"),
        "delete or rename it, or give `--tls-secret` another name; it is never overwritten",
    )
}

pub(super) fn about(id: &ConfigurationId) -> Regarding {
    Regarding {
        api_version: "admissionregistration.k8s.io/v1",
        kind: id.kind.as_str(),
        namespace: None,
        name: id.name.clone(),
        uid: None,
    }
}
