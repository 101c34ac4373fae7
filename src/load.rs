//! Texts of policies and objects → a snapshot, with everything that was found on the way.
//!
//! The one way from texts to a table: the server and every command go through it. Reads no file.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Source, any_error};
use crate::objects::Objects;
use crate::policy::table::Table;
use crate::policy::{ParseOptions, Parsed, checks, parse};
use crate::snapshot::{ScopeOptions, Snapshot};
use crate::status::Presence;

/// What loading depends on beside the texts.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Which namespaces and Pods are left alone; its own namespace is where cluster-wide policies live.
    pub scope: ScopeOptions,
    /// Whether ConfigMaps of other namespaces are tenants' policies.
    pub tenant_policies: bool,
    /// The namespace of objects that name none.
    pub namespace: String,
}

impl LoadOptions {
    /// What reading policies depends on.
    #[must_use]
    pub fn parse_options(&self) -> ParseOptions {
        ParseOptions {
            own_namespace: Arc::clone(&self.scope.own_namespace),
            tenant_policies: self.tenant_policies,
        }
    }
}

/// What texts held.
#[derive(Debug)]
pub struct Loaded {
    /// What decisions read. Documents with an error are not in it.
    pub snapshot: Snapshot,
    /// Policies in the table.
    pub policies: usize,
    /// Policies that an error keeps out.
    pub rejected: usize,
    /// Documents of other kinds among the policies.
    pub foreign: usize,
    /// Every finding.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// Whether anything is wrong enough to keep a document out.
    #[must_use]
    pub fn has_error(&self) -> bool {
        any_error(&self.diagnostics)
    }
}

/// Reads policies, given in table order, and objects.
#[must_use]
pub fn load(policies: &[Arc<Source>], objects: &[Arc<Source>], options: &LoadOptions) -> Loaded {
    let parse_options = options.parse_options();
    let mut parsed = Parsed::default();
    for source in policies {
        parsed.append(parse(source, &parse_options));
    }
    checks::run(&mut parsed);
    let Parsed {
        policies,
        rejected,
        foreign,
        mut diagnostics,
    } = parsed;
    let mut cluster = Objects::default();
    for source in objects {
        cluster.read(source, &options.namespace);
    }
    diagnostics.append(&mut cluster.diagnostics);
    Loaded {
        policies: policies.len(),
        rejected,
        foreign,
        diagnostics,
        snapshot: Snapshot {
            table: Table::new(policies).into(),
            namespaces: cluster.namespaces.into(),
            accounts: cluster.accounts.into(),
            scope: options.scope.clone(),
            presence: Presence::default(),
        },
    }
}
