//! `pullpass certs`, the built binary: the files, their modes, and that a client would accept them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::command::{Ran, command, run, run_with};

fn certs(directory: &Path, args: &[&str]) -> Ran {
    let mut command = command(&[&["certs", "--out", "made/here"], args].concat());
    command.current_dir(directory);
    run_with(command, b"")
}

/// Whether a client that trusts the CA takes the certificate for a name.
fn accepts(directory: &Path, name: &str) -> bool {
    let read =
        |file: &str| CertificateDer::from_pem_file(directory.join("made/here").join(file)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(read("ca.crt")).unwrap();
    let provider = pullpass::server::crypto_provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier
        .verify_server_cert(&read("tls.crt"), &[], &name, &[], UnixTime::now())
        .is_ok()
}

#[test]
fn three_files_are_named_and_the_key_is_its_owner_s_alone() {
    let directory = tempfile::tempdir().unwrap();
    let ran = certs(directory.path(), &[]);
    assert_eq!(
        (ran.status, &*ran.stdout, &*ran.stderr),
        (
            0,
            "made/here/ca.crt\nmade/here/tls.crt\nmade/here/tls.key\n",
            ""
        )
    );
    let mut entries: Vec<_> = fs::read_dir(directory.path().join("made/here"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    entries.sort();
    let names: Vec<_> = entries.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        ["ca.crt", "tls.crt", "tls.key"],
        "and nothing else is left behind"
    );
    assert_eq!(entries[2].1, 0o600, "the key");
    assert!(
        entries.iter().all(|(_, mode)| mode & 0o022 == 0),
        "nobody else writes: {entries:?}"
    );
}

#[test]
fn a_client_accepts_the_names_that_were_asked_for_and_no_other() {
    for (args, good, bad) in [
        (
            &[][..],
            &["localhost", "127.0.0.1", "::1"][..],
            &["example.com", "127.0.0.2"][..],
        ),
        (
            &["--name", "webhook.example.test", "--name", "192.0.2.7"],
            &["webhook.example.test", "192.0.2.7"],
            &["localhost", "example.test"],
        ),
        (
            &["--name", "a.test,b.test"],
            &["a.test", "b.test"],
            &["c.test"],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(certs(directory.path(), args).status, 0, "{args:?}");
        for name in good {
            assert!(accepts(directory.path(), name), "{args:?}: {name}");
        }
        for name in bad {
            assert!(!accepts(directory.path(), name), "{args:?}: {name}");
        }
    }
}

#[test]
fn the_ca_signs_the_certificate_whose_key_is_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(certs(directory.path(), &[]).status, 0);
    let at = directory.path().join("made/here");
    let ca = CertificateDer::from_pem_file(at.join("ca.crt")).unwrap();
    let leaf = CertificateDer::from_pem_file(at.join("tls.crt")).unwrap();
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    assert!(ca.is_ca() && !parsed.is_ca());
    assert_eq!(parsed.issuer(), ca.subject());
    let days = (parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp())
        / 86_400;
    assert_eq!(days, 365);
    let key = PrivateKeyDer::from_pem_file(at.join("tls.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(pullpass::server::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.clone()], key);
    assert!(config.is_ok(), "the key is the certificate's");
}

#[test]
fn a_second_run_replaces_all_three_by_new_ones_that_belong_together() {
    let directory = tempfile::tempdir().unwrap();
    let read = || {
        ["ca.crt", "tls.crt", "tls.key"]
            .map(|file| fs::read(directory.path().join("made/here").join(file)).unwrap())
    };
    assert_eq!(certs(directory.path(), &[]).status, 0);
    let first = read();
    assert_eq!(certs(directory.path(), &[]).status, 0);
    for (old, new) in first.iter().zip(read()) {
        assert_ne!(*old, new);
    }
    assert!(accepts(directory.path(), "localhost"));
}

#[test]
fn what_cannot_be_made_is_one_line() {
    let directory = tempfile::tempdir().unwrap();
    for (args, want) in [
        (
            &["--name", "not a name"][..],
            "error: cannot make a certificate for `not a name`: give a DNS name or an IP address\n",
        ),
        (
            &["--name", ""],
            "error: cannot make a certificate for ``: give a DNS name or an IP address\n",
        ),
    ] {
        let ran = certs(directory.path(), args);
        assert_eq!(
            (ran.status, &*ran.stdout, &*ran.stderr),
            (2, "", want),
            "{args:?}"
        );
    }
    assert!(
        !directory.path().join("made").exists(),
        "and nothing is written"
    );
    fs::write(directory.path().join("made"), "a file").unwrap();
    let ran = certs(directory.path(), &[]);
    assert_eq!(ran.status, 2);
    assert!(
        ran.stderr.starts_with("error: cannot write `made/here`: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert_eq!(run(&["certs"]).status, 2, "no directory");
}
