//! One event of the stream: of what kind it is, and how it counts.

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Edit,
    New,
    Log,
    Categorize,
}

/// How one event counts. Domains and users are numbers that the source knows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    pub domain: u32,
    pub user: Option<u32>,
    pub bot: bool,
}

/// What must be known of one position to count it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// `None` where a correct program counts nothing.
    pub count: Option<Count>,
    /// Whether it has a meta.id that a consumer can tell doubles by.
    pub has_id: bool,
}
