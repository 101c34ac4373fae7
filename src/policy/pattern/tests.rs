//! Tables for the patterns of the policy reference, bullet by bullet.

use super::*;

fn key(pattern: &str, image: &str) -> Option<Specificity> {
    let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    assert_eq!(
        parsed.to_string(),
        pattern,
        "a pattern prints as it was written"
    );
    let image = ImageRef::parse(image).unwrap_or_else(|error| panic!("{image}: {error}"));
    parsed.specificity(&Candidate::new(&image))
}

fn check(rows: &[(&str, &str, bool, &str)]) {
    for (pattern, image, want, why) in rows {
        assert_eq!(
            key(pattern, image).is_some(),
            *want,
            "{pattern} on {image}: {why}"
        );
    }
}

#[test]
fn a_glob_stays_within_one_label() {
    check(&[
        ("*.io", "quay.io/a", true, "a star is a label"),
        ("*.io", "a.b.io/x", false, "and never two"),
        ("*.*.io", "a.b.io/x", true, "two stars are two"),
        ("*.*.io", "quay.io/a", false, "and never one"),
        (
            "*.example.com",
            "example.com/a",
            false,
            "nor none: label counts are equal",
        ),
        (
            "*.example.com",
            "a.example.com.evil.example/x",
            false,
            "at the end as well",
        ),
        (
            "a*.example.com",
            "a.example.com/x",
            true,
            "a star may stand for nothing in a label",
        ),
        (
            "reg-?.example.com",
            "reg-1.example.com/x",
            true,
            "`?` is one character",
        ),
        (
            "reg-?.example.com",
            "reg-12.example.com/x",
            false,
            "and never two",
        ),
        ("reg?.example.com", "reg.example.com/x", false, "nor none"),
        ("reg?example.com", "reg.example.com/x", false, "nor a dot"),
        (
            "reg-[0-9].example.com",
            "reg-7.example.com/x",
            true,
            "a class of characters",
        ),
        (
            "reg-[^0-9].example.com",
            "reg-7.example.com/x",
            false,
            "and its opposite",
        ),
        (
            "reg-[^0-9].example.com",
            "reg-x.example.com/x",
            true,
            "as Go writes it",
        ),
        (
            "[abc].example.com",
            "b.example.com/x",
            true,
            "hexadecimal letters are no address",
        ),
        (
            r"reg\-1.example.com",
            "reg-1.example.com/x",
            true,
            "an escape is the character",
        ),
        ("*.*", "quay.io/a", true, "globs alone"),
        ("*", "quay.io/a", true, "the single star is every image"),
        ("*", "nginx", true, "of Docker Hub"),
        ("*", "localhost:5000/a", true, "with a port"),
        ("*", "[2001:db8::1]:5000/a", true, "and of an address"),
        (
            "https://*",
            "a.b.c/x",
            true,
            "a dropped scheme leaves the single star",
        ),
        (
            "*/a",
            "a.b.c/a",
            false,
            "with a path it is a host of one label",
        ),
    ]);
}

#[test]
fn a_port_is_literal() {
    check(&[
        ("gcr.io", "gcr.io/p/a", true, "none on both sides"),
        (
            "gcr.io",
            "gcr.io:443/p/a",
            false,
            "443 is not the same as none",
        ),
        ("gcr.io:443", "gcr.io:443/p/a", true, "but as itself"),
        ("gcr.io:443", "gcr.io/p/a", false, "and not as none"),
        (
            "localhost:5000",
            "localhost:5000/a",
            true,
            "a host without a dot",
        ),
        (
            "localhost:5000",
            "localhost:500/a",
            false,
            "the whole port counts",
        ),
        (
            "*.example.com:5000",
            "a.example.com:5000/x",
            true,
            "behind a glob",
        ),
        (
            "*.example.com:5000",
            "a.example.com/x",
            false,
            "as behind a literal",
        ),
        (
            "registry:5000/org",
            "registry:5000/org/app",
            true,
            "and before a path",
        ),
        (
            "[2001:db8::1]:5000",
            "[2001:db8::1]:5000/a",
            true,
            "an address with a port",
        ),
        (
            "[2001:db8::1]:5000",
            "[2001:db8::1]/a",
            false,
            "is another without",
        ),
        (
            "[2001:db8::1]",
            "[2001:db8::1]/a",
            true,
            "its colons are no port",
        ),
        (
            "[2001:DB8::A]/x",
            "[2001:db8::a]/x/y",
            true,
            "its case is folded",
        ),
    ]);
}

#[test]
fn a_path_is_a_prefix_on_whole_segments() {
    check(&[
        (
            "quay.io/org",
            "quay.io/org/app",
            true,
            "a path covers what is below it",
        ),
        ("quay.io/org", "quay.io/org", true, "and itself"),
        (
            "quay.io/org",
            "quay.io/organic",
            false,
            "never half a segment",
        ),
        ("quay.io/org", "quay.io/other/org", false, "from its start"),
        (
            "quay.io/org/app",
            "quay.io/org/app:v1",
            true,
            "a tag is no part of it",
        ),
        ("quay.io/org/app", "quay.io/org", false, "nor what is above"),
        (
            "quay.io/org/",
            "quay.io/org/app",
            true,
            "a slash at the end says nothing",
        ),
        ("quay.io/", "quay.io/org/app", true, "behind a host too"),
        (
            "quay.io/*",
            "quay.io/app",
            true,
            "a star at the end wants a segment",
        ),
        ("quay.io/org/*", "quay.io/org/app", true, "one segment"),
        ("quay.io/org/*", "quay.io/org/a/b", true, "or more"),
        ("quay.io/org/*", "quay.io/org", false, "and not none"),
        (
            "quay.io/*/app",
            "quay.io/org/app",
            true,
            "a glob may stand in front",
        ),
        (
            "quay.io/*/app",
            "quay.io/a/b/app",
            false,
            "and is one segment",
        ),
        (
            "quay.io/team-*/app",
            "quay.io/team-7/app/x",
            true,
            "or a part of one",
        ),
        ("quay.io/v[0-9]/x", "quay.io/v7/x", true, "with a class"),
        (
            "docker.io/library",
            "nginx",
            true,
            "an official image is in `library`",
        ),
        (
            "docker.io/nginx",
            "nginx",
            false,
            "and its name is no organization",
        ),
    ]);
}

#[test]
fn hosts_compare_without_case_and_docker_hub_is_one() {
    check(&[
        ("Quay.IO/org", "quay.io/org/a", true, "case in the pattern"),
        ("quay.io", "QUAY.IO/org/a", true, "case in the image"),
        (
            "*.Example.com",
            "a.example.COM/x",
            true,
            "case beside a glob",
        ),
        ("docker.io", "nginx", true, "no host at all"),
        (
            "docker.io",
            "index.docker.io/org/a",
            true,
            "index.docker.io",
        ),
        (
            "docker.io",
            "registry-1.docker.io/org/a",
            true,
            "registry-1.docker.io",
        ),
        (
            "docker.io",
            "registry.hub.docker.com/org/a",
            true,
            "registry.hub.docker.com",
        ),
        (
            "docker.io",
            "REGISTRY-1.Docker.io/org/a",
            true,
            "in any case",
        ),
        ("index.docker.io/org", "org/a", true, "also in the pattern"),
        ("Registry-1.Docker.IO", "nginx", true, "in any case there"),
        (
            "registry.hub.docker.com",
            "registry-1.docker.io/org/a",
            true,
            "on both sides",
        ),
        (
            "docker.io",
            "hub.docker.com/org/a",
            false,
            "the web site is no registry",
        ),
        (
            "docker.io",
            "docker.io.evil.example/a",
            false,
            "nor is a longer name",
        ),
        (
            "*.docker.io",
            "registry-1.docker.io/org/a",
            false,
            "a glob sees the one name",
        ),
        (
            "docker.io:443",
            "index.docker.io:443/a/b",
            true,
            "with a port as well",
        ),
    ]);
}

#[test]
fn a_scheme_and_an_api_version_are_dropped_and_told() {
    use Noise::{ApiVersion, Scheme};
    for (text, bare, noise) in [
        ("https://quay.io", "quay.io", &[Scheme][..]),
        ("HTTP://quay.io/org", "quay.io/org", &[Scheme]),
        (
            "https://index.docker.io/v1/",
            "index.docker.io",
            &[Scheme, ApiVersion],
        ),
        ("quay.io/v2", "quay.io", &[ApiVersion]),
        ("quay.io/v2/org", "quay.io/org", &[ApiVersion]),
        ("quay.io/org/v2", "quay.io/org/v2", &[]),
        ("quay.io/v3", "quay.io/v3", &[]),
        ("quay.io/v10", "quay.io/v10", &[]),
        ("quay.io", "quay.io", &[]),
    ] {
        let (got, found) = without_noise(text);
        assert_eq!((&*got, &*found), (bare, noise), "{text}");
    }
    check(&[
        (
            "https://index.docker.io/v1/",
            "nginx",
            true,
            "as in a dockerconfigjson",
        ),
        (
            "https://quay.io/v2/org",
            "quay.io/org/a",
            true,
            "the path goes on behind it",
        ),
        (
            "https://quay.io/v2/org",
            "quay.io/v2/org",
            false,
            "and it is no segment",
        ),
    ]);
}

#[test]
fn what_is_no_pattern_is_refused() {
    for (text, want) in [
        ("", "the pattern has no host"),
        ("/org", "the pattern has no host"),
        (":5000", "the pattern has no host"),
        ("https://", "the pattern has no host"),
        (
            "quay.io /org",
            "the pattern has white space or a control character in it",
        ),
        (
            "quay.io\n",
            "the pattern has white space or a control character in it",
        ),
        (
            "quay.io\u{0}",
            "the pattern has white space or a control character in it",
        ),
        ("nginx:latest", "`latest` is no port"),
        ("quay.io:", "`` is no port"),
        ("quay.io:123456", "`123456` is no port"),
        ("quay.io:80*", "`80*` is no port"),
        ("[a-.example.com", "a `[…]` that is not closed, or is empty"),
        ("[].example.com", "a `[…]` that is not closed, or is empty"),
        (
            "a[b.c]d.example.com",
            "a `[…]` that is not closed, or is empty",
        ),
        ("quay.io/[a", "a `[…]` that is not closed, or is empty"),
        ("quay.io/a\\", "`\\` at the end escapes nothing"),
    ] {
        let error = Pattern::parse(text).expect_err(text);
        assert_eq!(error.to_string(), want, "{text:?}");
    }
    assert!(Pattern::parse(&"a".repeat(1024)).is_ok());
    assert_eq!(
        Pattern::parse(&"a".repeat(1025)),
        Err(PatternError::TooLong)
    );
}

#[test]
fn the_more_specific_pattern_is_greater() {
    for (greater, less, image, why) in [
        (
            "quay.io",
            "*.io/org/app",
            "quay.io/org/app",
            "a literal host beats a glob with a path",
        ),
        ("*.io", "*", "quay.io/org/app", "a glob beats any host"),
        (
            "qua*.io",
            "*.io/org/app",
            "quay.io/org/app",
            "more literal characters in the host",
        ),
        (
            "*.io/org",
            "*.io",
            "quay.io/org/app",
            "among equal hosts more segments",
        ),
        (
            "quay.io/*/*",
            "quay.io/org",
            "quay.io/org/app",
            "even of globs",
        ),
        (
            "quay.io/org/*",
            "quay.io/*/*",
            "quay.io/org/app",
            "then more literal segments",
        ),
        (
            "quay.io/org*",
            "quay.io/o*",
            "quay.io/org/app",
            "then more literal characters",
        ),
        (
            "docker.io/acme",
            "docker.io",
            "acme/app",
            "an organization beats its registry",
        ),
    ] {
        let (a, b) = (key(greater, image), key(less, image));
        assert!(
            a.is_some() && b.is_some(),
            "both match {image}: {greater}, {less}"
        );
        assert!(a > b, "{greater} over {less}: {why}");
    }
    for (one, other, image, why) in [
        (
            "quay.io/org",
            "https://quay.io/v2/org/",
            "quay.io/org/app",
            "the text does not count",
        ),
        ("docker.io", "index.docker.io", "nginx", "nor does an alias"),
        (
            "qua?.io",
            "qu?y.io",
            "quay.io/a",
            "nor where the glob stands",
        ),
        (
            "q[u]ay.io",
            "q*ay.io",
            "quay.io/a",
            "a class has no literal character",
        ),
        (
            r"q\uay.io/x",
            "q*uay.io/x",
            "quay.io/x",
            "an escaped one counts once",
        ),
        ("*.*.io", "**.*.io", "a.b.io/x", "two stars are as one"),
    ] {
        assert_eq!(
            key(one, image),
            key(other, image),
            "{one} and {other}: {why}"
        );
    }
}

#[test]
fn a_pattern_that_can_match_nothing_is_told_why() {
    for (pattern, want) in [
        ("quay.io/org/app:v1", Some("no tag and no digest")),
        ("quay.io/org/app@sha256:abc", Some("no tag and no digest")),
        ("quay.io//org", Some("an empty segment")),
        ("quay.io//", Some("an empty segment")),
        ("quay.io/Org", Some("no upper-case letter")),
        ("quay.io/Org-*", Some("no upper-case letter")),
        ("quay.io/[A-Z]*", None),
        ("quay.io/ö", Some("letters, digits")),
        ("quay.io/a+b*", Some("letters, digits")),
        ("nginx", Some("no dot and no port")),
        ("library/nginx", Some("no dot and no port")),
        ("reg*/nginx", Some("no dot and no port")),
        ("localhost", None),
        ("local*", None),
        ("registry:5000", None),
        ("registry:70000", Some("at most 65535")),
        ("quay..io", Some("an empty label")),
        ("*..io", Some("an empty label")),
        ("my_registry.example.com", Some("no label of a host")),
        ("my_*.example.com", Some("no label of a host")),
        ("-a.example.com", Some("no label of a host")),
        ("-*.example.com", None),
        (
            "*.amazonaws.com",
            Some("has 3 and `123456789012.dkr.ecr.us-east-1.amazonaws.com` has 6"),
        ),
        (
            "*.ecr.*.amazonaws.com.cn",
            Some("cn-north-1.amazonaws.com.cn` has 7"),
        ),
        ("*.dkr.ecr.*.amazonaws.com", None),
        ("*.dkr.ecr.*.amazonaws.com.cn", None),
        ("[2001:db8::1]", None),
        ("*", None),
        ("quay.io/org", None),
        ("https://index.docker.io/v1/", None),
    ] {
        let got = Pattern::parse(pattern).unwrap().never_matches();
        match want {
            Some(want) => {
                let (why, help) = got.unwrap_or_else(|| panic!("{pattern}: nothing is said"));
                assert!(why.contains(want), "{pattern}: {why}");
                assert!(!help.is_empty(), "{pattern}");
            }
            None => assert_eq!(got, None, "{pattern}"),
        }
    }
    let (_, help) = Pattern::parse("quay.io/org/app:v1")
        .unwrap()
        .never_matches()
        .unwrap();
    assert_eq!(help, "write `quay.io/org/app`");
}
