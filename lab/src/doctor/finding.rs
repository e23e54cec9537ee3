//! One line of the report.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Good,
    /// A later chapter, or a part that can be left out, needs it.
    Attention,
    /// Chapters 1 and 2 need it.
    Missing,
}

#[derive(Debug)]
pub struct Finding {
    pub mark: Mark,
    what: String,
    state: String,
    /// The chapters that need it, and what for.
    needed_by: String,
    mend: Option<String>,
}

impl Finding {
    pub fn good(what: &str, state: impl Into<String>, needed_by: &str) -> Self {
        Self {
            mark: Mark::Good,
            what: what.to_owned(),
            state: state.into(),
            needed_by: needed_by.to_owned(),
            mend: None,
        }
    }

    pub fn attention(what: &str, state: impl Into<String>, needed_by: &str, mend: &str) -> Self {
        Self {
            mark: Mark::Attention,
            mend: Some(mend.to_owned()),
            ..Self::good(what, state, needed_by)
        }
    }

    pub fn missing(what: &str, state: impl Into<String>, needed_by: &str, mend: &str) -> Self {
        Self { mark: Mark::Missing, ..Self::attention(what, state, needed_by, mend) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.mark {
            Mark::Good => '✓',
            Mark::Attention => '!',
            Mark::Missing => '✗',
        };
        writeln!(out, "{sign} {:<15} {} ({})", self.what, self.state, self.needed_by)?;
        match &self.mend {
            Some(mend) => writeln!(out, "{:18}> {mend}", ""),
            None => Ok(()),
        }
    }
}
