//! Rows of what is seen and what is planned, and a model cluster in which plans are carried out.

mod model;

use std::time::{Duration, UNIX_EPOCH};

use super::*;

const DAY: Duration = Duration::from_hours(24);

fn wanted() -> Wanted {
    Wanted {
        ca_lifetime: 365 * DAY,
        certificate_lifetime: 90 * DAY,
        names: vec!["webhook.example".to_owned()],
    }
}

/// Day 0 of the tables.
fn day(n: u32) -> SystemTime {
    UNIX_EPOCH + 1000 * DAY + n * DAY
}

fn authority(name: &str, made: SystemTime, lifetime: Duration) -> Authority {
    Authority {
        fingerprint: Fingerprint::of(name.as_bytes()),
        pem: format!("{name}\n"),
        validity: Validity::starting(made, lifetime),
    }
}

fn ca(name: &str) -> Authority {
    authority(name, day(0), 365 * DAY)
}

fn held_ca(name: &str, previous: &[&str], complete_since: Option<SystemTime>) -> Held<Ca> {
    Held::Whole(Ca {
        authority: ca(name),
        previous: previous.iter().map(|name| ca(name)).collect(),
        complete_since,
    })
}

fn served(signer: &str, made: SystemTime) -> Serving {
    Serving {
        validity: Validity::starting(made, 90 * DAY),
        names: wanted().names,
        signed_by: vec![Fingerprint::of(signer.as_bytes())],
        seen_since: made,
    }
}

/// One configuration whose entry holds these CAs.
fn trusting(names: &[&str]) -> Vec<Configuration> {
    let bundle = names
        .iter()
        .flat_map(|name| [name, "\n"])
        .collect::<String>();
    vec![Configuration {
        id: ConfigurationId {
            kind: ConfigurationKind::Mutating,
            name: "00-pullpass".to_owned(),
        },
        entries: vec![Entry {
            name: "pods.pullpass.dev".to_owned(),
            bundle: bundle.into_bytes(),
            authorities: names.iter().map(|name| ca(name)).collect(),
        }],
    }]
}

fn seen(ca: Held<Ca>, serving: Held<Serving>, configurations: Vec<Configuration>) -> Seen {
    Seen {
        ca,
        serving,
        configurations,
    }
}

/// `action(what)` and the reason, in one line a step.
fn told(plan: &Plan) -> Vec<String> {
    let names = |all: &[Authority]| {
        let names: Vec<_> = all.iter().map(|a| a.pem.trim().to_owned()).collect();
        names.join("+")
    };
    let told = |step: &Step| {
        let action = match &step.action {
            Action::MakeCa { keep, .. } => format!("make CA, keep [{}]", names(keep)),
            Action::Keep { previous } => format!("keep [{}]", names(previous)),
            Action::Mark { complete_since } => {
                let state = complete_since.map_or("incomplete", |_| "complete");
                format!("mark {state}")
            }
            Action::ApplyBundle {
                entries, bundle, ..
            } => format!(
                "bundle {}={}",
                entries.join("+"),
                bundle.trim().replace('\n', "+")
            ),
            Action::MakeServing { .. } => "make serving".to_owned(),
            Action::DropOld => "drop old".to_owned(),
        };
        format!("{action}: {}", step.reason.as_str())
    };
    let mut lines: Vec<_> = plan.steps.iter().map(told).collect();
    lines.extend(plan.foreign.iter().map(|of| format!("foreign {of:?}")));
    lines
}

const PODS: &str = "pods.pullpass.dev";

#[test]
#[expect(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a table with that many rows"
)]
fn what_is_seen_decides_what_is_done_next() {
    use Held::{Absent, Foreign, Unusable, Whole};
    let minute = Duration::from_mins(1);
    let rest = || held_ca("a", &[], None);
    let good = |signer| Whole(served(signer, day(0)));
    let with = |change: fn(&mut Serving)| {
        let mut serving = served("a", day(0));
        change(&mut serving);
        Whole(serving)
    };
    let mut garbage = trusting(&[]);
    garbage[0].entries[0].bundle = b"garbage".to_vec();
    let mut beside = trusting(&["a"]);
    beside[0].entries[0].bundle.extend(b"garbage");
    let mut ahead = ca("a");
    ahead.validity = Validity::starting(day(9), 365 * DAY);
    let ahead = Whole(Ca {
        authority: ahead,
        previous: Vec::new(),
        complete_since: None,
    });
    let soon = day(30) + minute;
    let rows: Vec<(Seen, SystemTime, &[&str], Option<SystemTime>, &str)> = vec![
        (
            seen(Absent, Absent, vec![]),
            day(0),
            &["make CA, keep []: Absent"],
            None,
            "nothing is there",
        ),
        (
            seen(rest(), Absent, trusting(&[])),
            day(0),
            &["bundle pods.pullpass.dev=a: Bundle", "make serving: Absent"],
            Some(day(243) + DAY / 3),
            "a first installation waits for nothing",
        ),
        (
            seen(rest(), good("a"), trusting(&["a"])),
            day(1),
            &[],
            Some(day(60)),
            "all is well until the serving certificate is due",
        ),
        (
            seen(rest(), good("a"), trusting(&["a"])),
            day(60),
            &["make serving: Due"],
            Some(day(243) + DAY / 3),
            "at two thirds of its life; the CA stays, so nobody has to learn anything",
        ),
        (
            seen(rest(), Whole(served("a", day(240))), trusting(&["a"])),
            day(244),
            &["make CA, keep [a]: Due"],
            None,
            "the CA at two thirds of its life; it stays trusted",
        ),
        (
            seen(held_ca("b", &["a"], None), good("a"), trusting(&["a"])),
            day(30),
            &["bundle pods.pullpass.dev=b+a: Bundle"],
            Some(day(243) + DAY / 3),
            "the new CA beside the old one",
        ),
        (
            seen(held_ca("b", &["a"], None), good("a"), trusting(&["b", "a"])),
            day(30),
            &["mark complete: Complete"],
            Some(day(243) + DAY / 3),
            "from now on it is waited",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(30))),
                good("a"),
                trusting(&["b", "a"]),
            ),
            soon - Duration::from_secs(1),
            &[],
            Some(soon),
            "an API server may not have seen it yet",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(30))),
                good("a"),
                trusting(&["b", "a"]),
            ),
            soon,
            &["make serving: Unsigned"],
            Some(day(243) + DAY / 3),
            "a minute later all have",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(40))),
                good("a"),
                trusting(&["b", "a"]),
            ),
            day(30),
            &["mark complete: Complete"],
            Some(day(243) + DAY / 3),
            "a note from the future is not believed",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(30))),
                good("a"),
                trusting(&["a"]),
            ),
            soon,
            &[
                "mark incomplete: Incomplete",
                "bundle pods.pullpass.dev=b+a: Bundle",
            ],
            Some(day(243) + DAY / 3),
            "a caBundle that lost the CA starts the wait anew",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(30))),
                Absent,
                trusting(&["b", "a"]),
            ),
            day(30),
            &[],
            Some(soon),
            "webhooks serve on from memory, under the old CA",
        ),
        (
            seen(
                held_ca("b", &["a"], None),
                with(|s| s.validity.not_after = day(10)),
                trusting(&["a"]),
            ),
            day(30),
            &[
                "bundle pods.pullpass.dev=b+a: Bundle",
                "make serving: Expired",
            ],
            Some(day(243) + DAY / 3),
            "what has expired is not waited for",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(29))),
                Whole(served("b", day(30))),
                trusting(&["b", "a"]),
            ),
            day(30),
            &[],
            Some(soon),
            "a webhook may not have read the new certificate yet",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(29))),
                Whole(served("b", day(30))),
                trusting(&["b", "a"]),
            ),
            soon,
            &["drop old: Swapped"],
            Some(day(90)),
            "a minute later all have",
        ),
        (
            seen(rest(), good("a"), trusting(&["b", "a"])),
            day(1),
            &["bundle pods.pullpass.dev=a: Bundle"],
            Some(day(60)),
            "the old CA, or one that somebody added, leaves the caBundle",
        ),
        (
            seen(rest(), good("a"), garbage),
            day(1),
            &["bundle pods.pullpass.dev=a: Bundle"],
            Some(day(60)),
            "garbage is replaced",
        ),
        (
            seen(rest(), good("a"), beside),
            day(1),
            &["bundle pods.pullpass.dev=a: Bundle"],
            Some(day(60)),
            "garbage beside the CA too",
        ),
        (
            seen(Absent, good("a"), trusting(&["a"])),
            day(30),
            &["make CA, keep [a]: Absent"],
            None,
            "a lost CA is a rotation: the caBundle in force stays",
        ),
        (
            seen(Absent, good("a"), trusting(&["x", "a"])),
            day(30),
            &["make CA, keep [a]: Absent"],
            None,
            "a stranger in the caBundle did not sign what is served",
        ),
        (
            seen(Absent, Absent, trusting(&["x", "a"])),
            day(30),
            &["make CA, keep [x+a]: Absent"],
            None,
            "with both lost, any of them may have signed what webhooks hold in memory",
        ),
        (
            seen(
                held_ca("b", &["a"], Some(day(29))),
                Whole(served("b", day(30))),
                trusting(&["b", "a"]),
            ),
            day(366),
            &["make CA, keep []: Expired"],
            None,
            "after a year away nothing is worth keeping",
        ),
        (
            seen(Unusable(Flaw::KeyMismatch), good("a"), trusting(&["a"])),
            day(30),
            &["make CA, keep [a]: Unusable"],
            None,
            "a key that is not the CA's cannot sign",
        ),
        (
            seen(ahead, good("a"), trusting(&["a"])),
            day(1),
            &["make CA, keep [a]: Early"],
            None,
            "a CA made by a clock ahead: by the right clock it is not valid yet",
        ),
        (
            seen(held_ca("b", &[], None), good("a"), trusting(&["a"])),
            day(1),
            &["keep [a]: Trusted"],
            None,
            "the CA's Secret was replaced: what is served stays trusted",
        ),
        (
            seen(held_ca("b", &[], None), good("a"), trusting(&["b"])),
            day(1),
            &["make serving: Unsigned"],
            Some(day(243) + DAY / 3),
            "nobody trusts what is served: nothing to lose",
        ),
        (
            seen(rest(), Absent, trusting(&["a"])),
            day(30),
            &["make serving: Absent"],
            Some(day(243) + DAY / 3),
            "a lost serving certificate is made again by the same CA",
        ),
        (
            seen(rest(), Unusable(Flaw::Malformed), trusting(&["a"])),
            day(30),
            &["make serving: Unusable"],
            Some(day(243) + DAY / 3),
            "so is one that does not parse",
        ),
        (
            seen(
                rest(),
                with(|s| s.names = vec!["other.example".to_owned()]),
                trusting(&["a"]),
            ),
            day(1),
            &["make serving: Names"],
            Some(day(243) + DAY / 3),
            "`--dns-name` has changed",
        ),
        (
            seen(
                rest(),
                with(|s| s.names = vec!["WEBHOOK.example".to_owned()]),
                trusting(&["a"]),
            ),
            day(1),
            &[],
            Some(day(60)),
            "names know no case",
        ),
        (
            seen(
                rest(),
                with(|s| s.validity.not_before = day(2)),
                trusting(&["a"]),
            ),
            day(1),
            &["make serving: Early"],
            Some(day(243) + DAY / 3),
            "a serving certificate made by a clock ahead",
        ),
        (
            seen(
                rest(),
                with(|s| s.validity.not_after = day(9)),
                trusting(&["a"]),
            ),
            day(10),
            &["make serving: Expired"],
            Some(day(243) + DAY / 3),
            "expired at the start",
        ),
        (
            seen(
                rest(),
                with(|s| s.validity.not_after = day(900)),
                trusting(&["a"]),
            ),
            day(60),
            &["make serving: Due"],
            Some(day(243) + DAY / 3),
            "made for longer than is wanted now",
        ),
        (
            seen(Foreign, good("a"), trusting(&[])),
            day(1),
            &["foreign Ca"],
            None,
            "a Secret of others is never touched, and nothing is known without ours",
        ),
        (
            seen(rest(), Foreign, trusting(&[])),
            day(1),
            &["foreign Serving"],
            None,
            "nor is this one, and its caBundle is its owner's business",
        ),
        (
            seen(rest(), good("a"), vec![]),
            day(1),
            &[],
            Some(day(60)),
            "an absent configuration is waited for",
        ),
        (
            seen(held_ca("b", &["a"], None), good("a"), vec![]),
            day(30),
            &["mark complete: Complete"],
            Some(day(243) + DAY / 3),
            "and does not hold up a rotation",
        ),
    ];
    assert_eq!(PODS, "pods.pullpass.dev", "as in the rows");
    for (seen, now, want, wake, why) in rows {
        let plan = plan(&seen, &wanted(), now);
        assert_eq!(told(&plan), want, "{why}");
        assert_eq!(plan.wake, wake, "{why}: when to look again");
    }
}

#[test]
fn certificates_are_backdated_and_never_outlive_their_ca() {
    let seen = seen(held_ca("a", &[], None), Held::Absent, vec![]);
    for (now, not_after, why) in [
        (day(1), day(91), "its own life"),
        (day(240), day(330), "while the CA lives longer"),
    ] {
        let plan = plan(&seen, &wanted(), now);
        let Some(Action::MakeServing { validity }) = plan.steps.first().map(|s| &s.action) else {
            panic!("{why}: {plan:?}");
        };
        assert_eq!(validity.not_before, now - BACKDATED, "{why}");
        assert_eq!(validity.not_after, not_after, "{why}");
    }
    let long = Wanted {
        certificate_lifetime: 900 * DAY,
        ..wanted()
    };
    let plan = plan(&seen, &long, day(1));
    let Some(Action::MakeServing { validity }) = plan.steps.first().map(|s| &s.action) else {
        panic!("{plan:?}");
    };
    assert_eq!(validity.not_after, day(365), "the CA's end is its end");
}

#[test]
fn the_wait_is_a_tenth_of_the_shorter_life_within_bounds() {
    for (ca, certificate, want) in [
        (365 * DAY, 90 * DAY, 60),
        (365 * DAY, Duration::from_mins(5), 30),
        (Duration::from_secs(200), 90 * DAY, 20),
        (SHORTEST_LIFETIME, SHORTEST_LIFETIME, 1),
    ] {
        let wanted = Wanted {
            ca_lifetime: ca,
            certificate_lifetime: certificate,
            names: Vec::new(),
        };
        assert_eq!(
            wanted.wait(),
            Duration::from_secs(want),
            "{ca:?}, {certificate:?}"
        );
        // What a rotation needs: two waits in the last third.
        assert!(wanted.wait() * 2 < ca.min(certificate) / 3);
    }
}
