//! Plans of one credential's copies: as tables, and as properties of a model that carries them out.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::plan::refresh::Chance;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn marks(expires: Option<u64>) -> Marks {
    Marks {
        policy: "company".to_owned(),
        source: "ecr".to_owned(),
        expires: expires.map(at),
    }
}

fn value(digest: u8, expires: Option<u64>) -> Value {
    Value {
        digest: Digest::of(&[digest]),
        marks: marks(expires),
    }
}

fn copy(owner: Owner) -> Copy {
    Copy {
        uid: "u".to_owned(),
        version: "7".to_owned(),
        owner,
    }
}

fn ours(digest: u8, expires: Option<u64>) -> Copy {
    copy(Owner::Us {
        digest: Digest::of(&[digest]),
        marks: marks(expires),
    })
}

fn told(plan: &Plan) -> String {
    let steps = plan.steps.iter().map(|step| {
        let action = match &step.action {
            Action::Create => "create",
            Action::Replace { .. } => "replace",
            Action::Remove { .. } => "remove",
        };
        format!("{action} {}: {}", step.namespace, step.reason)
    });
    steps.collect::<Vec<_>>().join("; ")
}

#[test]
#[expect(clippy::too_many_lines, reason = "the table has that many rows")]
fn a_copy_is_written_where_it_is_absent_or_differs_and_removed_where_it_does_not_belong() {
    let reach = |names: &[&str]| {
        names
            .iter()
            .map(|&n| n.into())
            .collect::<BTreeSet<Arc<str>>>()
    };
    let here = reach(&["web"]);
    let nowhere = reach(&[]);
    let good = value(1, Some(100));
    let over = value(1, Some(5));
    let kept = |value| Wanted::Kept {
        value,
        namespaces: &here,
    };
    let left = Wanted::Kept {
        value: Some(&good),
        namespaces: &nowhere,
    };
    let others = || copy(Owner::Others);
    let mut other_policy = ours(1, Some(100));
    if let Owner::Us { marks, .. } = &mut other_policy.owner {
        marks.policy = "former".to_owned();
    }
    for (wanted, copy, want, counts, why) in [
        (
            kept(Some(&good)),
            None,
            "create web: there is none",
            [0, 0, 1, 0],
            "a new namespace",
        ),
        (
            kept(None),
            None,
            "",
            [0, 0, 1, 0],
            "nothing was fetched yet",
        ),
        (
            kept(Some(&over)),
            None,
            "",
            [0, 0, 1, 0],
            "a value that is over goes nowhere",
        ),
        (
            kept(Some(&good)),
            Some(ours(1, Some(100))),
            "",
            [1, 0, 0, 0],
            "as it should be",
        ),
        (
            kept(Some(&good)),
            Some(ours(2, Some(50))),
            "replace web: it holds another value",
            [0, 1, 0, 0],
            "a rotation, or edited by hand",
        ),
        (
            kept(Some(&good)),
            Some(other_policy),
            "replace web: its annotations say something else",
            [1, 0, 0, 0],
            "another policy declares it now",
        ),
        (
            kept(None),
            Some(ours(2, Some(50))),
            "",
            [1, 0, 0, 0],
            "a restart keeps what is there",
        ),
        (
            kept(None),
            Some(ours(2, Some(5))),
            "",
            [0, 1, 0, 0],
            "over, and nothing better is known",
        ),
        (
            kept(Some(&over)),
            Some(ours(2, None)),
            "",
            [0, 1, 0, 0],
            "nor is a value that is over",
        ),
        (
            kept(Some(&good)),
            Some(others()),
            "",
            [0, 0, 0, 1],
            "somebody else's is never touched",
        ),
        (
            left,
            Some(ours(1, Some(100))),
            "remove web: no rule that injects it applies there",
            [0; 4],
            "left",
        ),
        (left, Some(others()), "", [0; 4], "somebody else's stays"),
        (
            Wanted::Retired,
            Some(ours(1, None)),
            "remove web: no policy declares it",
            [0; 4],
            "the row is gone",
        ),
        (
            Wanted::Retired,
            Some(others()),
            "",
            [0; 4],
            "somebody else's stays here as well",
        ),
        (
            Wanted::Watched { namespaces: &here },
            None,
            "",
            [0, 0, 1, 0],
            "others have to make it",
        ),
        (
            Wanted::Watched { namespaces: &here },
            Some(others()),
            "",
            [1, 0, 0, 0],
            "others have made it",
        ),
        (
            Wanted::Watched { namespaces: &here },
            Some(ours(1, None)),
            "",
            [1, 0, 0, 0],
            "once it was ours",
        ),
        (
            Wanted::Watched {
                namespaces: &nowhere,
            },
            Some(ours(1, None)),
            "",
            [0; 4],
            "and it stays",
        ),
    ] {
        let copies = copy.map(|copy| ("web".into(), copy));
        let copies = copies.into_iter().collect();
        let plan = plan(wanted, &copies, &Waits::default(), at(10));
        let [fresh, stale, missing, foreign] = counts;
        let counts = Counts {
            fresh,
            stale,
            missing,
            foreign,
        };
        assert_eq!((&*told(&plan), plan.counts), (want, counts), "{why}");
    }
}

#[test]
fn a_namespace_that_is_written_to_or_failed_is_left_alone_and_the_others_go_on() {
    let namespaces: BTreeSet<Arc<str>> = ["a", "b", "c"].map(Into::into).into();
    let value = value(1, None);
    let wanted = Wanted::Kept {
        value: Some(&value),
        namespaces: &namespaces,
    };
    let mut waits = Waits::default();
    waits.begin(&"a".into());
    let chance = Chance::of(0);
    waits.fail(
        &"b".into(),
        Obstacle::Quota,
        Duration::from_secs(9),
        at(0),
        chance,
    );
    let first = plan(wanted, &BTreeMap::new(), &waits, at(1));
    assert_eq!(told(&first), "create c: there is none");
    assert_eq!(first.wake, Some(at(9)), "then it is tried again");
    let later = plan(wanted, &BTreeMap::new(), &waits, at(9));
    assert_eq!(
        told(&later),
        "create b: there is none; create c: there is none"
    );
}

#[test]
fn new_secrets_come_before_rotations_and_removals() {
    let namespaces: BTreeSet<Arc<str>> = ["b", "c"].map(Into::into).into();
    let value = value(1, None);
    let wanted = Wanted::Kept {
        value: Some(&value),
        namespaces: &namespaces,
    };
    let copies = [("a", ours(1, None)), ("b", ours(2, None))];
    let copies = copies.map(|(name, copy)| (name.into(), copy)).into();
    let plan = plan(wanted, &copies, &Waits::default(), at(0));
    assert_eq!(
        told(&plan),
        "create c: there is none; replace b: it holds another value; \
         remove a: no rule that injects it applies there"
    );
}

/// A cluster that does what it is told, as an API server would.
fn carry_out(copies: &mut BTreeMap<Arc<str>, Copy>, plan: &Plan, value: Option<&Value>) {
    for step in &plan.steps {
        let there = copies.get(&step.namespace);
        match &step.action {
            Action::Create => assert!(there.is_none(), "made over another"),
            Action::Replace { uid } | Action::Remove { uid, .. } => {
                let there = there.expect("nothing to change");
                assert_eq!(&there.uid, uid);
                assert_ne!(there.owner, Owner::Others, "somebody else's was touched");
            }
        }
        if let Action::Remove { .. } = step.action {
            copies.remove(&step.namespace);
        } else {
            let value = value.expect("a value to write");
            let owner = Owner::Us {
                digest: value.digest,
                marks: value.marks.clone(),
            };
            copies.insert(Arc::clone(&step.namespace), copy(owner));
        }
    }
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![
        Just(Owner::Others),
        (0_u8..3, proptest::option::of(0_u64..20)).prop_map(|(digest, expires)| Owner::Us {
            digest: Digest::of(&[digest]),
            marks: marks(expires),
        }),
    ]
}

proptest! {
    #[test]
    fn a_plan_that_is_carried_out_leaves_nothing_to_do_and_nobody_elses_secret_touched(
        there in proptest::collection::btree_map("[a-e]", owner(), 0..5),
        wanted in proptest::collection::btree_set("[a-e]", 0..5),
        fetched in proptest::option::of((0_u8..3, proptest::option::of(0_u64..20))),
        retired in any::<bool>(),
        now in 0_u64..20,
    ) {
        let mut copies: BTreeMap<Arc<str>, Copy> =
            there.into_iter().map(|(name, owner)| (name.into(), copy(owner))).collect();
        let before = copies.clone();
        let namespaces: BTreeSet<Arc<str>> = wanted.into_iter().map(Into::into).collect();
        let value = fetched.map(|(digest, expires)| value(digest, expires));
        let wanted = if retired {
            Wanted::Retired
        } else {
            Wanted::Kept { value: value.as_ref(), namespaces: &namespaces }
        };
        let first = plan(wanted, &copies, &Waits::default(), at(now));
        carry_out(&mut copies, &first, value.as_ref());
        let second = plan(wanted, &copies, &Waits::default(), at(now));
        prop_assert_eq!(&second.steps, &[]);

        for (namespace, held) in &before {
            match &held.owner {
                Owner::Others => prop_assert_eq!(copies.get(namespace), Some(held)),
                Owner::Us { .. } if retired || !namespaces.contains(namespace) => {
                    prop_assert!(!copies.contains_key(namespace));
                }
                Owner::Us { .. } => prop_assert!(copies.contains_key(namespace), "it was lost"),
            }
        }
        for namespace in copies.keys() {
            prop_assert!(before.contains_key(namespace) || namespaces.contains(namespace));
        }
        if !retired {
            let Counts { fresh, stale, missing, foreign } = second.counts;
            prop_assert_eq!(fresh + stale + missing + foreign, namespaces.len());
        }
    }
}

/// An API server that refuses now and then, and a cluster in which others have a hand, too.
struct Model {
    copies: BTreeMap<Arc<str>, Copy>,
    next: u64,
}

impl Model {
    fn make(&mut self, namespace: &Arc<str>, owner: Owner) {
        self.next += 1;
        let copy = Copy {
            uid: self.next.to_string(),
            version: self.next.to_string(),
            owner,
        };
        self.copies.insert(Arc::clone(namespace), copy);
    }

    /// What an API server would do, and answer.
    fn carry_out(&mut self, step: &Step, value: &Value) -> Result<(), Obstacle> {
        let there = self.copies.get(&step.namespace);
        let uid = there.map(|copy| copy.uid.clone());
        match &step.action {
            Action::Create if there.is_some() => return Err(Obstacle::Conflict),
            Action::Replace { uid: wanted } if uid.as_ref() != Some(wanted) => {
                return Err(Obstacle::Conflict);
            }
            Action::Remove { uid, version } => {
                if there.is_some_and(|copy| (&copy.uid, &copy.version) != (uid, version)) {
                    return Err(Obstacle::Conflict);
                }
                self.copies.remove(&step.namespace);
                return Ok(());
            }
            Action::Create | Action::Replace { .. } => {}
        }
        let owner = Owner::Us {
            digest: value.digest,
            marks: value.marks.clone(),
        };
        self.make(&step.namespace, owner);
        if let (Some(uid), Some(copy)) = (uid, self.copies.get_mut(&step.namespace)) {
            copy.uid = uid;
        }
        Ok(())
    }
}

/// What happens between two looks.
#[derive(Clone, Debug)]
enum Turn {
    /// The next writes are refused so, as many as there are; the last ones are carried out all the same, as
    /// when only the answer is lost.
    Refuse(Vec<(Obstacle, bool)>),
    /// What is seen of the cluster is as it was two turns before.
    SeeLate,
    /// A new value was fetched.
    Rotate,
    /// Somebody has deleted the Secret of a namespace, made one of his own there, or edited ours.
    Delete(usize),
    Plant(usize),
    Edit(usize),
    /// A namespace is reached by the rules, or is not any more.
    Reach(usize, bool),
    /// Time goes by.
    Pass(u64),
    /// The clock is set back.
    Back(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    let obstacle = proptest::sample::select(Obstacle::ALL.to_vec());
    let refusals = proptest::collection::vec((obstacle, any::<bool>()), 1..5);
    prop_oneof![
        3 => refusals.prop_map(Turn::Refuse),
        1 => Just(Turn::SeeLate),
        1 => Just(Turn::Rotate),
        1 => (0_usize..5).prop_map(Turn::Delete),
        1 => (0_usize..5).prop_map(Turn::Plant),
        1 => (0_usize..5).prop_map(Turn::Edit),
        1 => (0_usize..5, any::<bool>()).prop_map(|(n, is)| Turn::Reach(n, is)),
        2 => (1_u64..400).prop_map(Turn::Pass),
        1 => (400_u64..50_000).prop_map(Turn::Back),
    ]
}

proptest! {
    #[test]
    fn whatever_was_refused_all_copies_are_right_in_the_end_and_others_untouched(
        turns in proptest::collection::vec(turn(), 1..30),
    ) {
        let names: [Arc<str>; 5] = ["a", "b", "c", "d", "e"].map(Into::into);
        let chance = Chance::of(0);
        let mut model = Model { copies: BTreeMap::new(), next: 0 };
        let mut planted: BTreeMap<Arc<str>, Copy> = BTreeMap::new();
        let mut reach: BTreeSet<Arc<str>> = names[..4].iter().cloned().collect();
        let mut waits = Waits::default();
        let mut now = at(100_000);
        let (mut fetched, mut seen) = (1_u8, BTreeMap::new());
        let mut refusals = Vec::new();
        let mut calls = 0_u32;
        let end = std::iter::repeat_n(Turn::Pass(300), 8);
        for turn in turns.into_iter().chain(end) {
            let is_late = matches!(turn, Turn::SeeLate);
            match turn {
                Turn::Refuse(next) => refusals = next,
                Turn::Rotate => fetched = fetched.wrapping_add(1),
                Turn::Delete(n) => {
                    model.copies.remove(&names[n]);
                    planted.remove(&names[n]);
                }
                Turn::Plant(n) => {
                    model.make(&names[n], Owner::Others);
                    planted.insert(Arc::clone(&names[n]), model.copies[&names[n]].clone());
                }
                Turn::Edit(n) if model.copies.get(&names[n]).is_some_and(|c| c.owner != Owner::Others) => {
                    let uid = model.copies[&names[n]].uid.clone();
                    let Owner::Us { digest, marks } = ours(0, None).owner else { unreachable!() };
                    model.make(&names[n], Owner::Us { digest, marks });
                    model.copies.get_mut(&names[n]).unwrap().uid = uid;
                }
                Turn::SeeLate | Turn::Edit(_) => {}
                Turn::Reach(n, true) => _ = reach.insert(Arc::clone(&names[n])),
                Turn::Reach(n, false) => _ = reach.remove(&names[n]),
                Turn::Pass(seconds) => now += Duration::from_secs(seconds),
                Turn::Back(seconds) => now -= Duration::from_secs(seconds),
            }
            // A watch tells what has changed, sooner or later.
            if !is_late {
                for name in &names {
                    if seen.get(name) != model.copies.get(name) {
                        waits.changed(name);
                    }
                }
                seen = model.copies.clone();
            }
            waits.bound(now);
            let value = value(fetched, None);
            let wanted = Wanted::Kept { value: Some(&value), namespaces: &reach };
            let plan = plan(wanted, &seen, &waits, now);
            prop_assert!(plan.wake.is_none_or(|wake| wake <= now + crate::plan::refresh::LONGEST));
            for step in &plan.steps {
                calls += 1;
                waits.begin(&step.namespace);
                let refusal = refusals.pop();
                let is_carried_out = refusal.is_none_or(|(_, is_lost)| is_lost);
                let answer = if is_carried_out { model.carry_out(step, &value) } else { Ok(()) };
                match refusal.map(|(obstacle, _)| obstacle).or(answer.err()) {
                    Some(obstacle) => _ = waits.fail(&step.namespace, obstacle, Duration::ZERO, now, chance),
                    None => waits.end(&step.namespace),
                }
            }
            for (name, copy) in &planted {
                prop_assert_eq!(model.copies.get(name), Some(copy), "somebody else's was touched");
            }
        }
        prop_assert!(calls < 5 * 60, "{} calls", calls);
        let right = value(fetched, None);
        for name in &names {
            let copy = model.copies.get(name).map(|copy| &copy.owner);
            let is_right = match copy {
                Some(Owner::Others) => planted.contains_key(name),
                Some(Owner::Us { digest, marks }) => {
                    reach.contains(name) && (digest, marks) == (&right.digest, &right.marks)
                }
                None => !reach.contains(name),
            };
            prop_assert!(is_right, "{}: {:?}", name, copy);
        }
    }
}
