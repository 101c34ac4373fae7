//! A decision's service account + the Pod as received → what a switch would take, or why there is none.
//!
//! The ServiceAccount admission plugin ran before us with the old account: its pull secrets are copied,
//! its token is mounted. A switch has to end where a Pod that asked for the account itself would be,
//! and must never lead to a Pod that the plugin refuses on its rerun, because that refusal ignores the
//! failurePolicy. Nothing here writes a patch.

use super::authored::Authored;
use super::json::{List, read_raw};
use super::line::quoted;
use super::review::{EnvFromView, Pod, Spec, Variable};
use super::token::{self, TokenRemoval};
use super::{AccountChange, Warning};
use crate::diagnostic::Code;
use crate::policy::decide::AccountNeed;
use crate::policy::document::{OnMissingAccount, ReplaceAccount};
use crate::snapshot::{Account, AccountLookup, Accounts};

/// The account of a Pod that names none.
pub(crate) const DEFAULT: &str = "default";

/// An account of which nothing is known but that it is taken to exist.
static ASSUMED: Account = Account {
    image_pull_secrets: Vec::new(),
    secrets: Vec::new(),
    automount: None,
    enforcing: false,
};

/// What becomes of the Pod's account.
#[derive(Debug, Default)]
pub(crate) struct AccountPlan<'t, 's> {
    /// The account to switch to.
    pub switch_to: Option<&'t str>,
    /// The account that the decision asks for and that the Pod has or gets.
    pub settled: Option<&'t str>,
    /// Pull secrets of the new account.
    pub pull_secrets: &'s [Box<str>],
    /// Positions in the Pod's `imagePullSecrets` that the new account forbids, in order.
    pub forbidden: Vec<usize>,
    /// What of the old account's token goes.
    pub token: Option<TokenRemoval>,
    /// The account whose lists bound what may be injected, and its name.
    pub enforcing: Option<(&'s Account, String)>,
    /// For the metric.
    pub change: Option<AccountChange>,
    /// Why the Pod is refused.
    pub denial: Option<String>,
}

impl Account {
    /// Whether a Pod under it may name the pull secret, when it enforces.
    pub(crate) fn pulls(&self, name: &str) -> bool {
        self.image_pull_secrets
            .iter()
            .any(|listed| **listed == *name)
    }

    /// Whether a Pod under it may use the Secret, when it enforces.
    pub(crate) fn mounts(&self, name: &str) -> bool {
        self.secrets.iter().any(|listed| **listed == *name)
    }
}

/// A Pod whose account is to be looked at.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'p> {
    /// The Pod, for its `managedFields`.
    pub pod: &'p Pod<'p>,
    /// Its spec.
    pub spec: &'p Spec<'p>,
    /// Its namespace.
    pub namespace: &'p str,
    /// The account it is taken to run under.
    pub account: &'p str,
}

/// Says what becomes of a Pod's account.
pub(crate) fn plan<'t, 's>(
    subject: Subject<'_>,
    need: Option<&AccountNeed<'t>>,
    accounts: &'s Accounts,
    warnings: &mut Vec<Warning>,
) -> AccountPlan<'t, 's> {
    let staying = staying(subject, accounts);
    let Some(need) = need else { return staying };
    report_overruled(need, warnings);
    let wanted = need.account.name.as_str();
    if wanted == subject.account {
        return AccountPlan {
            settled: Some(wanted),
            ..staying
        };
    }
    let replaceable = match need.account.replace {
        ReplaceAccount::Always => true,
        ReplaceAccount::IfDefault | ReplaceAccount::IfUnset => subject.account == DEFAULT,
    };
    if !replaceable {
        return staying;
    }
    let authored = Authored::read(subject.pod);
    if need.account.replace == ReplaceAccount::IfUnset && is_set(subject.spec, authored.as_ref()) {
        return staying;
    }
    match switch(subject, need, accounts, authored.as_ref(), warnings) {
        Ok(plan) => plan,
        Err(Refusal { code, change, why }) => {
            let change = Some(change);
            let account = subject.account;
            match need.account.on_missing {
                OnMissingAccount::Deny => AccountPlan {
                    change,
                    denial: Some(why),
                    ..staying
                },
                OnMissingAccount::Skip => {
                    let message = format!("{why}; the Pod keeps {}", quoted(account));
                    warnings.push(Warning::new(code, message));
                    AccountPlan { change, ..staying }
                }
            }
        }
    }
}

fn report_overruled(need: &AccountNeed<'_>, warnings: &mut Vec<Warning>) {
    for rule in &need.overruled {
        let other = rule.account().map_or("", |account| account.name.as_str());
        let message = format!(
            "rule `{}` asks for service account `{}`, and `{rule}` for `{other}`: the first in table order wins",
            need.rule, need.account.name,
        );
        warnings.push(Warning::new(Code::AccountConflict, message));
    }
}

/// The Pod keeps its account; an enforcing one still bounds what may be injected.
fn staying<'t, 's>(subject: Subject<'_>, accounts: &'s Accounts) -> AccountPlan<'t, 's> {
    let enforcing = match accounts.get(subject.namespace, subject.account) {
        AccountLookup::Known(account) if account.enforcing => {
            Some((account, subject.account.to_owned()))
        }
        _ => None,
    };
    AccountPlan {
        enforcing,
        ..AccountPlan::default()
    }
}

/// Whether the author named the account `default` himself.
fn is_set(spec: &Spec<'_>, authored: Option<&Authored>) -> bool {
    match authored {
        Some(authored) => authored.account,
        // The API server fills in both fields, a manifest has the first if any.
        None => !spec.service_account_name.is_empty() && spec.service_account.is_none(),
    }
}

/// Why a switch that is due is not made.
struct Refusal {
    code: Code,
    change: AccountChange,
    why: String,
}

fn switch<'t, 's>(
    subject: Subject<'_>,
    need: &AccountNeed<'t>,
    accounts: &'s Accounts,
    authored: Option<&Authored>,
    warnings: &mut Vec<Warning>,
) -> Result<AccountPlan<'t, 's>, Refusal> {
    let Subject {
        spec, namespace, ..
    } = subject;
    let name = need.account.name.as_str();
    let asks = || format!("rule `{}` asks for service account `{name}`", need.rule);
    let account = match accounts.get(namespace, name) {
        AccountLookup::Known(account) => account,
        AccountLookup::Assumed => &ASSUMED,
        AccountLookup::Missing => {
            return Err(Refusal {
                code: Code::AccountMissing,
                change: AccountChange::Missing,
                why: format!("{}, which does not exist in {}", asks(), quoted(namespace)),
            });
        }
    };
    let mut forbidden = Vec::new();
    if account.enforcing {
        let old = accounts.get(namespace, subject.account);
        let inherited = inherited(spec, authored, old);
        if let Some(what) = unlisted(spec, account, &inherited) {
            return Err(Refusal {
                code: Code::AccountRefuses,
                change: AccountChange::Refused,
                why: format!(
                    "{}, which enforces mountable secrets and does not list {what}",
                    asks()
                ),
            });
        }
        for (i, pulled) in spec.pull_secrets().enumerate() {
            if inherited.get(i) == Some(&true) && !account.pulls(pulled) {
                forbidden.push(i);
                let message = format!(
                    "pull secret {} of service account {} is taken away: `{name}` enforces mountable \
                     secrets and does not list it in `imagePullSecrets`",
                    quoted(pulled),
                    quoted(subject.account),
                );
                warnings.push(Warning::new(Code::AccountDoesNotList, message));
            }
        }
    }
    let mounts_none = account.automount == Some(false) && spec.automount.is_none();
    Ok(AccountPlan {
        switch_to: Some(name),
        settled: Some(name),
        pull_secrets: &account.image_pull_secrets,
        forbidden,
        token: mounts_none
            .then(|| token::removal(spec, authored))
            .flatten(),
        enforcing: account.enforcing.then(|| (account, name.to_owned())),
        change: Some(AccountChange::Switched),
        denial: None,
    })
}

/// For each pull secret whether the old account, or another webhook, brought it and not the author.
/// Without `managedFields`: whether the old account lists it.
fn inherited(spec: &Spec<'_>, authored: Option<&Authored>, old: AccountLookup<'_>) -> Vec<bool> {
    let is_inherited = |name: &str| match (authored, old) {
        (Some(authored), _) => !authored.pull_secrets.contains(name),
        (None, AccountLookup::Known(old)) => old.pulls(name),
        (None, AccountLookup::Assumed | AccountLookup::Missing) => false,
    };
    spec.pull_secrets().map(is_inherited).collect()
}

/// The first thing of the Pod that an enforcing account does not list, and that would stay. These are
/// the checks of the plugin's `limitSecretReferences`.
fn unlisted(spec: &Spec<'_>, account: &Account, inherited: &[bool]) -> Option<String> {
    let mut own = spec
        .pull_secrets()
        .zip(inherited)
        .filter(|(_, inherited)| !**inherited);
    if let Some((name, _)) = own.find(|(name, _)| !account.pulls(name)) {
        return Some(format!("the Pod's pull secret {}", quoted(name)));
    }
    let volumes = spec
        .volumes
        .iter()
        .filter_map(|volume| volume.secret.as_ref());
    if let Some(secret) = volumes
        .into_iter()
        .find(|secret| !account.mounts(&secret.name))
    {
        return Some(format!("the Secret {} of a volume", quoted(&secret.name)));
    }
    let lists = [
        &spec.init_containers,
        &spec.containers,
        &spec.ephemeral_containers,
    ];
    for container in lists.into_iter().flat_map(|list| list.iter()) {
        let (Ok(variables), Ok(sources)) = (
            read_raw::<List<Variable<'_>>>(container.env),
            read_raw::<List<EnvFromView<'_>>>(container.env_from),
        ) else {
            return Some(format!(
                "what the environment of {} holds",
                quoted(&container.name)
            ));
        };
        let of_variables = variables
            .iter()
            .filter_map(|variable| variable.value_from.as_ref()?.secret.as_ref());
        for (secret, what) in of_variables.map(|secret| (secret, "a variable")).chain(
            sources
                .iter()
                .filter_map(|source| Some((source.secret.as_ref()?, "an `envFrom`"))),
        ) {
            if !account.mounts(&secret.name) {
                return Some(format!("the Secret {} of {what}", quoted(&secret.name)));
            }
        }
    }
    None
}
