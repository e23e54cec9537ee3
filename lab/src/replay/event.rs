//! One event of the stream: of what kind it is, and how it counts.

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Edit,
    New,
    Log,
    Categorize,
}

/// How one event counts. Domains and users are numbers of the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    pub domain: u32,
    pub user: Option<u32>,
    pub bot: bool,
}

/// What the truth needs to know of one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// `None`: a correct consumer counts nothing.
    pub count: Option<Count>,
    /// Whether it has a meta.id that a consumer can tell doubles by.
    pub has_id: bool,
}
