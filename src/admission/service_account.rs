//! A decision's service account + the Pod as received → what a switch would take, or why there is none.
//!
//! The ServiceAccount admission plugin ran before us with the old account: its pull secrets are copied,
//! its token is mounted. A switch has to end where a Pod that asked for the account itself would be,
//! and must never lead to a Pod that the plugin refuses on its rerun, because that refusal ignores the
//! failurePolicy. Nothing here writes a patch.

use std::collections::HashSet;

use serde_json::Value;

use super::review::{Container, List, Mount, Pod, Spec, Variable, read_raw};
use super::{AccountChange, Warning};
use crate::diagnostic::Code;
use crate::policy::decide::AccountNeed;
use crate::policy::document::{OnMissingAccount, ReplaceAccount};
use crate::snapshot::{Account, AccountLookup, Accounts};

/// The account of a Pod that names none.
pub(crate) const DEFAULT: &str = "default";
/// Where the plugin mounts an account's token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the plugin's volume is called, with five random characters behind.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// What becomes of the Pod's account.
#[derive(Debug, Default)]
pub(crate) struct AccountPlan<'t, 's> {
    /// The account to switch to.
    pub switch_to: Option<&'t str>,
    /// The account that the decision asks for and that the Pod has or gets.
    pub settled: Option<&'t str>,
    /// Pull secrets of the new account.
    pub pull_secrets: &'s [Box<str>],
    /// Positions in the Pod's `imagePullSecrets` that the new account forbids.
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

/// The plugin's token volume and the mounts of it, by position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenRemoval {
    /// Containers and their mounts at the token's path.
    pub mounts: Vec<(ContainerKind, usize, usize)>,
    /// The volume, when nothing else mounts it.
    pub volume: Option<usize>,
}

/// The two lists of containers that the plugin mounts a token into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    /// `spec.containers`.
    Container,
    /// `spec.initContainers`.
    Init,
}

impl ContainerKind {
    /// The field of `spec`.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Container => "containers",
            Self::Init => "initContainers",
        }
    }
}

/// Says what becomes of a Pod's account.
pub(crate) fn plan<'t, 's>(
    pod: &Pod<'_>,
    spec: &Spec<'_>,
    namespace: &str,
    need: Option<&AccountNeed<'t>>,
    accounts: &'s Accounts,
    warnings: &mut Vec<Warning>,
) -> AccountPlan<'t, 's> {
    let current = match &*spec.service_account_name {
        "" => DEFAULT,
        name => name,
    };
    if let Some(need) = need {
        report_overruled(need, warnings);
        let wanted = need.account.name.as_str();
        if wanted == current {
            let settled = Some(wanted);
            return AccountPlan {
                settled,
                ..staying(current, namespace, accounts)
            };
        }
        let authored = Authored::read(pod);
        if is_due(need.account.replace, current, spec, authored.as_ref()) {
            return switch(
                spec,
                namespace,
                current,
                need,
                accounts,
                authored.as_ref(),
                warnings,
            );
        }
    }
    staying(current, namespace, accounts)
}

fn report_overruled(need: &AccountNeed<'_>, warnings: &mut Vec<Warning>) {
    for rule in &need.overruled {
        let other = rule.account().map_or("", |account| account.name.as_str());
        warnings.push(Warning::new(
            Code::AccountConflict,
            format!(
                "{} asks for service account {}, and {rule} for {other}: the first in table order wins",
                need.rule,
                need.account.name,
            ),
        ));
    }
}

/// The Pod keeps its account; an enforcing one still bounds what may be injected.
fn staying<'t, 's>(name: &str, namespace: &str, accounts: &'s Accounts) -> AccountPlan<'t, 's> {
    let enforcing = match accounts.get(namespace, name) {
        AccountLookup::Known(account) if account.enforcing => Some((account, name.to_owned())),
        _ => None,
    };
    AccountPlan {
        enforcing,
        ..AccountPlan::default()
    }
}

fn is_due(
    replace: ReplaceAccount,
    current: &str,
    spec: &Spec<'_>,
    authored: Option<&Authored>,
) -> bool {
    match replace {
        ReplaceAccount::Always => true,
        ReplaceAccount::IfDefault => current == DEFAULT,
        ReplaceAccount::IfUnset => match authored {
            Some(authored) => !authored.account,
            // Without managedFields: the plugin writes both fields, a person only the first.
            None => {
                spec.service_account_name.is_empty()
                    || (current == DEFAULT && spec.service_account.is_some())
            }
        },
    }
}

fn switch<'t, 's>(
    spec: &Spec<'_>,
    namespace: &str,
    current: &str,
    need: &AccountNeed<'t>,
    accounts: &'s Accounts,
    authored: Option<&Authored>,
    warnings: &mut Vec<Warning>,
) -> AccountPlan<'t, 's> {
    let name = need.account.name.as_str();
    let refuse = |code, change, why: String, warnings: &mut Vec<Warning>| {
        let mut plan = staying(current, namespace, accounts);
        plan.change = Some(change);
        match need.account.on_missing {
            OnMissingAccount::Deny => plan.denial = Some(why),
            OnMissingAccount::Skip => {
                warnings.push(Warning::new(
                    code,
                    format!("{why}; the Pod keeps {current}"),
                ));
            }
        }
        plan
    };
    static ASSUMED: Account = Account {
        image_pull_secrets: Vec::new(),
        secrets: Vec::new(),
        automount: None,
        enforcing: false,
    };
    let account = match accounts.get(namespace, name) {
        AccountLookup::Known(account) => account,
        AccountLookup::Assumed => &ASSUMED,
        AccountLookup::Missing => {
            let why = format!(
                "{} asks for service account {namespace}/{name}, which does not exist",
                need.rule
            );
            return refuse(Code::AccountMissing, AccountChange::Missing, why, warnings);
        }
    };
    let inherited = inherited(spec, authored, accounts.get(namespace, current));
    let mut forbidden = Vec::new();
    if account.enforcing {
        if let Some(what) = unlisted(spec, account, &inherited) {
            let why = format!(
                "{} asks for service account {namespace}/{name}, which enforces mountable secrets and does not list {what}",
                need.rule
            );
            return refuse(Code::AccountRefuses, AccountChange::Refused, why, warnings);
        }
        let listed = |name: &str| account.image_pull_secrets.iter().any(|l| **l == *name);
        let pod_secrets = spec.image_pull_secrets.as_deref().unwrap_or_default();
        forbidden = inherited
            .iter()
            .copied()
            .filter(|i| pod_secrets.get(*i).is_some_and(|s| !listed(&s.name)))
            .collect();
    }
    let token = (account.automount == Some(false) && spec.automount.is_none())
        .then(|| token_removal(spec, authored))
        .filter(|removal| *removal != TokenRemoval::default());
    AccountPlan {
        switch_to: Some(name),
        settled: Some(name),
        pull_secrets: &account.image_pull_secrets,
        forbidden,
        token,
        enforcing: account.enforcing.then(|| (account, name.to_owned())),
        change: Some(AccountChange::Switched),
        denial: None,
    }
}

/// Positions of pull secrets that the old account brought and the author did not write. Without
/// managedFields: those that the old account lists.
fn inherited(spec: &Spec<'_>, authored: Option<&Authored>, old: AccountLookup<'_>) -> Vec<usize> {
    let old_list = match old {
        AccountLookup::Known(account) => account.image_pull_secrets.as_slice(),
        _ => &[],
    };
    let is_inherited = |name: &str| match authored {
        Some(authored) => !authored.pull_secrets.contains(name),
        None => old_list.iter().any(|listed| **listed == *name),
    };
    let entries = spec.image_pull_secrets.as_deref().unwrap_or_default();
    (0..entries.len())
        .filter(|i| entries.get(*i).is_some_and(|e| is_inherited(&e.name)))
        .collect()
}

/// The first thing of the Pod that an enforcing account does not list, and that would stay. These are
/// the checks of the plugin's `limitSecretReferences`.
fn unlisted(spec: &Spec<'_>, account: &Account, inherited: &[usize]) -> Option<String> {
    let pulls = |name: &str| account.image_pull_secrets.iter().any(|l| **l == *name);
    let mounts = |name: &str| account.secrets.iter().any(|l| **l == *name);
    let entries = spec.image_pull_secrets.as_deref().unwrap_or_default();
    for (i, entry) in entries.iter().enumerate() {
        if !inherited.contains(&i) && !pulls(&entry.name) {
            return Some(format!("the Pod's pull secret {:?}", &*entry.name));
        }
    }
    for volume in spec.volumes.iter() {
        if let Some(secret) = &volume.secret {
            if !mounts(&secret.name) {
                return Some(format!("the Secret {:?} of a volume", &*secret.name));
            }
        }
    }
    let containers = spec
        .init_containers
        .iter()
        .chain(spec.containers.iter())
        .chain(spec.ephemeral_containers.iter());
    for container in containers {
        for variable in read_raw::<List<Variable<'_>>>(container.env).iter() {
            let secret = variable
                .value_from
                .as_ref()
                .and_then(|from| from.secret.as_ref());
            if let Some(secret) = secret.filter(|secret| !mounts(&secret.name)) {
                return Some(format!("the Secret {:?} of a variable", &*secret.name));
            }
        }
        for source in container.env_from.iter().flat_map(|list| list.iter()) {
            if let Some(secret) = source
                .secret
                .as_ref()
                .filter(|secret| !mounts(&secret.name))
            {
                return Some(format!("the Secret {:?} of an envFrom", &*secret.name));
            }
        }
    }
    None
}

/// What of the plugin's token is removed when the new account mounts none.
fn token_removal(spec: &Spec<'_>, authored: Option<&Authored>) -> TokenRemoval {
    let is_plugins = |name: &str| {
        name.starts_with(TOKEN_VOLUME) && authored.is_none_or(|a| !a.volumes.contains(name))
    };
    let volume = spec.volumes.iter().enumerate().find(|(_, volume)| {
        let token = volume.projected.as_ref().is_some_and(|projected| {
            projected
                .sources
                .iter()
                .any(|source| source.token.is_some())
        });
        token && is_plugins(&volume.name)
    });
    let Some((position, volume)) = volume else {
        return TokenRemoval::default();
    };
    let mut removal = TokenRemoval::default();
    let mut mounted_elsewhere = false;
    let mut look = |kind, containers: &[Container<'_>]| {
        for (i, container) in containers.iter().enumerate() {
            let mounts = read_raw::<List<Mount<'_>>>(container.volume_mounts);
            for (j, mount) in mounts
                .iter()
                .enumerate()
                .filter(|(_, m)| *m.name == *volume.name)
            {
                match kind {
                    Some(kind) if *mount.path == *TOKEN_PATH => removal.mounts.push((kind, i, j)),
                    _ => mounted_elsewhere = true,
                }
            }
        }
    };
    look(Some(ContainerKind::Container), &spec.containers);
    look(Some(ContainerKind::Init), &spec.init_containers);
    look(None, &spec.ephemeral_containers);
    removal.volume = (!mounted_elsewhere).then_some(position);
    removal
}

/// What the Pod's author wrote himself, as `managedFields` tells. What a plugin or another webhook
/// added does not stand there: it is computed before admission.
#[derive(Debug, Default)]
struct Authored {
    account: bool,
    pull_secrets: HashSet<String>,
    volumes: HashSet<String>,
}

impl Authored {
    /// `None` when there are no managedFields that can be read.
    fn read(pod: &Pod<'_>) -> Option<Self> {
        let raw = pod.metadata.as_ref()?.managed_fields?;
        let entries: Vec<Value> = serde_json::from_str(raw.get()).ok()?;
        let mut authored = Self::default();
        let mut seen = false;
        for entry in &entries {
            let Some(fields) = entry.get("fieldsV1").filter(|fields| fields.is_object()) else {
                continue;
            };
            seen = true;
            let Some(spec) = fields.get("f:spec") else {
                continue;
            };
            authored.account |= spec.get("f:serviceAccountName").is_some()
                || spec.get("f:serviceAccount").is_some();
            collect_names(spec.get("f:imagePullSecrets"), &mut authored.pull_secrets);
            collect_names(spec.get("f:volumes"), &mut authored.volumes);
        }
        seen.then_some(authored)
    }
}

/// Names in the keys of a list's fields: `k:{"name":"x"}`.
fn collect_names(fields: Option<&Value>, names: &mut HashSet<String>) {
    for key in fields
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.keys())
    {
        let Some(json) = key.strip_prefix("k:") else {
            continue;
        };
        let Ok(key) = serde_json::from_str::<Value>(json) else {
            continue;
        };
        if let Some(name) = key.get("name").and_then(Value::as_str) {
            names.insert(name.to_owned());
        }
    }
}
