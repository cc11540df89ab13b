//! What was found, and how it is told.

use std::fmt;

/// What a store said to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the property.
    Yes,
    /// It has not.
    No,
    /// It could not be found out.
    Unknown,
}

/// How much depends on a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The gateway cannot work without it.
    Required,
    /// Without it something is weaker.
    Optional,
    /// Multipart uploads cannot work without it; everything else can.
    Multipart,
}

/// One question and its answer.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A short stable name.
    pub id: &'static str,
    /// The property.
    pub title: &'static str,
    /// How much depends on it.
    pub need: Need,
    /// What the store said.
    pub answer: Answer,
    /// What was seen, where that says more than the answer.
    pub note: String,
    /// What it means for the gateway where the answer is not yes.
    pub without: &'static str,
}

/// What a check saw, before it is put beside its question.
#[derive(Debug)]
pub struct Seen {
    pub answer: Answer,
    pub note: String,
}

impl Seen {
    pub fn yes() -> Self {
        Self {
            answer: Answer::Yes,
            note: String::new(),
        }
    }

    pub fn no(note: impl Into<String>) -> Self {
        Self {
            answer: Answer::No,
            note: note.into(),
        }
    }

    pub fn unknown(note: impl Into<String>) -> Self {
        Self {
            answer: Answer::Unknown,
            note: note.into(),
        }
    }

    /// Yes where nothing was missed.
    pub fn unless(missed: &[String]) -> Self {
        if missed.is_empty() {
            Self::yes()
        } else {
            Self::no(missed.join("; "))
        }
    }
}

/// All that was found out about a store.
#[derive(Debug)]
pub struct Report {
    /// The bucket that was used.
    pub bucket: String,
    /// Whether it was made for this, and deleted.
    pub made: bool,
    /// In the order of the questions.
    pub findings: Vec<Finding>,
    /// What could not be deleted.
    pub left_behind: Option<String>,
}

impl Report {
    /// The answer to the question of this name.
    #[must_use]
    pub fn answer(&self, id: &str) -> Option<Answer> {
        self.findings
            .iter()
            .find(|finding| finding.id == id)
            .map(|finding| finding.answer)
    }

    /// Whether the gateway can work with this store.
    ///
    /// # Errors
    /// A sentence that names what is missing.
    pub fn verdict(&self) -> Result<(), String> {
        let missing: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.need == Need::Required)
            .filter_map(|finding| match finding.answer {
                Answer::Yes => None,
                Answer::No => Some(finding.title.to_owned()),
                Answer::Unknown => Some(format!("{} (could not be found out)", finding.title)),
            })
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the gateway cannot be used with this store, which lacks: {}",
            missing.join("; ")
        ))
    }

    fn section(&self, f: &mut fmt::Formatter<'_>, heading: &str, need: Need) -> fmt::Result {
        writeln!(f, "\n{heading}")?;
        let width = self
            .findings
            .iter()
            .map(|finding| finding.title.chars().count())
            .max()
            .unwrap_or(0);
        for finding in self.findings.iter().filter(|finding| finding.need == need) {
            if finding.note.is_empty() {
                writeln!(f, "  {:<7}  {}", finding.answer, finding.title)?;
            } else {
                writeln!(
                    f,
                    "  {:<7}  {:<width$}  {}",
                    finding.answer, finding.title, finding.note
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = match (self.made, &self.left_behind) {
            (true, None) => " (made for this, and deleted)",
            (true, Some(_)) => " (made for this)",
            (false, _) => "",
        };
        writeln!(f, "bucket {}{made}", self.bucket)?;
        self.section(f, "Required", Need::Required)?;
        self.section(f, "Optional", Need::Optional)?;
        self.section(f, "For multipart uploads", Need::Multipart)?;

        let weaker = || self.findings.iter().filter(|f| f.answer != Answer::Yes);
        if weaker().next().is_some() {
            writeln!(f, "\nWhat is not there, and what that means")?;
        }
        for finding in weaker() {
            writeln!(f, "  {}:", finding.title)?;
            let unsure = match finding.answer {
                Answer::Unknown => "where it is missing: ",
                _ => "",
            };
            for line in wrapped(&format!("{unsure}{}", finding.without), 92) {
                writeln!(f, "    {line}")?;
            }
        }

        writeln!(f)?;
        if let Some(left) = &self.left_behind {
            writeln!(f, "Not everything could be deleted: {left}")?;
        }
        match self.verdict() {
            Err(problem) => writeln!(f, "In short: {problem}."),
            Ok(()) => {
                let missing = weaker().count();
                match missing {
                    0 => writeln!(
                        f,
                        "In short: the gateway can be used with this store, and nothing is weaker."
                    ),
                    1 => writeln!(
                        f,
                        "In short: the gateway can be used with this store; one thing is weaker."
                    ),
                    _ => writeln!(
                        f,
                        "In short: the gateway can be used with this store; {missing} things are weaker."
                    ),
                }
            }
        }
    }
}

/// Text in lines of at most `width` characters, where its words are not longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &'static str, need: Need, answer: Answer) -> Finding {
        Finding {
            id,
            title: id,
            need,
            answer,
            note: String::new(),
            without: "worse",
        }
    }

    fn report(findings: Vec<Finding>) -> Report {
        Report {
            bucket: "b".into(),
            made: true,
            findings,
            left_behind: None,
        }
    }

    #[test]
    fn only_what_is_required_fails() {
        let fine = report(vec![
            finding("a", Need::Required, Answer::Yes),
            finding("b", Need::Optional, Answer::No),
            finding("c", Need::Multipart, Answer::Unknown),
        ]);
        assert!(fine.verdict().is_ok());
        assert!(fine.to_string().contains("2 things are weaker"));
        for (answer, end) in [
            (Answer::No, "lacks: a"),
            (Answer::Unknown, "lacks: a (could not be found out)"),
        ] {
            let problem = report(vec![finding("a", Need::Required, answer)]).verdict();
            assert!(problem.unwrap_err().ends_with(end));
        }
    }

    #[test]
    fn text_is_wrapped_at_words() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("longword a b", 3), ["longword", "a b"]);
        assert!(wrapped("", 3).is_empty());
    }

    #[test]
    fn notes_are_aligned() {
        let mut short = finding("ab", Need::Optional, Answer::No);
        short.note = "note".into();
        let text = report(vec![short, finding("abcdef", Need::Required, Answer::Yes)]).to_string();
        assert!(text.contains("\n  yes      abcdef\n"), "{text}");
        assert!(text.contains("\n  no       ab      note\n"), "{text}");
    }
}
