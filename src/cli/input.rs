//! PATHs as typed → texts in order: files, a directory's by name, standard input.
//!
//! Reads at most one byte more than a policy may have of each, and only regular files of a directory:
//! a device or a huge file ends as one clear sentence, not as memory. Follows no link to a directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::diagnostic::{Code, Diagnostic, Source, Span};
use crate::policy::parse::holds_policies;
use crate::yaml::MAX_BYTES;

/// A text that was read, or what is wrong with its bytes.
#[derive(Debug)]
pub struct Input {
    /// The path as typed, `-` for standard input.
    pub name: String,
    /// The text; a finding when it is too large or not UTF-8.
    pub text: Result<Arc<Source>, Box<Diagnostic>>,
}

/// A path that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Missing, forbidden, or broken in the middle.
    #[error("cannot read `{name}`: {reason}")]
    Unreadable {
        /// The path as typed.
        name: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// Standard input has one reader.
    #[error("`-` stands twice: standard input can be read once")]
    StdinTwice,
    /// For commands that cannot go on with it.
    #[error("{0}")]
    Refused(Box<Diagnostic>),
}

/// Reads every path. A file that two paths lead to is read once.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Input>, InputError> {
    if paths.iter().filter(|path| is_stdin(path)).count() > 1 {
        return Err(InputError::StdinTwice);
    }
    let mut seen = HashSet::new();
    let mut inputs = Vec::new();
    for path in paths {
        if is_stdin(path) {
            inputs.push(read_one("-", io::stdin().lock())?);
            continue;
        }
        for file in files(path)? {
            if seen.insert(fs::canonicalize(&file).map_err(unreadable(&file))?) {
                let name = file.to_string_lossy();
                inputs.push(read_one(
                    &name,
                    File::open(&file).map_err(unreadable(&file))?,
                )?);
            }
        }
    }
    Ok(inputs)
}

/// The same for commands that need every text: the first one that is refused ends it.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Arc<Source>>, InputError> {
    let inputs = read(paths)?;
    inputs
        .into_iter()
        .map(|input| input.text.map_err(InputError::Refused))
        .collect()
}

/// What a file looks like from outside: other after every edit or swap of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    path: PathBuf,
    target: Option<PathBuf>,
    length: u64,
    modified: Option<SystemTime>,
    /// Where there is one: its number and the time of its last change of any kind, which nobody can
    /// set back as `cp -p` does the other one.
    inode: Option<(u64, i64, i64)>,
}

/// The stamps of all files that the paths mean now. What cannot be looked at has an empty one.
#[must_use]
pub fn stamp(paths: &[PathBuf]) -> Vec<Stamp> {
    let files = paths
        .iter()
        .filter(|path| !is_stdin(path))
        .flat_map(|path| files(path).unwrap_or_else(|_| vec![path.clone()]));
    files
        .map(|path| {
            let metadata = fs::metadata(&path).ok();
            Stamp {
                target: fs::canonicalize(&path).ok(),
                length: metadata.as_ref().map_or(0, fs::Metadata::len),
                inode: metadata.as_ref().and_then(inode),
                modified: metadata.and_then(|metadata| metadata.modified().ok()),
                path,
            }
        })
        .collect()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn inode(metadata: &fs::Metadata) -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> Option<(u64, i64, i64)> {
    None
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The files that a path means: itself, or a directory's `*.yaml`, `*.yml` and `*.json`, by name.
fn files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    if !fs::metadata(path).map_err(unreadable(path))?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    let mut pending = vec![(path.to_owned(), true)];
    while let Some((path, is_directory)) = pending.pop() {
        if !is_directory {
            files.push(path);
            continue;
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(unreadable(&path))? {
            let entry = entry.map_err(unreadable(&path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden ones are tools' own; a mounted ConfigMap's `..data` would come twice.
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(unreadable(&entry.path()))?;
            if kind.is_dir() {
                entries.push((entry.path(), true));
            } else if holds_policies(&name) {
                let file = entry.path();
                if fs::metadata(&file).map_err(unreadable(&file))?.is_file() {
                    entries.push((file, false));
                }
            }
        }
        entries.sort();
        pending.extend(entries.into_iter().rev());
    }
    Ok(files)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> InputError {
    move |error| because(path, &error)
}

fn because(path: &Path, error: &io::Error) -> InputError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    InputError::Unreadable {
        name: path.to_string_lossy().into_owned(),
        reason,
    }
}

fn read_one(name: &str, reader: impl Read) -> Result<Input, InputError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = reader.take(limit).read_to_end(&mut bytes);
    read.map_err(unreadable(Path::new(name)))?;
    let text = if bytes.len() > MAX_BYTES {
        Err(too_large(name))
    } else {
        text(name, bytes)
    };
    Ok(Input {
        name: name.to_owned(),
        text: text.map_err(Box::new),
    })
}

fn too_large(name: &str) -> Diagnostic {
    let message = format!("`{name}` is larger than {} MiB", MAX_BYTES >> 20);
    Diagnostic::new(
        Code::TooLarge,
        &Source::new(name, ""),
        Span::default(),
        message,
    )
    .help("split it into several files")
}

fn text(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, Diagnostic> {
    match String::from_utf8(bytes) {
        // Editors on Windows put a byte order mark in front; it is no part of the text.
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => Source::new(name, rest),
            None => Source::new(name, text),
        }),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let utf16 = matches!(bytes.as_slice(), [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]);
            let bad = bytes.get(good).copied().unwrap_or_default();
            let good = bytes.get(..good).unwrap_or_default();
            let mut shown = String::from_utf8_lossy(good).into_owned();
            let start = u32::try_from(shown.len()).unwrap_or(u32::MAX);
            shown.push(char::REPLACEMENT_CHARACTER);
            let end = u32::try_from(shown.len()).unwrap_or(u32::MAX);
            let source = Source::new(name, shown);
            let message =
                format!("`{name}` is not UTF-8: the byte 0x{bad:02x} does not belong there");
            let help = if utf16 {
                "it looks like UTF-16: save it as UTF-8"
            } else {
                "save it as UTF-8"
            };
            Err(Diagnostic::new(Code::Syntax, &source, Span { start, end }, message).help(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_by_name_and_without_what_tools_keep_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("b")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for file in [
            "c.json",
            "a.yaml",
            "b/x.yml",
            "b/notes.txt",
            ".git/d.yaml",
            "README.md",
        ] {
            fs::write(root.join(file), "").unwrap();
        }
        let inputs = read(&[root.to_owned(), root.join("a.yaml")]).unwrap();
        let names: Vec<_> = inputs
            .iter()
            .map(|input| {
                input
                    .name
                    .strip_prefix(&format!("{}/", root.display()))
                    .unwrap()
            })
            .collect();
        assert_eq!(
            names,
            ["a.yaml", "b/x.yml", "c.json"],
            "and a file given twice is read once"
        );
    }

    #[test]
    fn what_cannot_be_a_text_is_a_finding() {
        let big = vec![b' '; MAX_BYTES + 1];
        for (bytes, code, place, why) in [
            (
                &b"a: 1\nb: \xff"[..],
                Code::Syntax,
                "f:2:4",
                "the bad byte is shown",
            ),
            (b"\xff\xfea\0", Code::Syntax, "f:1:1", "UTF-16"),
            (&big, Code::TooLarge, "f:1:1", "one byte too many"),
        ] {
            let finding = read_one("f", bytes).unwrap().text.unwrap_err();
            assert_eq!(finding.code, code, "{why}");
            assert_eq!(finding.place.unwrap().to_string(), place, "{why}");
        }
        let source = read_one("f", &b"\xef\xbb\xbfa: 1"[..])
            .unwrap()
            .text
            .unwrap();
        assert_eq!(source.text(), "a: 1", "a byte order mark is dropped");
    }

    #[test]
    fn no_more_is_read_than_shows_that_it_is_too_much() {
        struct Endless(usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += buffer.len();
                assert!(self.0 <= MAX_BYTES + 1, "{} bytes were asked for", self.0);
                buffer.fill(b' ');
                Ok(buffer.len())
            }
        }
        let finding = read_one("f", Endless(0)).unwrap().text.unwrap_err();
        assert_eq!(finding.code, Code::TooLarge);
    }
}
