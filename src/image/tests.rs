//! Turns tables of references into checks of the parser; the first three are upstream's own cases
//! as of [v0.6.0], this parser's answers beside them. Never runs outside tests.
//!
//! [v0.6.0]: https://github.com/distribution/reference/blob/v0.6.0/normalize_test.go

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use super::*;

const HEX64: &str = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a";

/// `TestValidateReferenceName` and `TestValidateRemoteName`.
#[test]
fn upstreams_valid_and_invalid_names() {
    let valid = "
        docker/docker library/debian debian localhost/library/debian localhost/debian
        LOCALDOMAIN/library/debian LOCALDOMAIN/debian docker.io/docker/docker
        docker.io/library/debian docker.io/debian index.docker.io/docker/docker
        index.docker.io/library/debian index.docker.io/debian 127.0.0.1:5000/docker/docker
        127.0.0.1:5000/library/debian 127.0.0.1:5000/debian 192.168.0.1 192.168.0.1:80
        192.168.0.1:8/debian 192.168.0.2:25000/debian
        thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev
        [fc00::1]:5000/docker [fc00::1]:5000/docker/docker
        [fc00:1:2:3:4:5:6:7]:5000/library/debian
        docker.io/1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a
        Docker/docker DOCKER/docker
        docker-rules/docker docker---rules/docker doc/docker d/docker jess/t dock__er/docker";
    for text in valid.split_whitespace() {
        assert!(
            ImageRef::parse(text).is_ok(),
            "{text}: {:?}",
            ImageRef::parse(text)
        );
    }

    let invalid = "
        https://github.com/docker/docker docker/Docker -docker -docker/docker
        -docker.io/docker/docker docker///docker docker.io/docker/Docker docker.io/docker///docker
        [fc00::1] [fc00::1]:5000 fc00::1:5000/debian [fe80::1%eth0]:5000/debian
        [2001:db8:3:4::192.0.2.33]:5000/debian
        1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a
        docker-/docker -docker-/docker ____/____ _docker/_docker dock..er/docker dock_.er/docker
        dock-.er/docker docker/";
    let long = "this_is_not_a_valid_namespace_because_its_lenth_is_greater_than_255_".repeat(4);
    let long = format!("{}/docker", long.trim_end_matches('_'));
    for text in invalid.split_whitespace().chain([long.as_str()]) {
        assert!(ImageRef::parse(text).is_err(), "{text} is refused upstream");
    }
}

/// `TestParseRepositoryInfo`: every spelling of one image, its normal form, where that splits.
#[test]
fn upstreams_spellings_have_one_normal_form() {
    #[rustfmt::skip]
    let rows = [
        (&["localhost/fooo"][..], "localhost", "fooo"),
        (&["localhost/fooo/bar"], "localhost", "fooo/bar"),
        (&["LOCALDOMAIN/fooo"], "LOCALDOMAIN", "fooo"),
        (&["LOCALDOMAIN/fooo/bar"], "LOCALDOMAIN", "fooo/bar"),
        (&["fooo/bar", "index.docker.io/fooo/bar"], "docker.io", "fooo/bar"),
        (&["ubuntu", "library/ubuntu"], "docker.io", "library/ubuntu"),
        (&["nonlibrary/ubuntu"], "docker.io", "nonlibrary/ubuntu"),
        (&["other/library"], "docker.io", "other/library"),
        (&["127.0.0.1:8000/private/moonbase"], "127.0.0.1:8000", "private/moonbase"),
        (&["127.0.0.1:8000/privatebase"], "127.0.0.1:8000", "privatebase"),
        (&["example.com/private/moonbase"], "example.com", "private/moonbase"),
        (&["example.com/privatebase"], "example.com", "privatebase"),
        (&["example.com:8000/private/moonbase"], "example.com:8000", "private/moonbase"),
        (&["example.com:8000/privatebasee"], "example.com:8000", "privatebasee"),
        (
            &["ubuntu-12.04-base", "index.docker.io/library/ubuntu-12.04-base"],
            "docker.io",
            "library/ubuntu-12.04-base",
        ),
        (&["foo", "docker.io/foo"], "docker.io", "library/foo"),
        (&["library/foo/bar"], "docker.io", "library/foo/bar"),
        (&["store/foo/bar"], "docker.io", "store/foo/bar"),
        (&["Foo/bar"], "Foo", "bar"),
        (&["FOO/bar"], "FOO", "bar"),
    ];
    for (spellings, registry, repository) in rows {
        let full = format!("{registry}/{repository}");
        let first = ImageRef::parse(&full).unwrap();
        for text in spellings.iter().copied().chain([full.as_str()]) {
            let image = ImageRef::parse(text).unwrap();
            assert_eq!(image.to_string(), full, "{text}");
            assert_eq!(image.registry(), registry, "{text}");
            assert_eq!(image.repository(), repository, "{text}");
            assert_eq!(image, first, "{text}: one normal form, one image");
        }
    }
}

/// `TestParseAnyReference`, `TestNormalizedSplitHostname`, `TestParseReferenceWithTagAndDigest`.
#[test]
fn upstreams_tags_digests_and_hosts() {
    let sha = "sha256:dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9c";
    #[rustfmt::skip]
    let rows = [
        ("redis", "docker.io/library/redis"),
        ("redis:latest", "docker.io/library/redis:latest"),
        ("docker.io/library/redis:latest", "docker.io/library/redis:latest"),
        ("redis@SHA", "docker.io/library/redis@SHA"),
        ("docker.io/library/redis@SHA", "docker.io/library/redis@SHA"),
        ("dmcgowan/myapp", "docker.io/dmcgowan/myapp"),
        ("dmcgowan/myapp:latest", "docker.io/dmcgowan/myapp:latest"),
        ("docker.io/mcgowan/myapp:latest", "docker.io/mcgowan/myapp:latest"),
        ("dmcgowan/myapp@SHA", "docker.io/dmcgowan/myapp@SHA"),
        ("docker.io/dmcgowan/myapp@SHA", "docker.io/dmcgowan/myapp@SHA"),
        (
            "dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9",
            "docker.io/library/dbcc1c35ac38df41fd2f5e4130b32ffdb93ebae8b3dbe638c23575912276fc9",
        ),
        ("dbcc1", "docker.io/library/dbcc1"),
        ("test.com/foo", "test.com/foo"),
        ("test_com/foo", "docker.io/test_com/foo"),
        ("docker/migrator", "docker.io/docker/migrator"),
        ("test.com:8080/foo", "test.com:8080/foo"),
        ("test-com:8080/foo", "test-com:8080/foo"),
        ("xn--n3h.com/foo", "xn--n3h.com/foo"),
        ("xn--n3h.com:18080/foo", "xn--n3h.com:18080/foo"),
        ("docker.io/library/foo/bar", "docker.io/library/foo/bar"),
        ("busybox:latest@SHA", "docker.io/library/busybox:latest@SHA"),
    ];
    for (text, want) in rows {
        let (text, want) = (text.replace("SHA", sha), want.replace("SHA", sha));
        assert_eq!(ImageRef::parse(&text).unwrap().to_string(), want, "{text}");
    }
}

#[test]
fn the_parts_at_the_grammars_edges() {
    let digest = format!("sha256:{HEX64}");
    let sha384 = format!("sha384:{}", &HEX64.repeat(2)[..96]);
    let with_sha384 = format!("app@{sha384}");
    let sha512 = format!("sha512:{}", HEX64.repeat(2));
    let with_sha512 = format!("app@{sha512}");
    let full = format!("quay.io/org/app:v1@{digest}");
    let hex_tag = format!("app:{HEX64}");
    #[rustfmt::skip]
    let rows = [
        (full.as_str(), "quay.io", "org/app", Some("v1"), Some(&*digest), "tag and digest both"),
        (&with_sha384, "docker.io", "library/app", None, Some(&*sha384), "96 digits"),
        (&with_sha512, "docker.io", "library/app", None, Some(&*sha512), "128 digits"),
        ("localhost", "docker.io", "library/localhost", None, None, "a host needs a slash"),
        ("a.b:80", "docker.io", "library/a.b", Some("80"), None, "so this number is a tag"),
        ("docker.io", "docker.io", "library/docker.io", None, None, "even of Docker Hub"),
        ("Docker.io/app", "Docker.io", "app", None, None, "aliases are compared with case"),
        ("docker.io:443/app", "docker.io:443", "app", None, None, "and without a port"),
        ("localhosts/app", "docker.io", "localhosts/app", None, None, "localhost is one word"),
        ("[ABC]/app", "[ABC]", "app", None, None, "a capital makes a host"),
        ("a:80/b:80", "a:80", "b", Some("80"), None, "a port, then a tag"),
        ("a_b.c/app:v", "", "a_b.c/app", Some("v"), None, "no host may have an underscore"),
        (&hex_tag, "docker.io", "library/app", Some(HEX64), None, "an ID may be a tag"),
    ];
    for (text, registry, repository, tag, digest, why) in rows {
        let image = ImageRef::parse(text).unwrap();
        assert_eq!(image.registry(), registry, "{text}: {why}");
        assert_eq!(image.repository(), repository, "{text}: {why}");
        assert!(image.segments().eq(repository.split('/')), "{text}: {why}");
        assert_eq!(image.tag(), tag, "{text}: {why}");
        assert_eq!(image.digest(), digest, "{text}: {why}");
        let printed = image.to_string();
        assert_eq!(
            ImageRef::parse(&printed),
            Ok(image),
            "{text}: print and parse are a pair"
        );
    }
}

#[test]
fn each_refusal_has_its_variant() {
    use ImageError as E;
    let spot = |at, character| Spot {
        at,
        character: Some(character),
    };
    let d = |algorithm: &str, digits: &str| format!("a:t@{algorithm}:{digits}");
    let upper = HEX64.to_uppercase();
    let long = HEX64.repeat(2);
    let length = |got| E::DigestLength {
        algorithm: "sha256",
        want: 64,
        got,
    };
    #[rustfmt::skip]
    let rows = [
        (String::new(), E::Empty, "nothing is written"),
        ("\u{212a}/a".into(), E::NotAscii(spot(0, '\u{212a}')), "the Kelvin sign is not a k"),
        (HEX64.into(), E::Identifier, "an image's ID"),
        ("a/B$".into(), E::Uppercase(spot(2, 'B')), "a capital is told before a bad sign"),
        ("A_b/c".into(), E::Uppercase(spot(0, 'A')), "a repository after all: no host has `_`"),
        (format!("a@SHA256:{HEX64}"), E::Uppercase(spot(2, 'S')), "the check ends at a colon"),
        (d("SHA256", HEX64), E::DigestUppercase(spot(4, 'S')), "which a tag brings forward"),
        (d("sha256", &upper), E::DigestUppercase(spot(12, 'A')), "digits are lower case"),
        (d("md5", HEX64), E::DigestAlgorithm(spot(4, 'm')), "no kubelet knows it"),
        (d("sha256", &HEX64[1..]), length(63), "one digit short"),
        (d("sha256", &upper[..63]), length(63), "the length is told before the capital"),
        (d("sha256", &long[..65]), length(65), "one digit over"),
        (d("sha256", "12"), E::Digest(Spot { at: 13, character: None }), "not even 32 digits"),
        ("a:t@".into(), E::Digest(Spot { at: 4, character: None }), "nothing after the at sign"),
        ("a@b.c/d".into(), E::Registry(spot(1, '@')), "a slash makes it the registry's"),
        ("//a".into(), E::Repository(spot(0, '/')), "a segment is empty"),
        (":t".into(), E::Repository(spot(0, ':')), "the name is missing"),
        ("a:t:u".into(), E::Tag(spot(3, ':')), "a second colon"),
    ];
    for (text, want, why) in rows {
        assert_eq!(ImageRef::parse(&text), Err(want), "{text}: {why}");
    }
}

#[test]
fn the_length_limit_counts_the_repository_alone() {
    let name = |length| "a".repeat(length);
    #[rustfmt::skip]
    let rows = [
        (name(247), None, "`library/` takes eight of 255"),
        (name(248), Some(256), "so one more is too long"),
        (format!("docker.io/{}", name(248)), Some(256), "also when the registry is written"),
        (format!("library/{}", name(247)), None, "or the segment itself"),
        (format!("{}.example/{}", name(300), name(255)), None, "a registry has no limit"),
        (format!("q.io/{}:{}", name(255), name(128)), None, "and a tag its own"),
        (format!("q.io/{}", name(256)), Some(256), "one too many"),
        (format!("a_b.c/{}", name(250)), Some(256), "what is no registry counts"),
        (format!("q.io/{}@md5:{HEX64}", name(256)), Some(256), "told before the algorithm"),
    ];
    for (text, want, why) in rows {
        let want = want.map(|length| ImageError::RepositoryTooLong { length });
        assert_eq!(
            ImageRef::parse(&text).err(),
            want,
            "{} bytes: {why}",
            text.len()
        );
    }
}

#[test]
fn equal_references_hash_alike() {
    let state = RandomState::new();
    let same = [
        "nginx:1",
        "library/nginx:1",
        "docker.io/nginx:1",
        "index.docker.io/library/nginx:1",
    ];
    let hashes: BTreeSet<u64> = same
        .iter()
        .map(|text| state.hash_one(ImageRef::parse(text).unwrap()))
        .collect();
    assert_eq!(hashes.len(), 1, "four spellings of one image");
    for (one, other) in [
        ("nginx:1", "nginx"),
        ("nginx:1", "nginx:2"),
        ("nginx:1", "quay.io/library/nginx:1"),
        ("nginx/nginx", "library/nginx/nginx"),
        ("quay.io/nginx", "quay.io/library/nginx"),
    ] {
        assert_ne!(ImageRef::parse(one), ImageRef::parse(other));
    }
}

#[test]
fn a_borrowed_repository_stays_borrowed() {
    assert!(matches!(
        ImageRef::parse("library/nginx").unwrap().repository(),
        Cow::Borrowed(_)
    ));
    assert!(matches!(
        ImageRef::parse("nginx").unwrap().repository(),
        Cow::Owned(_)
    ));
}
