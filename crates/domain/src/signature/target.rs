//! What a request is aimed at, as signatures bind it.

use std::borrow::Cow;

/// Method and target of a request.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The method, as it was sent.
    pub method: &'a str,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// Host and port: see [`normal_authority`].
    pub authority: Cow<'a, str>,
    /// The path, as it was sent.
    pub path: &'a str,
    /// What follows the `?`, as it was sent.
    pub query: Option<&'a str>,
}

/// Host and port as RFC 9421 (section 2.2.3) compares them: in lower case, without the scheme's own port.
#[must_use]
pub fn normal_authority<'a>(authority: &'a str, scheme: &str) -> Cow<'a, str> {
    let port = if scheme == "https" { ":443" } else { ":80" };
    let shown = authority.strip_suffix(port).unwrap_or(authority);
    if shown.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(shown.to_ascii_lowercase())
    } else {
        Cow::Borrowed(shown)
    }
}

impl<'a> Target<'a> {
    /// From an absolute URL: what a client signs.
    #[must_use]
    pub fn of_url(method: &'a str, url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        let fits = !authority.is_empty() && url.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self { method, scheme, authority: normal_authority(authority, scheme), path, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemes_own_port_and_the_hosts_case_do_not_matter() {
        assert_eq!(normal_authority("GW.Example:443", "https"), "gw.example");
        assert_eq!(normal_authority("gw.example:80", "http"), "gw.example");
        assert_eq!(normal_authority("gw.example:443", "http"), "gw.example:443");
        assert_eq!(normal_authority("[::1]:8787", "http"), "[::1]:8787");
    }

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::of_url("POST", "https://u:p@Gw.example:443/v1/m%2Fx?beta=true#top").unwrap();
        assert_eq!(
            (&*target.authority, target.path, target.query),
            ("gw.example", "/v1/m%2Fx", Some("beta=true"))
        );
        let bare = Target::of_url("GET", "http://gw?a").unwrap();
        assert_eq!((bare.path, bare.query), ("/", Some("a")));
        for bad in ["gw/v1", "ftp://gw/", "https:///v1", "https://gw/a b", "https://gw/\u{e9}"] {
            assert!(Target::of_url("GET", bad).is_none(), "{bad}");
        }
    }
}
