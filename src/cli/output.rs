//! Where a command's words go: standard output, files, standard error, and whether they are coloured.
//!
//! `-o FORMAT[=FILE]` may stand several times; only one of them may be standard output, so that what
//! comes out there parses whole.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, ValueEnum};

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// As the terminal and the environment say.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Never.
    Never,
}

/// The streams of a command.
#[derive(Debug)]
pub struct Io {
    color: Color,
}

impl Io {
    /// Standard output and standard error, coloured as told.
    #[must_use]
    pub fn new(color: Color) -> Self {
        Self { color }
    }

    /// One line for the person, on standard error.
    pub fn say(&mut self, line: &str) {
        // Nobody is left to hear that standard error is closed.
        let _ = writeln!(io::stderr(), "{}", super::render::visible(line));
    }

    /// Text that is drawn already, on standard error.
    pub fn say_text(&mut self, text: &[u8]) {
        let _ = io::stderr().write_all(text);
    }

    /// Standard output for text as it is.
    pub fn print(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text)?;
        stdout.flush()?;
        Ok(())
    }

    fn styled(&self, to_stdout: bool) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                to_stdout
                    && anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
            }
        }
    }

    /// Draws each output that was asked for: `draw` gets the format, whether to colour, and where to.
    pub fn write<F: Copy>(
        &mut self,
        outputs: &[Output<F>],
        default: F,
        mut draw: impl FnMut(F, bool, &mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let to_stdout = outputs
            .iter()
            .filter(|output| output.file.is_none())
            .count();
        if to_stdout > 1 {
            bail!(
                "two outputs would share standard output; give all but one a file: `-o json=FILE`"
            );
        }
        let usual = [Output {
            format: default,
            file: None,
        }];
        let outputs = if outputs.is_empty() { &usual } else { outputs };
        for Output { format, file } in outputs {
            let colored = self.styled(file.is_none());
            let mut put = |to: &mut dyn Write| {
                draw(*format, colored, to)?;
                to.flush()
            };
            if let Some(path) = file {
                let name = path.display();
                let file = File::create(path);
                let file = file.with_context(|| format!("cannot write `{name}`"))?;
                put(&mut BufWriter::new(file)).with_context(|| format!("cannot write `{name}`"))?;
            } else {
                // The stream translates colours for consoles that know no escape sequences. What
                // is not coloured goes out as it is: the stream would cut from a manifest what
                // looks like a colour there.
                let stdout = io::stdout().lock();
                if colored {
                    let stdout = anstream::AutoStream::new(stdout, anstream::ColorChoice::Always);
                    put(&mut BufWriter::new(stdout))?;
                } else {
                    put(&mut BufWriter::new(stdout))?;
                }
            }
        }
        Ok(())
    }
}

/// One `-o FORMAT[=FILE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output<F> {
    /// The format.
    pub format: F,
    /// The file; standard output when absent.
    pub file: Option<PathBuf>,
}

/// Reads `FORMAT[=FILE]`; `-` as a file is standard output.
#[derive(Clone)]
pub struct OutputParser<F>(PhantomData<F>);

impl<F> OutputParser<F> {
    /// A parser for the formats that `F` lists.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F> Default for OutputParser<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for OutputParser<F> {
    type Value = Output<F>;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = value.to_string_lossy();
        let (format, file) = match text.split_once('=') {
            Some((format, file)) => (format, Some(file)),
            None => (&*text, None),
        };
        match F::from_str(format, false) {
            Ok(_) if file == Some("") => {}
            Ok(format) => {
                let file = file.filter(|file| *file != "-").map(PathBuf::from);
                return Ok(Output { format, file });
            }
            Err(_) => {}
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        let name = arg.map_or_else(|| "-o".to_owned(), ToString::to_string);
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
        error.insert(
            ContextKind::InvalidValue,
            ContextValue::String(text.into_owned()),
        );
        let formats = formats::<F>()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        error.insert(ContextKind::ValidValue, ContextValue::Strings(formats));
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(formats::<F>().into_iter()))
    }
}

fn formats<F: ValueEnum>() -> Vec<PossibleValue> {
    F::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .collect()
}
