//! Turns a seed into pull secrets: what people and tools write, its limits and near misses, each
//! secret labelled with what went into it.
//!
//! The same seed gives the same secrets on every machine. Never decides whether one is well-formed.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use super::random::Random;

mod text;

/// Every label that [`SecretGenerator::secret`] can put on a secret.
pub(super) const PRODUCTIONS: [&str; 52] = [
    "auth: a character in it",
    "auth: cut short",
    "auth: empty",
    "auth: line breaks in it",
    "auth: no colon",
    "auth: no utf-8 in it",
    "auth: padded",
    "auth: padding too much",
    "auth: space at an end",
    "auth: unpadded",
    "auth: unused bits",
    "auth: url-safe",
    "entry: another type",
    "entry: auth and user",
    "entry: auth",
    "entry: null",
    "entry: nothing",
    "entry: user and password",
    "field: another type",
    "field: twice",
    "field: null",
    "field: unknown",
    "key: again",
    "key: capitals",
    "key: docker hub",
    "key: escapes",
    "key: glob",
    "key: host",
    "key: no host",
    "key: plain text",
    "key: user in front",
    "mutation: byte",
    "mutation: cut short",
    "mutation: delete",
    "mutation: double",
    "mutation: insert",
    "mutation: none",
    "name: as it is",
    "name: capitals",
    "name: escaped",
    "name: long s",
    "root: auths missing",
    "root: auths null",
    "root: auths of another type",
    "root: auths twice",
    "root: headers",
    "root: headers of another type",
    "root: null",
    "root: of another type",
    "text: escapes",
    "text: no utf-8",
    "text: not allowed",
];

/// Registries that keys are made of, and globs that match some of them.
pub(super) const HOSTS: [&str; 14] = [
    "quay.io",
    "ghcr.io",
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "us-docker.pkg.dev",
    "eu-docker.pkg.dev",
    "gcr.io",
    "contoso.azurecr.io",
    "registry.example.com:5000",
    "localhost:5000",
    "localhost",
    "[2001:db8::1]:5000",
    "10.0.0.1",
];
const GLOBS: [&str; 8] = [
    "*.pkg.dev",
    "*-docker.pkg.dev",
    "*.io",
    "*.docker.io",
    "*.azurecr.io",
    "*",
    "*.*",
    "*.example.com:5000",
];

/// One Secret and the labels of what it was made from.
pub(super) struct Generated {
    pub(super) secret_type: &'static str,
    pub(super) data: BTreeMap<&'static str, Vec<u8>>,
    pub(super) productions: BTreeSet<&'static str>,
}

/// A source of secrets.
pub(super) struct SecretGenerator {
    pub(super) random: Random,
    productions: BTreeSet<&'static str>,
    keys: Vec<String>,
}

impl SecretGenerator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            productions: BTreeSet::new(),
            keys: Vec::new(),
        }
    }

    pub(super) fn secret(&mut self) -> Generated {
        const JSON: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
        const CFG: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");
        self.productions.clear();
        self.keys.clear();
        let (mut secret_type, mut key) = if self.random.below(3) > 0 { JSON } else { CFG };
        let mut text = if key == JSON.1 {
            self.root()
        } else {
            self.map()
        };
        self.mutate(&mut text);
        match self.random.below(40) {
            0 => {
                key = self
                    .random
                    .pick(&[JSON.1, CFG.1, "config.json", ".DockerConfigJson"]);
            }
            1 => {
                secret_type = self
                    .random
                    .pick(&[JSON.0, CFG.0, "Opaque", "", "kubernetes.io/tls"]);
            }
            2 => text.clear(),
            _ => {}
        }
        let mut data = BTreeMap::from([(key, text)]);
        if self.random.one_in(20) {
            let other = if key == JSON.1 { CFG.1 } else { JSON.1 };
            data.insert(other, b"{}".to_vec());
        }
        Generated {
            secret_type,
            data,
            productions: std::mem::take(&mut self.productions),
        }
    }

    /// The document of a dockerconfigjson.
    fn root(&mut self) -> Vec<u8> {
        match self.random.below(60) {
            0 => {
                self.label("root: null");
                return b"null".to_vec();
            }
            1 => {
                self.label("root: of another type");
                return self.another_type();
            }
            _ => {}
        }
        let mut members = Vec::new();
        if self.random.one_in(8) {
            members.push((self.string("credsStore"), self.anything()));
        }
        let maps = match self.random.below(12) {
            0 => {
                self.label("root: auths missing");
                0
            }
            1 => {
                self.label("root: auths twice");
                2
            }
            _ => 1,
        };
        for _ in 0..maps {
            members.push((self.name("auths"), self.map()));
        }
        if self.random.one_in(6) {
            self.label("root: headers");
            let headers = match self.random.below(8) {
                0 => {
                    self.label("root: headers of another type");
                    self.another_type()
                }
                1 => b"null".to_vec(),
                _ => {
                    let value = match self.random.below(8) {
                        0 => self.another_type(),
                        1 => b"null".to_vec(),
                        _ => self.string("docker/20"),
                    };
                    let header = (self.string("User-Agent"), value);
                    self.object(vec![header])
                }
            };
            members.push((self.name("HttpHeaders"), headers));
        }
        self.object(members)
    }

    /// The entries.
    fn map(&mut self) -> Vec<u8> {
        match self.random.below(50) {
            0 => {
                self.label("root: auths null");
                return b"null".to_vec();
            }
            1 => {
                self.label("root: auths of another type");
                return self.another_type();
            }
            _ => {}
        }
        let count = self.random.below(4);
        let members = (0..count)
            .map(|_| {
                let key = self.key();
                (self.string(&key), self.entry())
            })
            .collect();
        self.object(members)
    }

    /// The key of an entry.
    pub(super) fn key(&mut self) -> String {
        if !self.keys.is_empty() && self.random.one_in(10) {
            self.label("key: again");
            let at = self.random.below(self.keys.len());
            return self.keys[at].clone();
        }
        let scheme = self.random.pick(&[
            "", "", "", "https://", "https://", "http://", "HTTPS://", "//",
        ]);
        let (label, host) = match self.random.below(16) {
            0 => ("key: no host", String::new()),
            1 => (
                "key: plain text",
                self.random.word("abcXYZ .:/%?#*[]{}@_", 0, 12),
            ),
            2..=4 => {
                let hub = [
                    "index.docker.io",
                    "docker.io",
                    "registry-1.docker.io",
                    "INDEX.docker.io",
                ];
                ("key: docker hub", self.random.pick(&hub).into())
            }
            5..=7 => ("key: glob", self.random.pick(&GLOBS).into()),
            8 => {
                let escaped = [
                    "qu%61y.io",
                    "%C3%A9.io",
                    "a%25b.io",
                    "[fe80::1%25en0]:1",
                    "[::1]",
                    "é.io",
                ];
                ("key: escapes", self.random.pick(&escaped).into())
            }
            10 => {
                let user = self
                    .random
                    .pick(&["me@", "me:pw@", "a%zz@", "a b@", "@", "a@b:c@"]);
                (
                    "key: user in front",
                    format!("{user}{}", self.random.pick(&HOSTS)),
                )
            }
            9 => ("key: capitals", self.random.pick(&HOSTS).to_uppercase()),
            _ => ("key: host", self.random.pick(&HOSTS).into()),
        };
        self.label(label);
        let port = self
            .random
            .pick(&["", "", "", "", "", "", ":443", ":", ":0443", ":x"]);
        let path = match self.random.below(10) {
            0..=3 => "",
            4 => "/",
            5 => self.random.pick(&[
                "/v1/",
                "/v2/",
                "/v1",
                "/v2",
                "/v3/",
                "/v1/org",
                "/v1/v2/org",
            ]),
            6 => self.random.pick(&[
                "/Org",
                "//org",
                "/org/../a",
                "/a%2Fb",
                "/a%zz",
                "/org*",
                "/%6frg",
                "/a b",
            ]),
            7 => self
                .random
                .pick(&["/org?x=1", "/org#x", "?x", "#%zz", "/org:1"]),
            _ => self
                .random
                .pick(&["/org", "/org/app", "/org/", "/or", "/acme", "/a-"]),
        };
        let key = format!("{scheme}{host}{port}{path}");
        self.keys.push(key.clone());
        key
    }

    fn entry(&mut self) -> Vec<u8> {
        let mut members = Vec::new();
        let kind = self.random.below(24);
        match kind {
            0 => {
                self.label("entry: null");
                return b"null".to_vec();
            }
            1 if self.random.one_in(2) => {
                self.label("entry: another type");
                return self.another_type();
            }
            1..=2 => self.label("entry: nothing"),
            3..=8 => self.label("entry: user and password"),
            9..=12 => self.label("entry: auth and user"),
            _ => self.label("entry: auth"),
        }
        if (3..=12).contains(&kind) {
            let (user, password) = (self.user(), self.password());
            members.push((self.name("username"), self.value(&user)));
            members.push((self.name("password"), self.value(&password)));
        }
        if kind >= 9 {
            let auth = self.auth();
            members.push((self.name("auth"), self.value(&auth)));
        }
        if self.random.one_in(3) {
            members.push((self.name("email"), self.value("me@example.com")));
        }
        if self.random.one_in(12) {
            self.label("field: unknown");
            members.push((self.string("identitytoken"), self.anything()));
        }
        if self.random.one_in(12) {
            self.label("field: twice");
            let name = self.random.pick(&["username", "password", "auth"]);
            let text = if name == "auth" {
                self.auth()
            } else {
                self.user()
            };
            members.push((self.name(name), self.value(&text)));
        }
        self.object(members)
    }

    fn user(&mut self) -> String {
        let users = [
            "AWS",
            "_json_key",
            "me",
            "",
            "a:b",
            "a\u{7}",
            "é",
            "<token>",
            "me",
        ];
        self.random.pick(&users).into()
    }

    fn password(&mut self) -> String {
        match self.random.below(10) {
            0 => String::new(),
            1 => "{\n  \"type\": \"service_account\"\n}".into(),
            2 => "pass:word".into(),
            3 => "pässword \u{1f511}".into(),
            _ => self.random.word("abcdefXYZ0123456789+/=-_", 1, 30),
        }
    }

    fn auth(&mut self) -> String {
        let mut login = format!("{}:{}", self.user(), self.password()).into_bytes();
        match self.random.below(30) {
            0 => {
                self.label("auth: no colon");
                login.retain(|byte| *byte != b':');
            }
            1 => {
                self.label("auth: no utf-8 in it");
                let at = self.random.below(login.len());
                login[at] = 0xff;
            }
            _ => {}
        }
        let mut auth = STANDARD.encode(&login);
        let label = match self.random.below(40) {
            0 => {
                auth.clear();
                "auth: empty"
            }
            1 => {
                auth = URL_SAFE.encode(&login);
                "auth: url-safe"
            }
            2 => {
                auth.push_str(self.random.pick(&["=", "==", "==="]));
                "auth: padding too much"
            }
            3 => {
                auth.truncate(self.random.below(auth.len() + 1));
                "auth: cut short"
            }
            4 => {
                let at = self.random.below(auth.len() + 1);
                auth.insert(
                    at,
                    self.random
                        .pick(&[' ', '=', '-', ',', 'é', '\u{0}', '\t', ':']),
                );
                "auth: a character in it"
            }
            5 => {
                let space = self
                    .random
                    .pick(&[" ", "\u{a0}", "\t", "\u{2003}", "\u{b}"]);
                auth = if self.random.one_in(2) {
                    format!("{auth}{space}")
                } else {
                    format!("{space}{auth}")
                };
                "auth: space at an end"
            }
            6..=7 => {
                auth = STANDARD_NO_PAD.encode(&login);
                if let Some(last) = auth.pop() {
                    auth.push(if last == 'Z' {
                        'b'
                    } else {
                        char::from(last as u8 + 1)
                    });
                }
                "auth: unused bits"
            }
            8..=11 => {
                for _ in 0..=self.random.below(3) {
                    let at = self.random.below(auth.len() + 1);
                    auth.insert_str(at, self.random.pick(&["\n", "\r\n", "\r", "\n"]));
                }
                "auth: line breaks in it"
            }
            12..=22 => {
                auth = STANDARD_NO_PAD.encode(&login);
                "auth: unpadded"
            }
            _ => "auth: padded",
        };
        self.label(label);
        auth
    }

    /// The value of a field that should be a string.
    fn value(&mut self, text: &str) -> Vec<u8> {
        match self.random.below(60) {
            0 => {
                self.label("field: another type");
                self.another_type()
            }
            1 => {
                self.label("field: null");
                b"null".to_vec()
            }
            _ => self.string(text),
        }
    }

    fn label(&mut self, production: &'static str) {
        assert!(
            PRODUCTIONS.contains(&production),
            "`{production}` is not in the list"
        );
        self.productions.insert(production);
    }
}
