//! One change to a wiki, as the rest of the program sees it. Made by wikimedia.rs.

/// What is kept of a RecentChange event. What the source leaves out, or gives in another type, is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `meta.id`: unique, the same when the stream repeats the event.
    pub id: Option<String>,
    /// `meta.dt`: when it happened, RFC 3339. (`timestamp` can be years older on log events.)
    pub time: Option<String>,
    /// `server_name`, or `meta.domain` without it: `en.wikipedia.org`.
    pub domain: Option<String>,
    /// Who made the change, an account or an IP address; never empty.
    pub user: Option<String>,
    pub bot: bool,
    pub title: Option<String>,
}
