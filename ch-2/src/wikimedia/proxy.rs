//! Finds the proxy for a URL: the one that the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name. reqwest uses
//! the same, but says nothing about it in its errors.

use std::net::IpAddr;

use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::config::PrivateUrl;

/// The proxy through which `url` is to be asked. `None` means directly, and that is so for every URL of this machine: a
/// proxy on another one would look for the server there.
pub fn proxy_for(url: &Url) -> Option<PrivateUrl> {
    proxy_of(&Matcher::from_system(), url)
}

fn proxy_of(matcher: &Matcher, url: &Url) -> Option<PrivateUrl> {
    let host = url.host_str()?;
    let address = host.trim_matches(['[', ']']).parse();
    if host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback()) {
        return None;
    }
    let url: Uri = url.as_str().parse().ok()?;
    matcher.intercept(&url)?.uri().to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_is_for_other_machines_only_and_shows_no_password() {
        let matcher = Matcher::builder().all("http://me:hunter2@proxy:3128").build();
        let proxy =
            |url: &str| proxy_of(&matcher, &url.parse().unwrap()).map(|url| url.to_string());
        for url in
            ["http://127.0.0.1:7100/", "http://127.1.2.3/", "http://[::1]:1/", "https://localhost/"]
        {
            assert_eq!(proxy(url), None, "{url}");
        }
        let shown = proxy("https://stream.wikimedia.org/").unwrap();
        assert!(shown.contains("proxy:3128") && !shown.contains("hunter2"), "{shown}");
    }
}
