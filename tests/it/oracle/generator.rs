//! Turns a seed into image references: the productions of distribution/reference's grammar, their
//! limits and near misses, each reference labelled with what went into it.
//!
//! The same seed gives the same references on every machine. Never decides whether one is valid.

use std::collections::BTreeSet;

use super::random::Random;

/// Every label that [`Generator::reference`] can put on a reference.
pub(super) const PRODUCTIONS: [&str; 55] = [
    "digest: algorithm in upper case",
    "digest: algorithm unsupported",
    "digest: algorithm of words",
    "digest: digits in upper case",
    "digest: none",
    "digest: sha256",
    "digest: sha384",
    "digest: sha512",
    "digest: too few digits",
    "digest: too many digits",
    "digest: under 32 digits",
    "host: docker.io",
    "host: docker.io in capitals",
    "host: domain",
    "host: domain in capitals",
    "host: index.docker.io",
    "host: ipv4",
    "host: ipv6",
    "host: ipv6 with a zone",
    "host: label at an edge",
    "host: localhost",
    "host: none",
    "host: one word in capitals",
    "host: over 255",
    "host: port",
    "host: port at an edge",
    "host: underscore",
    "host: underscore and capital",
    "mutation: ascii sign",
    "mutation: capital",
    "mutation: control character",
    "mutation: cut short",
    "mutation: delete",
    "mutation: double",
    "mutation: none",
    "mutation: scheme",
    "mutation: swap",
    "mutation: unicode",
    "mutation: unicode that folds to ascii",
    "path: 255",
    "path: 256",
    "path: identifier",
    "path: identifier, one digit off",
    "path: library",
    "path: several segments",
    "path: one segment",
    "path: separator at an edge",
    "path: separator dashes",
    "path: separator dot",
    "path: separator double underscore",
    "path: separator underscore",
    "tag: 128",
    "tag: 129",
    "tag: none",
    "tag: plain",
];

/// One reference and the labels of what it was made from.
pub(super) struct Generated {
    pub(super) text: String,
    pub(super) productions: BTreeSet<&'static str>,
}

/// A source of references.
pub(super) struct Generator {
    random: Random,
    productions: BTreeSet<&'static str>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            productions: BTreeSet::new(),
        }
    }

    pub(super) fn reference(&mut self) -> Generated {
        self.productions.clear();
        let host = self.host();
        let path = self.path(&host);
        let mut text = format!("{host}{path}{}{}", self.tag(), self.digest());
        self.mutate(&mut text);
        Generated {
            text,
            productions: std::mem::take(&mut self.productions),
        }
    }

    /// A registry and its slash, or nothing.
    fn host(&mut self) -> String {
        let host = match self.below(24) {
            0..=5 => {
                self.label("host: none");
                return String::new();
            }
            6..=9 => {
                self.label("host: domain");
                self.domain()
            }
            10 => {
                self.label("host: domain in capitals");
                let domain = self.domain();
                self.capitals(&domain)
            }
            11 => {
                self.label("host: one word in capitals");
                let word = self.word("abcdef0123456789", 1, 8);
                format!("H{}", self.capitals(&word))
            }
            12..=13 => {
                self.label("host: docker.io");
                "docker.io".into()
            }
            14 => {
                self.label("host: docker.io in capitals");
                let host = self.pick(&["docker.io", "index.docker.io", "localhost"]);
                self.capitals(host)
            }
            15 => {
                self.label("host: index.docker.io");
                "index.docker.io".into()
            }
            16 => {
                self.label("host: localhost");
                "localhost".into()
            }
            17 => {
                self.label("host: ipv4");
                let part = |this: &mut Self| this.below(300).to_string();
                [part(self), part(self), part(self), part(self)].join(".")
            }
            18..=19 => {
                self.label("host: ipv6");
                let word = self.word("0123456789abcdefABCDEF::", 1, 20);
                format!("[{word}]")
            }
            20 => {
                self.label("host: ipv6 with a zone");
                self.pick(&["[fe80::1%eth0]", "[fe80::1%25]", "[::ffff:1.2.3.4]"])
                    .into()
            }
            21 => {
                self.label("host: underscore");
                let separator = self.pick(&["_", "__", "_-", "___"]);
                format!("{}{separator}{}", self.word("abc019", 1, 4), self.domain())
            }
            22 => {
                self.label("host: underscore and capital");
                format!("{}_B.{}", self.word("abcABC", 1, 4), self.domain())
            }
            _ if self.one_in(4) => {
                self.label("host: over 255");
                format!("{}.{}", "h".repeat(250), self.domain())
            }
            _ => {
                self.label("host: label at an edge");
                let edge = self.pick(&["-", ".", "..", "-.", ".-", "[", "]", "[]"]);
                let domain = self.domain();
                if self.one_in(2) {
                    format!("{edge}{domain}")
                } else {
                    format!("{domain}{edge}")
                }
            }
        };
        let port = match self.below(8) {
            0..=1 => {
                self.label("host: port");
                format!(":{}", self.below(70_000))
            }
            2 if self.one_in(3) => {
                self.label("host: port at an edge");
                self.pick(&[
                    ":",
                    ":0",
                    ":00080",
                    ":80a",
                    ":-1",
                    "::",
                    ":99999999999999999999",
                ])
                .into()
            }
            _ => String::new(),
        };
        format!("{host}{port}/")
    }

    fn domain(&mut self) -> String {
        let labels = 2 + self.below(4);
        let labels: Vec<String> = (0..labels)
            .map(|_| {
                let dash = self.pick(&["", "", "-", "--"]);
                let (head, tail) = (self.word("abcxyz0189", 1, 6), self.word("abcxyz0189", 1, 3));
                format!("{head}{dash}{tail}")
            })
            .collect();
        labels.join(".")
    }

    fn path(&mut self, host: &str) -> String {
        match self.below(40) {
            0..=1 => {
                self.label("path: identifier");
                self.word("0123456789abcdef", 64, 64)
            }
            2 => {
                self.label("path: identifier, one digit off");
                let length = self.pick(&[63, 65]);
                let id = self.word("0123456789abcdef", length, length);
                if self.one_in(3) {
                    format!("{}g", &id[..63])
                } else {
                    id
                }
            }
            3 => {
                self.label("path: 255");
                self.long_path(host, 255)
            }
            4 => {
                self.label("path: 256");
                self.long_path(host, 256)
            }
            5..=7 => {
                self.label("path: library");
                let rest = self.segment();
                if self.one_in(4) {
                    format!("library/{rest}/x")
                } else {
                    format!("library/{rest}")
                }
            }
            8..=19 => {
                self.label("path: one segment");
                self.segment()
            }
            _ => {
                self.label("path: several segments");
                let count = 2 + self.below(4);
                (0..count)
                    .map(|_| self.segment())
                    .collect::<Vec<_>>()
                    .join("/")
            }
        }
    }

    /// A path that has `length` bytes once normalisation has added what it adds.
    fn long_path(&mut self, host: &str, length: usize) -> String {
        let hub = matches!(host, "" | "docker.io/" | "index.docker.io/");
        if self.one_in(2) {
            let implied = if hub { "library/".len() } else { 0 };
            return self.word("abc", length - implied, length - implied);
        }
        let last = if length.is_multiple_of(2) { "tt" } else { "t" };
        format!("{}{last}", "s/".repeat((length - 1) / 2))
    }

    fn segment(&mut self) -> String {
        let mut segment = self.word("abcxyz0189", 1, 8);
        for _ in 0..self.pick(&[0, 0, 0, 1, 1, 2]) {
            let (separator, label) = self.pick(&[
                (".", "path: separator dot"),
                ("_", "path: separator underscore"),
                ("__", "path: separator double underscore"),
                ("-", "path: separator dashes"),
                ("---", "path: separator dashes"),
            ]);
            self.label(label);
            segment = format!("{segment}{separator}{}", self.word("abcxyz0189", 1, 8));
        }
        if self.one_in(40) {
            self.label("path: separator at an edge");
            let edge = self.pick(&[".", "_", "-", "/", "..", "___", "._", "-.", "_-"]);
            segment = match self.below(3) {
                0 => format!("{edge}{segment}"),
                1 => format!("{segment}{edge}"),
                _ => format!("{segment}{edge}a"),
            };
        }
        segment
    }

    fn tag(&mut self) -> String {
        const WORD: &str = "abcXYZ019_";
        let (label, length) = match self.below(40) {
            0..=15 => ("tag: none", 0),
            16..=17 => ("tag: 128", 128),
            18 => ("tag: 129", 129),
            _ => ("tag: plain", 1 + self.below(12)),
        };
        self.label(label);
        if length == 0 {
            return String::new();
        }
        let rest = self.word("abcXYZ019_.-", length - 1, length - 1);
        format!(":{}{rest}", self.word(WORD, 1, 1))
    }

    fn digest(&mut self) -> String {
        const DIGITS: &str = "0123456789abcdef";
        let known = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
        let (algorithm, length) = self.pick(&known);
        let exact = self.word(DIGITS, length, length);
        let (label, algorithm, digits) = match self.below(40) {
            0..=22 => {
                self.label("digest: none");
                return String::new();
            }
            23 => {
                let words =
                    self.pick(&["sha256+b64", "a.b-c_d", "multi+b+c", "sha512-256", "a..b"]);
                ("digest: algorithm of words", words.to_owned(), exact)
            }
            24 => {
                let other = self.pick(&["md5", "sha1", "sha224", "blake3", "sha", "1sha", ""]);
                ("digest: algorithm unsupported", other.to_owned(), exact)
            }
            25 => (
                "digest: algorithm in upper case",
                self.capitals(algorithm),
                exact,
            ),
            26 => {
                let digits = self.capitals(&exact);
                ("digest: digits in upper case", algorithm.to_owned(), digits)
            }
            27 => {
                let length = self.pick(&[32, 33, length - 1, length - 2]);
                (
                    "digest: too few digits",
                    algorithm.to_owned(),
                    exact[..length].to_owned(),
                )
            }
            28 => (
                "digest: too many digits",
                algorithm.to_owned(),
                format!("{exact}{}", &exact[..2]),
            ),
            29 => {
                let length = self.pick(&[0, 1, 30, 31]);
                (
                    "digest: under 32 digits",
                    algorithm.to_owned(),
                    exact[..length].to_owned(),
                )
            }
            _ => {
                let label = match length {
                    64 => "digest: sha256",
                    96 => "digest: sha384",
                    _ => "digest: sha512",
                };
                (label, algorithm.to_owned(), exact)
            }
        };
        self.label(label);
        format!("@{algorithm}:{digits}")
    }

    /// Breaks about a third of the references at one place, most of them for good.
    fn mutate(&mut self, text: &mut String) {
        if !self.one_in(3) || text.is_empty() {
            self.label("mutation: none");
            return;
        }
        let mut characters: Vec<char> = text.chars().collect();
        let at = self.below(characters.len());
        let label = match self.below(11) {
            0 => {
                characters.remove(at);
                "mutation: delete"
            }
            1 => {
                characters.insert(at, characters[at]);
                "mutation: double"
            }
            2 => {
                let other = self.below(characters.len());
                characters.swap(at, other);
                "mutation: swap"
            }
            3 => {
                // Where the capital lands decides: a registry and a tag may have one.
                characters[at] = characters[at].to_ascii_uppercase();
                "mutation: capital"
            }
            4 => {
                let sign = self.pick(&['é', 'É', 'ß', '–', '\u{200b}', '\u{ff0f}', '🐳', '١']);
                characters.insert(at, sign);
                "mutation: unicode"
            }
            5 => {
                // The Kelvin sign and the dotted capital I have ASCII lower cases in Go.
                characters.insert(at, self.pick(&['\u{212a}', '\u{130}']));
                "mutation: unicode that folds to ascii"
            }
            6 => {
                let control = self.pick(&['\0', '\n', '\r', '\t', ' ', '\u{7f}', '\u{85}']);
                let at = if self.one_in(2) { characters.len() } else { at };
                characters.insert(at, control);
                "mutation: control character"
            }
            7 => {
                characters.truncate(at);
                "mutation: cut short"
            }
            8 => {
                let scheme = self.pick(&["http://", "https://", "docker://", "oci:", "//"]);
                characters.splice(0..0, scheme.chars());
                "mutation: scheme"
            }
            _ => {
                let sign = self.pick(&[
                    ':', '@', '/', '.', '-', '_', '[', ']', '*', '?', '%', '+', '=', '~', '\\', '"',
                ]);
                if self.one_in(2) {
                    characters.insert(at, sign);
                } else {
                    characters[at] = sign;
                }
                "mutation: ascii sign"
            }
        };
        self.label(label);
        *text = characters.into_iter().collect();
    }

    fn label(&mut self, production: &'static str) {
        assert!(
            PRODUCTIONS.contains(&production),
            "`{production}` is not in the list"
        );
        self.productions.insert(production);
    }

    /// Turns some letters, one at least, into capitals.
    fn capitals(&mut self, text: &str) -> String {
        let mut bytes: Vec<char> = text.chars().collect();
        for byte in &mut bytes {
            if self.one_in(3) {
                *byte = byte.to_ascii_uppercase();
            }
        }
        if let Some(letter) = bytes.iter_mut().find(|byte| byte.is_ascii_alphabetic()) {
            *letter = letter.to_ascii_uppercase();
        }
        bytes.into_iter().collect()
    }

    fn word(&mut self, alphabet: &str, least: usize, most: usize) -> String {
        self.random.word(alphabet, least, most)
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        self.random.pick(choices)
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.random.one_in(chances)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.below(limit)
    }
}
