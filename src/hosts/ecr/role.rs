//! Turns the ARN of an IAM role into its partition and account. Never says whether the role exists.

use super::is_account_id;

/// The ARN of an IAM role: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
///
/// Source: [IAM identifiers](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html);
/// the lengths are those of STS's AssumeRole and IAM's CreateRole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleArn<'a> {
    /// The partition, `aws`.
    pub partition: &'a str,
    /// The account, 12 digits.
    pub account_id: &'a str,
}

impl<'a> RoleArn<'a> {
    /// The longest that STS takes.
    const MOST: usize = 2048;

    /// The role that `text` names; `None` when it is no role's ARN.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (partition, rest) = text.strip_prefix("arn:")?.split_once(':')?;
        let (account_id, rest) = rest.strip_prefix("iam::")?.split_once(':')?;
        let role = rest.strip_prefix("role/")?;
        let (path, name) = role.rsplit_once('/').unwrap_or(("", role));
        let is_role = text.len() <= Self::MOST
            && (partition == "aws" || partition.starts_with("aws-"))
            && partition
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'-')
            && is_account_id(account_id)
            && path.bytes().all(|b| b.is_ascii_graphic())
            && (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b));
        is_role.then_some(Self {
            partition,
            account_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roles_arn_has_a_partition_and_an_account() {
        let long = |n: usize| format!("arn:aws:iam::123456789012:role/{}", "x".repeat(n));
        let deep = format!("arn:aws:iam::123456789012:role/{}/x", "y".repeat(2048));
        for (text, want, why) in [
            (
                "arn:aws:iam::123456789012:role/puller",
                Some("aws"),
                "a role",
            ),
            (
                "arn:aws-cn:iam::123456789012:role/a/b/puller",
                Some("aws-cn"),
                "with a path, of another partition",
            ),
            (
                "arn:aws:iam::123456789012:role/aws-service-role/x.amazonaws.com/A_b+c=d,e.f@g-h",
                Some("aws"),
                "with all that a name may have",
            ),
            (&long(64), Some("aws"), "a name of 64 characters"),
            (&long(65), None, "and none of 65"),
            (&deep, None, "nor an endless path"),
            ("", None, "nothing"),
            ("puller", None, "a name alone"),
            ("arn:aws:iam::123456789012:user/puller", None, "a user"),
            (
                "arn:aws:sts::123456789012:assumed-role/puller/x",
                None,
                "a session of a role",
            ),
            ("arn:aws:iam::12345:role/puller", None, "no account"),
            (
                "arn:aws:iam:us-east-1:123456789012:role/puller",
                None,
                "IAM has no regions",
            ),
            (
                "arn:gcp:iam::123456789012:role/puller",
                None,
                "another cloud",
            ),
            (
                "arn:awsome:iam::123456789012:role/puller",
                None,
                "no partition",
            ),
            ("arn:aws:iam::123456789012:role/", None, "no name"),
            ("arn:aws:iam::123456789012:role/a/", None, "after the path"),
            ("arn:aws:iam::123456789012:role/a b", None, "a blank"),
            ("arn:aws:iam::123456789012:role/a\n", None, "a new line"),
            ("arn:aws:iam::123456789012:role/ro*", None, "a glob"),
            (
                " arn:aws:iam::123456789012:role/puller",
                None,
                "a blank before",
            ),
        ] {
            let got = RoleArn::parse(text);
            assert_eq!(got.map(|role| role.partition), want, "{text:?}: {why}");
            let account = got.map_or("123456789012", |role| role.account_id);
            assert_eq!(account, "123456789012", "{text:?}");
        }
    }
}
