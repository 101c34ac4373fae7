//! Turns a host of Amazon ECR's private registries into account, region and kind of endpoint, and
//! an account and a region into all the hosts that stand for them. Region and suffix must be of one
//! AWS partition, so nobody else's name ever parses. Never says whether account or region exist.

pub mod role;

/// A private ECR registry, as its host tells.
///
/// The grammar is `ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX`, and for dual-stack endpoints
/// `ACCOUNT.dkr-ecr[-fips].REGION.DUAL_STACK_SUFFIX`; the suffixes are the partition's.
///
/// Sources: [ECR user guide](https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html);
/// the pattern of the kubelet's plugin, `cmd/ecr-credential-provider/main.go` in
/// kubernetes/cloud-provider-aws (which lets the two kinds of label and suffix mix; no endpoint
/// does); the dual-stack suffixes of the isolated partitions, the `uri` package of
/// aws/amazon-ecs-agent.
///
/// ```
/// use pullpass::hosts::ecr::EcrHost;
///
/// let ecr = EcrHost::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com").unwrap();
/// assert_eq!((ecr.account_id, ecr.region), ("123456789012", "us-east-1"));
/// assert_eq!(EcrHost::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcrHost<'a> {
    /// The AWS account, which is the registry's id too: 12 digits.
    pub account_id: &'a str,
    /// The AWS region, `us-east-1`.
    pub region: &'a str,
    /// Whether the endpoint is a FIPS 140 one.
    pub fips: bool,
    /// Whether the endpoint answers over IPv6 too.
    pub dual_stack: bool,
}

impl<'a> EcrHost<'a> {
    /// The registry that `host` (lower case, no port) stands for; `None` when it is not private ECR.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
        let (account_id, rest) = host.split_once('.')?;
        let (dual_stack, rest) = match rest.strip_prefix("dkr.ecr") {
            Some(rest) => (false, rest),
            None => (true, rest.strip_prefix("dkr-ecr")?),
        };
        let (fips, rest) = match rest.strip_prefix("-fips") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (region, suffix) = rest.strip_prefix('.')?.split_once('.')?;
        let ours = suffix == Partition::of(region).suffix(dual_stack)
            && is_account_id(account_id)
            && is_region(region);
        ours.then_some(Self {
            account_id,
            region,
            fips,
            dual_stack,
        })
    }
}

/// Whether `text` is an AWS account id: 12 digits.
#[must_use]
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `text` has the form of an AWS region: words with hyphens between them, at least two, then
/// a number (`us-east-1`, `us-gov-west-1`, `eusc-de-east-1`). New regions need no new release.
///
/// Source: the `regionRegex` of each partition in the AWS SDKs' `partitions.json`.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    // A DNS label holds 63 characters, and this is one.
    text.len() <= 63
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
        && words.contains('-')
        && words
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Every host that stands for the registry of `account_id` in `region`: standard and dual-stack,
/// each plain and FIPS. Each parses back to what was given. Empty when either is not one.
#[must_use]
pub fn hosts(account_id: &str, region: &str) -> Vec<String> {
    if !is_account_id(account_id) || !is_region(region) {
        return Vec::new();
    }
    let partition = Partition::of(region);
    let (standard, dual_stack) = (partition.standard, partition.dual_stack);
    vec![
        format!("{account_id}.dkr.ecr.{region}.{standard}"),
        format!("{account_id}.dkr.ecr-fips.{region}.{standard}"),
        format!("{account_id}.dkr-ecr.{region}.{dual_stack}"),
        format!("{account_id}.dkr-ecr-fips.{region}.{dual_stack}"),
    ]
}

/// The name of the AWS partition that `region` is in: `aws`, `aws-cn`… No identity of one is known in another.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    Partition::of(region).name
}

/// A set of regions under one administration, with DNS names of its own.
struct Partition {
    /// As ARNs name it.
    name: &'static str,
    /// What the names of its regions begin with.
    regions: &'static str,
    standard: &'static str,
    dual_stack: &'static str,
}

impl Partition {
    const COMMERCIAL: Self = Self::new("aws", "", "amazonaws.com", "on.aws");

    const OTHERS: [Self; 7] = [
        // Its hosts are under the commercial suffixes.
        Self::new("aws-us-gov", "us-gov-", "amazonaws.com", "on.aws"),
        Self::new(
            "aws-cn",
            "cn-",
            "amazonaws.com.cn",
            "on.amazonwebservices.com.cn",
        ),
        Self::new("aws-iso", "us-iso-", "c2s.ic.gov", "on.aws.ic.gov"),
        Self::new("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "on.aws.scloud"),
        Self::new(
            "aws-iso-e",
            "eu-isoe-",
            "cloud.adc-e.uk",
            "on.cloud-aws.adc-e.uk",
        ),
        Self::new(
            "aws-iso-f",
            "us-isof-",
            "csp.hci.ic.gov",
            "on.aws.hci.ic.gov",
        ),
        // The dual-stack suffix is the one that other services of this partition have: no source
        // was found that names an ECR host under it.
        Self::new(
            "aws-eusc",
            "eusc-",
            "amazonaws.eu",
            "on.amazonwebservices.eu",
        ),
    ];

    const fn new(
        name: &'static str,
        regions: &'static str,
        standard: &'static str,
        dual_stack: &'static str,
    ) -> Self {
        Self {
            name,
            regions,
            standard,
            dual_stack,
        }
    }

    fn of(region: &str) -> &'static Self {
        Self::OTHERS
            .iter()
            .find(|partition| region.starts_with(partition.regions))
            .unwrap_or(&Self::COMMERCIAL)
    }

    fn suffix(&self, dual_stack: bool) -> &'static str {
        if dual_stack {
            self.dual_stack
        } else {
            self.standard
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_private_form_parses_in_every_partition() {
        for (region, standard, dual_stack) in [
            ("us-east-1", "amazonaws.com", "on.aws"),
            ("ap-southeast-7", "amazonaws.com", "on.aws"),
            ("ca-central-1", "amazonaws.com", "on.aws"),
            ("us-gov-west-1", "amazonaws.com", "on.aws"),
            (
                "cn-north-1",
                "amazonaws.com.cn",
                "on.amazonwebservices.com.cn",
            ),
            ("us-iso-east-1", "c2s.ic.gov", "on.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "on.aws.scloud"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "on.cloud-aws.adc-e.uk"),
            ("us-isof-south-1", "csp.hci.ic.gov", "on.aws.hci.ic.gov"),
            ("eusc-de-east-1", "amazonaws.eu", "on.amazonwebservices.eu"),
        ] {
            let kinds = [
                ("dkr.ecr", standard, false, false),
                ("dkr.ecr-fips", standard, true, false),
                ("dkr-ecr", dual_stack, false, true),
                ("dkr-ecr-fips", dual_stack, true, true),
            ];
            let all = kinds.map(|(service, suffix, fips, dual_stack)| {
                let host = format!("123456789012.{service}.{region}.{suffix}");
                let want = EcrHost {
                    account_id: "123456789012",
                    region,
                    fips,
                    dual_stack,
                };
                assert_eq!(EcrHost::parse(&host), Some(want), "{host}");
                host
            });
            assert_eq!(
                hosts("123456789012", region),
                all,
                "these are all hosts of {region}"
            );
        }
    }

    #[test]
    fn nothing_else_has_an_account() {
        for (rest, why) in [
            (
                "dkr.ecr.us-east-1.amazonaws.com.evil.example",
                "a longer name is another's",
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com.cn.evil.example",
                "under every suffix",
            ),
            (
                "dkr-ecr.us-east-1.on.aws.evil.example",
                "and the dual-stack ones",
            ),
            (
                "dkr.ecr.us-east-1.evilamazonaws.com",
                "a suffix is whole labels",
            ),
            ("dkr.ecr.us-east-1.amazonaws.community", "at both ends"),
            (
                "dkr.ecr.us-east-1.amazonaws.com.",
                "a reference has no root dot",
            ),
            (
                "dkr.ecr.evil.us-east-1.amazonaws.com",
                "the region is one label",
            ),
            (
                "dkr.ecr.us-east-1.s3.amazonaws.com",
                "a bucket's host is its owner's",
            ),
            ("dkr.ecr..amazonaws.com", "nothing is no region"),
            ("dkr.ecr.amazonaws.com", "a region must be there"),
            ("dkr.ecr.us-east-1", "and a suffix"),
            ("dkr.ecr", "and more than a service"),
            ("dkr.ecr.us-east-1.", "an empty suffix is none"),
            (
                "dkr.ecrx.us-east-1.amazonaws.com",
                "the service is a whole label",
            ),
            ("dkr.ecr-fipsx.us-east-1.amazonaws.com", "with FIPS too"),
            (
                "dkr-ecr.us-east-1.amazonaws.com",
                "dual-stack labels want their suffix",
            ),
            (
                "dkr.ecr.us-east-1.on.aws",
                "and the suffix wants its labels",
            ),
            (
                "dkr.ecr.cn-north-1.amazonaws.com",
                "a region is in its own partition",
            ),
            ("dkr.ecr.us-east-1.amazonaws.com.cn", "and in no other"),
            (
                "dkr.ecr.us-isob-east-1.c2s.ic.gov",
                "not even in its neighbour",
            ),
            (
                "ecr.us-east-1.amazonaws.com",
                "the API's host is no registry",
            ),
            (
                "DKR.ECR.us-east-1.amazonaws.com",
                "the caller folds the case",
            ),
            ("dkr.ecr.us-east-1.amazonaws.com:443", "and drops the port"),
        ] {
            let host = format!("123456789012.{rest}");
            assert_eq!(EcrHost::parse(&host), None, "{host}: {why}");
        }
        for (account, why) in [
            ("12345678901", "11 digits are no account"),
            ("1234567890123", "nor are 13"),
            ("12345678901a", "nor is a letter among them"),
            ("", "nor is nothing"),
            ("evil.123456789012", "nor a second label"),
        ] {
            let host = format!("{account}.dkr.ecr.us-east-1.amazonaws.com");
            assert_eq!(EcrHost::parse(&host), None, "{host}: {why}");
        }
        for host in [
            "",
            ".",
            "..",
            "api.ecr.us-east-1.amazonaws.com",
            "public.ecr.aws",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host:?}");
        }
    }

    #[test]
    fn a_region_is_in_one_partition() {
        for (region, want) in [
            ("us-east-1", "aws"),
            ("ap-southeast-7", "aws"),
            ("us-gov-west-1", "aws-us-gov"),
            ("cn-north-1", "aws-cn"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(region), want, "{region}");
        }
    }

    #[test]
    fn a_region_is_words_and_a_number() {
        let (longest, too_long) = ["e".repeat(58), "e".repeat(59)]
            .map(|e| format!("us-{e}-1"))
            .into();
        for (text, want, why) in [
            ("us-east-1", true, "the common form"),
            ("us-gov-east-1", true, "more words"),
            ("eusc-de-east-1", true, "and longer ones"),
            ("xx-nowhere-12", true, "existence is not asked"),
            (longest.as_str(), true, "63 characters are a DNS label"),
            (too_long.as_str(), false, "64 are not"),
            ("", false, "nothing"),
            ("us-east", false, "a number must end it"),
            (
                "us-east1",
                false,
                "after a hyphen: Google's form is not AWS's",
            ),
            ("us-1", false, "two words at least"),
            ("us-east-1a", false, "a zone is no region"),
            ("us-east-", false, "nor is half of one"),
            ("us--1", false, "a word is not empty"),
            ("-us-east-1", false, "nor is the first"),
            ("US-EAST-1", false, "the caller folds the case"),
            ("us_east_1", false, "hyphens alone join"),
            ("us-*-1", false, "a glob is no region"),
        ] {
            assert_eq!(is_region(text), want, "{text:?}: {why}");
        }
    }

    #[test]
    fn an_account_id_is_twelve_digits() {
        for (text, want, why) in [
            ("123456789012", true, "twelve digits"),
            ("000000000000", true, "leading zeros count"),
            ("", false, "none"),
            ("12345678901", false, "eleven"),
            ("1234567890123", false, "thirteen"),
            ("1234-5678-9012", false, "as the console prints it"),
            ("１２３４", false, "twelve bytes of other digits"),
        ] {
            assert_eq!(is_account_id(text), want, "{text:?}: {why}");
        }
    }

    #[test]
    fn what_is_no_registry_has_no_hosts() {
        assert!(
            hosts("12345", "us-east-1").is_empty(),
            "no account, no host"
        );
        assert!(
            hosts("123456789012", "evil.example/").is_empty(),
            "no region, no host"
        );
    }
}
