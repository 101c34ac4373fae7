//! Turns a host into the answer whether it is the Amazon ECR Public Gallery, which is one registry
//! for all accounts and regions. Never looks at aliases: they stand in the path.

/// Whether `host` (lower case, no port) is ECR Public: `public.ecr.aws`, or `ecr-public.aws.com`, its
/// dual-stack name.
///
/// Source: [ECR Public user guide](https://docs.aws.amazon.com/AmazonECR/latest/public/public-ecr-requests.html).
#[must_use]
pub fn is_ecr_public(host: &str) -> bool {
    matches!(host, "public.ecr.aws" | "ecr-public.aws.com")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecr_public_has_two_names() {
        for (host, want, why) in [
            ("public.ecr.aws", true, "its first name"),
            ("ecr-public.aws.com", true, "its dual-stack name"),
            ("", false, "nothing"),
            ("ecr.aws", false, "a part of a name"),
            ("evil.public.ecr.aws", false, "there are no names below"),
            (
                "public.ecr.aws.evil.example",
                false,
                "a longer name is another's",
            ),
            ("notpublic.ecr.aws", false, "as is a neighbour"),
            (
                "ecr-public.us-east-1.amazonaws.com",
                false,
                "the API's host is no registry",
            ),
            (
                "123456789012.dkr.ecr.us-east-1.amazonaws.com",
                false,
                "private ECR is another family",
            ),
            ("PUBLIC.ECR.AWS", false, "the caller folds the case"),
        ] {
            assert_eq!(is_ecr_public(host), want, "{host}: {why}");
        }
    }
}
