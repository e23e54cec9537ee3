//! One change to a wiki, in the form that the rest of the program uses. wikimedia.rs makes it.

/// The fields of a RecentChange event that the program uses. A field that is absent, or of another type, is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `meta.id`. It is unique, and it is the same when the stream sends the event again.
    pub id: Option<String>,
    /// `meta.dt`: when the change happened, as RFC 3339 writes it. (`timestamp` can be years older on log events.)
    pub time: Option<String>,
    /// `server_name`, or `meta.domain` if there is none. Example: `en.wikipedia.org`.
    pub domain: Option<String>,
    /// Who made the change, an account or an IP address; never empty.
    pub user: Option<String>,
    pub bot: bool,
    pub title: Option<String>,
}
