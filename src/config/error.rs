//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Every problem that was found in a configuration, not only the first.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    problems: Vec<Finding>,
}

impl ConfigError {
    pub(super) const fn new(problems: Vec<Finding>) -> Self {
        Self { problems }
    }

    /// The problems, in the order of the documentation. There is at least one.
    #[must_use]
    pub fn problems(&self) -> &[Finding] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("1 problem in the configuration:")?,
            n => write!(f, "{n} problems in the configuration:")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// One thing to say about a configuration: a problem, or a warning. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The name of the file, where one was read.
    pub file: Option<Arc<str>>,
    /// Where the value was given.
    pub origin: Origin,
    /// The field, as `users[1].rules[0].actions`; empty for the file as a whole.
    pub field: String,
    /// What is the matter.
    pub what: String,
    /// What to write instead, or to do about it.
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.file) {
            (Origin::File { line, column }, Some(file)) => write!(f, "{file}:{line}:{column}: ")?,
            (Origin::File { line, column }, None) => write!(f, "line {line}, column {column}: ")?,
            (Origin::Variable(name), _) => write!(f, "variable {name}: ")?,
            (Origin::Flag(name), _) => write!(f, "flag {name}: ")?,
            (Origin::Nowhere, Some(file)) => write!(f, "{file}: ")?,
            (Origin::Nowhere, None) => {}
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}. {}", self.what, self.instead)
    }
}

/// Where a value was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Not given, or not known.
    #[default]
    Nowhere,
    /// In the file, at this line and column, both counted from 1.
    File {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
    /// In this environment variable.
    Variable(String),
    /// In this flag.
    Flag(&'static str),
}
