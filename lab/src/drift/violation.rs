//! One breach of a rule, as the user sees it.

use std::fmt;

pub struct Violation {
    pub file: String,
    pub what: String,
    pub to_do: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.file, self.what, self.to_do)
    }
}
