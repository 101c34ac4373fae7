//! Strings, names and objects as JSON, in the ways that it can be written, and slightly wrong ones.

use super::SecretGenerator;

impl SecretGenerator {
    /// The name of a field, or what Go takes for it, or nearly.
    pub(super) fn name(&mut self, name: &str) -> Vec<u8> {
        match self.random.below(12) {
            0 => {
                self.label("name: capitals");
                let at = self.random.below(name.len());
                let (head, tail) = name.split_at(at);
                format!("\"{head}{}\"", tail.to_uppercase()).into_bytes()
            }
            1 => {
                self.label("name: long s");
                format!("\"{}\"", name.replacen(['s', 'h'], "ſ", 1)).into_bytes()
            }
            2 => {
                self.label("name: escaped");
                let at = self.random.below(name.len());
                let (head, tail) = name.split_at(at);
                let escape = u32::from(tail.as_bytes()[0]);
                format!("\"{head}\\u{escape:04x}{}\"", &tail[1..]).into_bytes()
            }
            _ => {
                self.label("name: as it is");
                format!("\"{name}\"").into_bytes()
            }
        }
    }

    pub(super) fn string(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = vec![b'"'];
        let escaping = self.random.one_in(12);
        for c in text.chars() {
            if escaping && self.random.one_in(3) {
                self.label("text: escapes");
                for unit in c.encode_utf16(&mut [0; 2]) {
                    bytes.extend(format!("\\u{unit:04X}").bytes());
                }
            } else if c == '"' || c == '\\' {
                bytes.extend([b'\\', c as u8]);
            } else if c.is_ascii_control() {
                bytes.extend(format!("\\u{:04x}", u32::from(c)).bytes());
            } else {
                bytes.extend(c.to_string().bytes());
            }
        }
        match self.random.below(80) {
            0 => {
                self.label("text: no utf-8");
                let junk: [&[u8]; 6] = [
                    b"\xff",
                    b"\xe2\x82",
                    b"\xf0\x9f\x94",
                    b"\xc0\x80",
                    b"\\ud83d",
                    b"\\udd11\\ud83d\\u0041",
                ];
                bytes.extend(self.random.pick(&junk));
            }
            1 if self.random.one_in(3) => {
                self.label("text: not allowed");
                let junk: [&[u8]; 5] = [b"\n", b"\x00", b"\\x", b"\\'", b"\\u00g0"];
                bytes.extend(self.random.pick(&junk));
            }
            _ => {}
        }
        bytes.push(b'"');
        bytes
    }

    pub(super) fn object(&mut self, members: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
        let mut bytes = b"{".to_vec();
        for (index, (key, value)) in members.into_iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            for part in [key, b":".to_vec(), value] {
                bytes.extend(
                    self.random
                        .pick(&["", "", "", "", " ", "\n\t", "\r\n"])
                        .bytes(),
                );
                bytes.extend(part);
            }
        }
        bytes.extend(self.random.pick(&["", "", "", " "]).bytes());
        bytes.push(b'}');
        bytes
    }

    /// Something that is no string and no object of strings.
    pub(super) fn another_type(&mut self) -> Vec<u8> {
        let values = [
            "1",
            "-0.5e+10",
            "true",
            "false",
            "[]",
            "[\"a\"]",
            "{\"a\": {}}",
            "\"\"",
            "\"x\"",
        ];
        self.random.pick(&values).into()
    }

    /// A value that nobody looks at.
    pub(super) fn anything(&mut self) -> Vec<u8> {
        let values = [
            "1",
            "01",
            "-",
            "1.",
            "1e400",
            "nul",
            "{}",
            "[[], {\"a\": [1, null]}]",
            "\"x\"",
            "[1,]",
            "{,}",
        ];
        match self.random.below(12) {
            0 => self.random.pick(&values).into(),
            1 if self.random.one_in(8) => {
                // The deepest that is taken, the document around it included, is near.
                let depth = 9_990 + self.random.below(16);
                ["[".repeat(depth), "]".repeat(depth)].concat().into()
            }
            _ => self
                .random
                .pick(&["\"desktop\"", "{\"a\": 1}", "[1, \"]\"]", "null"])
                .into(),
        }
    }

    pub(super) fn mutate(&mut self, text: &mut Vec<u8>) {
        const SIGNS: &[u8] = b"{}[]\":,\\ \n\x00\xff0-.eEtfnua=/%";
        let at = self.random.below(text.len() + 1);
        let end = (at + 1 + self.random.below(6)).min(text.len());
        let label = match self.random.below(20) {
            0 => {
                text.truncate(at);
                "mutation: cut short"
            }
            1 => {
                text.drain(at..end);
                "mutation: delete"
            }
            2 => {
                let part = text[at..end].to_vec();
                text.splice(at..at, part);
                "mutation: double"
            }
            3 => {
                text.insert(at, self.random.pick(SIGNS));
                "mutation: insert"
            }
            4 => {
                if let Some(byte) = text.get_mut(at) {
                    *byte = self.random.pick(SIGNS);
                }
                "mutation: byte"
            }
            _ => "mutation: none",
        };
        self.label(label);
    }
}
