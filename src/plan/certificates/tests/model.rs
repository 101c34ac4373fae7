//! A cluster that does what plans say, with faults in between: who is trusted, and does it end?

use proptest::prelude::*;

use super::*;

/// A serving certificate of the model.
#[derive(Clone, Debug)]
struct Leaf {
    signer: Fingerprint,
    validity: Validity,
}

/// A value and since when it is there; what was before is kept for as long as somebody may lag.
#[derive(Clone, Debug)]
struct History<T>(Vec<(SystemTime, T)>);

impl<T: Clone> History<T> {
    fn now(&self) -> &T {
        &self.0.last().unwrap().1
    }

    fn set(&mut self, at: SystemTime, value: T) {
        self.0.push((at, value));
    }

    /// What somebody who lags by less than `wait` may see.
    fn views(&self, now: SystemTime, wait: Duration) -> Vec<&T> {
        let ends = self.0.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        let all = self.0.iter().zip(ends);
        let all = all.filter(|(_, end)| end.is_none_or(|end| end + wait > now));
        all.map(|((_, value), _)| value).collect()
    }
}

struct Cluster {
    now: SystemTime,
    wanted: Wanted,
    made: u32,
    ca: Held<Ca>,
    serving: Held<Leaf>,
    serving_since: SystemTime,
    /// What webhooks serve with.
    memory: History<Option<Leaf>>,
    /// The caBundles of three entries, each the CAs in it.
    bundles: Vec<History<Vec<Authority>>>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    DeleteCa,
    DeleteServing,
    GarbleCa,
    GarbleServing,
    AddForeign(usize),
    Restart,
    Wipe(usize),
    ReplaceCa,
    Jump(i64),
}

/// What is asked of each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Nothing: caBundles are wiped, clocks jump.
    Nothing,
    /// A CA of the caBundle signed it; a CA lost again and again outlives every certificate.
    Signed,
    /// And nothing has expired.
    Live,
}

impl Cluster {
    fn new(wanted: Wanted) -> Self {
        let now = day(0);
        Self {
            now,
            wanted,
            made: 0,
            ca: Held::Absent,
            serving: Held::Absent,
            serving_since: now,
            memory: History(vec![(now, None)]),
            bundles: vec![History(vec![(now, Vec::new())]); 3],
        }
    }

    fn authority(&mut self, validity: Validity) -> Authority {
        self.made += 1;
        Authority {
            validity,
            ..ca(&format!("ca{}", self.made))
        }
    }

    fn seen(&self) -> Seen {
        let entry = |(n, bundle): (usize, &History<Vec<Authority>>)| Entry {
            name: n.to_string(),
            bundle: bundle.now().iter().flat_map(|a| a.pem.bytes()).collect(),
            authorities: bundle.now().clone(),
        };
        let entries: Vec<_> = self.bundles.iter().enumerate().map(entry).collect();
        let configuration = Configuration {
            entries,
            ..trusting(&[]).remove(0)
        };
        Seen {
            ca: self.ca.clone(),
            serving: match &self.serving {
                Held::Whole(leaf) => Held::Whole(Serving {
                    validity: leaf.validity,
                    names: self.wanted.names.clone(),
                    signed_by: vec![leaf.signer],
                    seen_since: self.serving_since,
                }),
                Held::Unusable(flaw) => Held::Unusable(*flaw),
                Held::Absent | Held::Foreign => Held::Absent,
            },
            configurations: vec![configuration],
        }
    }

    fn ca(&mut self) -> &mut Ca {
        match &mut self.ca {
            Held::Whole(ca) => ca,
            other => panic!("a step needs a CA and there is {other:?}"),
        }
    }

    fn carry_out(&mut self, action: Action) {
        // A write takes its time.
        self.now += Duration::from_millis(20);
        let now = self.now;
        match action {
            Action::MakeCa { validity, keep } => {
                self.ca = Held::Whole(Ca {
                    authority: self.authority(validity),
                    previous: keep,
                    complete_since: None,
                });
            }
            Action::Keep { previous } => {
                let ca = self.ca();
                ca.previous = previous;
                ca.complete_since = None;
            }
            Action::Mark { complete_since } => self.ca().complete_since = complete_since,
            Action::DropOld => {
                let ca = self.ca();
                ca.previous.clear();
                ca.complete_since = None;
            }
            Action::ApplyBundle {
                entries, bundle, ..
            } => {
                let ca = self.ca();
                assert_eq!(bundle, ca.bundle(), "a bundle is what the Secret says");
                let all: Vec<_> = [&ca.authority]
                    .into_iter()
                    .chain(&ca.previous)
                    .cloned()
                    .collect();
                // An apply takes away what it leaves out.
                for (n, bundle) in self.bundles.iter_mut().enumerate() {
                    let named = entries.contains(&n.to_string());
                    bundle.set(now, if named { all.clone() } else { Vec::new() });
                }
            }
            Action::MakeServing { validity } => {
                let signer = self.ca().authority.fingerprint;
                let leaf = Leaf { signer, validity };
                self.serving = Held::Whole(leaf.clone());
                self.serving_since = now;
                self.memory.set(now, Some(leaf));
            }
        }
    }

    fn suffer(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::DeleteCa => self.ca = Held::Absent,
            Fault::DeleteServing => self.serving = Held::Absent,
            Fault::GarbleCa => self.ca = Held::Unusable(Flaw::Malformed),
            Fault::GarbleServing => self.serving = Held::Unusable(Flaw::KeyMismatch),
            Fault::AddForeign(n) => {
                let foreign = self.authority(Validity::starting(now, 10 * DAY));
                let mut bundle = self.bundles[n].now().clone();
                bundle.push(foreign);
                self.bundles[n].set(now, bundle);
            }
            // Another controller goes on: it knows only what is in the cluster.
            Fault::Restart => self.serving_since = UNIX_EPOCH,
            Fault::Wipe(n) => self.bundles[n].set(now, Vec::new()),
            Fault::ReplaceCa => {
                let validity = Validity::starting(now, self.wanted.ca_lifetime);
                self.ca = Held::Whole(Ca {
                    authority: self.authority(validity),
                    previous: Vec::new(),
                    complete_since: None,
                });
            }
            Fault::Jump(seconds) => {
                let by = Duration::from_secs(seconds.unsigned_abs());
                let jump = |at: SystemTime| if seconds < 0 { at - by } else { at + by };
                // It was seen as long ago as before.
                (self.now, self.serving_since) =
                    (jump(now), jump(self.serving_since).max(UNIX_EPOCH));
            }
        }
    }

    /// Whoever an API server may meet is trusted by what it may have read.
    fn check_trust(&self, asked: Trust) -> Result<(), TestCaseError> {
        if asked == Trust::Nothing {
            return Ok(());
        }
        let wait = self.wanted.wait();
        for bundle in &self.bundles {
            for view in bundle.views(self.now, wait) {
                // Before the first installation nobody is called.
                if bundle.0.len() == 1 || view.is_empty() {
                    continue;
                }
                for leaf in self.memory.views(self.now, wait).into_iter().flatten() {
                    let signer = view.iter().find(|a| a.fingerprint == leaf.signer);
                    prop_assert!(signer.is_some(), "{leaf:?} is not trusted by {view:?}");
                    let ends = leaf
                        .validity
                        .not_after
                        .min(signer.unwrap().validity.not_after);
                    let good = self.now <= ends || asked == Trust::Signed;
                    prop_assert!(good, "{leaf:?} has expired");
                }
            }
        }
        Ok(())
    }

    /// Does what is planned until there is nothing to do; says when to look again.
    fn settle(&mut self, asked: Trust) -> Result<SystemTime, TestCaseError> {
        for _ in 0..12 {
            let plan = plan(&self.seen(), &self.wanted.clone(), self.now);
            if plan.steps.is_empty() {
                return Ok(plan.wake.expect("nothing for ever"));
            }
            for step in plan.steps {
                self.carry_out(step.action);
                self.check_trust(asked)?;
            }
        }
        Err(TestCaseError::fail("the plan has no end"))
    }

    /// Lets this much time pass, waking up when the plan says.
    fn pass(&mut self, time: Duration, asked: Trust) -> Result<(), TestCaseError> {
        let end = self.now + time;
        while self.now < end {
            let wake = self.settle(asked)?;
            // Timers are late, never early.
            self.now = self.now.max(wake.min(end)) + Duration::from_millis(5);
            self.check_trust(asked)?;
        }
        self.settle(asked)?;
        Ok(())
    }

    fn check_rest(&self) -> Result<(), TestCaseError> {
        let seen = self.seen();
        let Held::Whole(ca) = &seen.ca else {
            return Err(TestCaseError::fail("there is no CA"));
        };
        prop_assert!(
            ca.previous.is_empty() && ca.complete_since.is_none(),
            "{ca:?}"
        );
        prop_assert!(good_serving(&seen, ca, &self.wanted, self.now).is_ok());
        for bundle in &self.bundles {
            prop_assert_eq!(bundle.now(), &vec![ca.authority.clone()]);
        }
        Ok(())
    }
}

fn lifetimes() -> impl Strategy<Value = Wanted> {
    (
        prop_oneof![10u64..100, 1000..100_000u64],
        prop_oneof![10u64..100, 1000..100_000u64],
    )
        .prop_map(|(ca, certificate)| Wanted {
            ca_lifetime: Duration::from_secs(ca),
            certificate_lifetime: Duration::from_secs(certificate),
            ..wanted()
        })
}

/// What takes no caBundle away and lets no clock jump.
fn harmless() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::DeleteCa),
        Just(Fault::DeleteServing),
        Just(Fault::GarbleCa),
        Just(Fault::GarbleServing),
        (0..3usize).prop_map(Fault::AddForeign),
        Just(Fault::Restart),
        Just(Fault::ReplaceCa),
    ]
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => harmless(),
        1 => (0..3usize).prop_map(Fault::Wipe),
        1 => (-100_000..100_000i64).prop_map(Fault::Jump),
    ]
}

proptest! {
    #[test]
    fn rotations_keep_everybody_trusted_at_every_step(wanted in lifetimes()) {
        let mut cluster = Cluster::new(wanted.clone());
        cluster.settle(Trust::Nothing)?;
        cluster.pass(wanted.wait() * 2, Trust::Nothing)?;
        cluster.pass(wanted.ca_lifetime.min(wanted.certificate_lifetime) * 5, Trust::Live)?;
    }

    #[test]
    fn lost_secrets_and_strangers_in_a_bundle_lose_nobodys_trust(
        wanted in lifetimes(),
        faults in prop::collection::vec((prop::collection::vec(harmless(), 1..3), 0u32..300), 1..8),
    ) {
        let mut cluster = Cluster::new(wanted.clone());
        cluster.settle(Trust::Nothing)?;
        cluster.pass(wanted.wait() * 2, Trust::Nothing)?;
        for (faults, pause) in faults {
            for fault in faults {
                cluster.suffer(fault);
            }
            cluster.pass(wanted.wait() * pause / 100, Trust::Signed)?;
        }
        cluster.pass(wanted.wait() * 5 / 2, Trust::Signed)?;
        cluster.settle(Trust::Signed)?;
    }

    #[test]
    fn whatever_has_happened_it_ends_well(
        wanted in lifetimes(),
        faults in prop::collection::vec((any_fault(), 0u32..300), 1..8),
    ) {
        let mut cluster = Cluster::new(wanted.clone());
        for (fault, pause) in faults {
            cluster.suffer(fault);
            cluster.pass(wanted.wait() * pause / 100, Trust::Nothing)?;
        }
        // Not while a rotation of its own is under way.
        for _ in 0..20 {
            cluster.pass(wanted.wait() / 2, Trust::Nothing)?;
            if cluster.check_rest().is_ok() {
                break;
            }
        }
        cluster.check_rest()?;
    }
}
