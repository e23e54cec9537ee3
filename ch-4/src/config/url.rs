//! A URL with http or https. Its password and its query, in which a key may stand, are not shown.

use std::fmt;
use std::str::FromStr;

use anyhow::ensure;
use reqwest::Url;

/// Whoever shows it shows neither user, password, query nor fragment.
#[derive(Clone)]
pub struct PrivateUrl(pub Url);

impl FromStr for PrivateUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text)?;
        ensure!(
            matches!(url.scheme(), "http" | "https"),
            "not a URL that begins with http:// or https://"
        );
        Ok(Self(url))
    }
}

impl fmt::Display for PrivateUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        let has_user = !url.username().is_empty() || url.password().is_some();
        // These two only fail for a URL that has no host.
        _ = url.set_username(if has_user { "***" } else { "" });
        _ = url.set_password(None);
        url.set_query(url.query().map(|_| "***").map(str::to_owned).as_deref());
        url.set_fragment(None);
        url.fmt(formatter)
    }
}

impl fmt::Debug for PrivateUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_and_query_are_not_shown() {
        for (text, shown) in [
            ("http://127.0.0.1:7100/v2", "http://127.0.0.1:7100/v2"),
            (
                "https://me:hunter2@example.org/a?key=hunter2#hunter2",
                "https://***@example.org/a?***",
            ),
            ("https://hunter2@example.org/", "https://***@example.org/"),
        ] {
            let url: PrivateUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }
}
