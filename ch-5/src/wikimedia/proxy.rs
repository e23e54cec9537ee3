//! Finds the proxy for a URL: the one that the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name. reqwest could
//! do so too, but it says nothing about a proxy in its errors, and passes over one that it cannot use.

use std::env;
use std::net::IpAddr;

use anyhow::Context;
use anyhow::Result;
use axum::http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::config::PrivateUrl;

/// The proxy through which `url` is to be asked. `None` means directly, and that is so for every URL of this machine: a
/// proxy on another one would look for the server there.
///
/// # Errors
/// A variable names a proxy of a kind that cannot be used.
pub fn proxy_for(url: &Url) -> Result<Option<PrivateUrl>> {
    proxy_of(url, |name| env::var(name).or_else(|_| env::var(name.to_lowercase())).ok())
}

fn proxy_of(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Option<PrivateUrl>> {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse();
    if host == "localhost" || address.is_ok_and(|address: IpAddr| address.is_loopback()) {
        return Ok(None);
    }
    let own_name = format!("{}_PROXY", url.scheme().to_uppercase());
    let set = |name| Some((name, variable(name).filter(|value| !value.is_empty())?));
    let Some((name, proxy)) = set(&own_name).or_else(|| set("ALL_PROXY")) else {
        return Ok(None);
    };
    let no_proxy = variable("NO_PROXY").unwrap_or_default();
    let matcher = Matcher::builder().all("http://any").no(no_proxy).build();
    if matcher.intercept(&url.as_str().parse::<Uri>()?).is_none() {
        return Ok(None);
    }
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    proxy.parse().map(Some).with_context(|| format!("{name} names a proxy that cannot be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>> {
        let variable = |name: &str| {
            let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
            Some((*value).to_owned())
        };
        Ok(proxy_of(&url.parse().unwrap(), variable)?.map(|url| url.to_string()))
    }

    #[test]
    fn proxy_is_for_other_machines_only_and_shows_no_password() {
        let variables = [
            ("ALL_PROXY", "http://me:hunter2@proxy:3128"),
            ("HTTP_PROXY", "plain:80"),
            ("HTTPS_PROXY", ""),
            ("NO_PROXY", "intern"),
        ];
        for (url, expected) in [
            ("http://127.0.0.1:7100/", None),
            ("http://127.1.2.3/", None),
            ("http://[::1]:1/", None),
            ("https://localhost/", None),
            ("https://a.intern/", None),
            ("http://stream.wikimedia.org/", Some("http://plain/")),
            ("https://stream.wikimedia.org/", Some("http://***@proxy:3128/")),
        ] {
            assert_eq!(proxy(url, &variables).unwrap().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn proxy_that_cannot_be_used_is_refused_by_name_where_it_is_needed() {
        for value in ["socks5://me:hunter2@proxy:1080", "foo://proxy", "http://", "://"] {
            let variables = [("HTTPS_PROXY", value), ("NO_PROXY", "intern")];
            let refusal = proxy("https://stream.wikimedia.org/", &variables).unwrap_err();
            let refusal = format!("{refusal:#}");
            assert!(refusal.contains("HTTPS_PROXY") && !refusal.contains("hunter2"), "{refusal}");
            for url in ["http://stream.wikimedia.org/", "https://intern/", "https://127.0.0.1/"] {
                assert_eq!(proxy(url, &variables).unwrap(), None, "{url}");
            }
        }
    }
}
