//! A credential's `from.ecr` → accounts, regions and the role, with a finding for what AWS would refuse
//! later: an id that is none, a role that is none, regions that no single identity is known in.

use super::{ACCOUNT, Found, REGION};
use crate::diagnostic::{Code, Span};
use crate::hosts::ecr::role::RoleArn;
use crate::hosts::ecr::{is_account_id, is_region, partition};
use crate::policy::document::CredentialSource;
use crate::policy::fields::{Fields, list, string};

/// Text as it was written, and where.
type Written<'n> = (&'n str, Span);

pub(super) fn source(
    fields: &mut Fields<'_, '_>,
    found: Found<'_, '_>,
) -> Option<CredentialSource> {
    let accounts = each(fields, "accountIds", ACCOUNT, is_account_id, found);
    let regions = each(fields, "regions", REGION, is_region, found);
    let role = fields.optional("roleArn").and_then(|node| {
        let text = string(node, "`roleArn`", found)?;
        let Some(role) = RoleArn::parse(text) else {
            let message = format!("`{}` is not the ARN of an IAM role", text.escape_debug());
            let help = "write `arn:aws:iam::ACCOUNT:role/NAME`, or leave `roleArn` out";
            return found.add_with_help(Code::BadValue, node.span, message, help);
        };
        Some((text, role))
    });
    one_partition(
        regions.as_deref().unwrap_or_default(),
        role.map(|(_, role)| role),
        found,
    );
    let texts =
        |written: Vec<Written<'_>>| written.iter().map(|(text, _)| (*text).into()).collect();
    Some(CredentialSource::Ecr {
        account_ids: texts(accounts?),
        regions: texts(regions?),
        role_arn: role.map(|(text, _)| text.into()),
    })
}

/// The entries of a list that has to have one.
fn each<'n>(
    fields: &mut Fields<'n, '_>,
    name: &'static str,
    what: &str,
    is_one: fn(&str) -> bool,
    found: Found<'_, '_>,
) -> Option<Vec<Written<'n>>> {
    let node = fields.required(name, found)?;
    let items = list(node, &format!("`{name}`"), found)?;
    if items.is_empty() {
        let message = format!("`{name}` is an empty list, for which nothing could be fetched");
        let help = "name one or more: each gets an entry in the Secret";
        return found.add_with_help(Code::EmptyParameter, node.span, message, help);
    }
    let written = items.iter().filter_map(|item| {
        let text = string(item, &format!("an entry of `{name}`"), found)?;
        if !is_one(text) {
            let message = format!("`{}` is not {what}", text.escape_debug());
            let help = match text.to_ascii_lowercase() {
                lower if is_one(&lower) => format!("write `{lower}`"),
                _ => format!("write {what}"),
            };
            return found.add_with_help(Code::BadValue, item.span, message, help);
        }
        Some((text, item.span))
    });
    Some(written.collect())
}

/// Reports each region that the identity of the others, or the role, is not known in.
fn one_partition(regions: &[Written<'_>], role: Option<RoleArn<'_>>, found: Found<'_, '_>) {
    let Some(((first, _), _)) = regions.split_first() else {
        return;
    };
    let (home, who, help) = if let Some(role) = role {
        let help = "AWS knows a role in its own partition alone: name a role of the region's, in a credential of its own";
        (role.partition, "the role".to_owned(), help)
    } else {
        let help = "no AWS identity is known in two partitions: make two credentials of it";
        (partition(first), format!("`{first}`"), help)
    };
    for (region, span) in regions {
        let other = partition(region);
        if other != home {
            let message = format!(
                "the region `{region}` is in the partition `{other}`, and {who} is in `{home}`"
            );
            found.add_with_help::<()>(Code::BadValue, *span, message, help);
        }
    }
}
