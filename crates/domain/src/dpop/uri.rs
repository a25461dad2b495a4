//! Whether two URIs are the same for a proof (RFC 9449, 4.3): after the normalisations of RFC 3986, 6.2.2 and 6.2.3,
//! without query and fragment.

/// Scheme and authority, normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `https://host:port`, in lower case, without the scheme's own port.
    text: String,
    /// A path that stands before all others, for callers that come through a proxy; no slash at its end.
    prefix: String,
}

impl Origin {
    /// Reads `https://host[:port][/prefix]`; `None` for what is no http origin, or has user information.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, rest) = split(text)?;
        Some(Self { text, prefix: normal_path(rest).trim_end_matches('/').to_owned() })
    }

    /// The origin as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether the URI that a proof names is this path at this origin.
#[must_use]
pub fn same_uri(named: &str, origin: &Origin, path: &str) -> bool {
    let Some((named_origin, named_path)) = split(named) else { return false };
    let path = normal_path(path);
    let prefix = &origin.prefix;
    named_origin == origin.text
        && normal_path(named_path).strip_prefix(prefix.as_str()).is_some_and(|rest| rest == path)
}

/// Origin, normalised, and path, as it stands, without query and fragment.
fn split(uri: &str) -> Option<(String, &str)> {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at)?;
    let authority = authority.to_ascii_lowercase();
    let host = authority.strip_suffix(own_port).or_else(|| authority.strip_suffix(':')).unwrap_or(&authority);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]%".contains(&b);
    let good = !host.is_empty() && host.bytes().all(plain);
    good.then(|| (format!("{scheme}://{host}"), path))
}

/// Percent-encodings in upper case, none of what needs none; an empty path is `/`. Dot segments are left as they are:
/// a path that has them is no path of ours.
fn normal_path(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::with_capacity(path.len().max(1));
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, encoded) = rest.split_at(at);
        out.push_str(before);
        let byte = encoded.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                out.push(char::from(byte))
            }
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            None => {
                out.push('%');
                rest = &encoded[1..];
                continue;
            }
        }
        rest = &encoded[3..];
    }
    out.push_str(rest);
    if out.is_empty() { "/".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same(named: &str, origin: &str, path: &str) -> bool {
        same_uri(named, &Origin::parse(origin).unwrap(), path)
    }

    #[test]
    fn what_differs_in_writing_only_is_the_same() {
        for named in [
            "https://gw.example/v1/messages",
            "HTTPS://GW.Example/v1/messages",
            "https://gw.example:443/v1/messages",
            "https://gw.example:/v1/messages",
            "https://gw.example/v1/messages?beta=true",
            "https://gw.example/v1/messages#x",
            "https://gw.example/%76%31/messages",
        ] {
            assert!(is_same(named, "https://gw.example", "/v1/messages"), "{named}");
        }
        assert!(is_same("http://127.0.0.1:8787/v1/a%2fb", "http://127.0.0.1:8787", "/v1/a%2Fb"));
        assert!(is_same("https://gw.example", "https://gw.example/", "/"));
        assert!(is_same("https://gw.example/team/v1/messages", "https://gw.example/team", "/v1/messages"));
    }

    #[test]
    fn what_is_elsewhere_is_not() {
        for named in [
            "http://gw.example/v1/messages",
            "https://gw.example:8443/v1/messages",
            "https://gw.example.evil/v1/messages",
            "https://user@gw.example/v1/messages",
            "https://evil@gw.example/v1/messages",
            "https://gw.example/v1/messages/",
            "https://gw.example/v1/Messages",
            "https://gw.example//v1/messages",
            "https://gw.example/v1%2Fmessages",
            "https://gw.example/v1/x/../messages",
            "/v1/messages",
            "gw.example/v1/messages",
            "ftp://gw.example/v1/messages",
            "",
        ] {
            assert!(!is_same(named, "https://gw.example", "/v1/messages"), "{named}");
        }
        assert!(!is_same("https://gw.example/v1/messages", "https://gw.example/team", "/v1/messages"));
        assert!(!is_same("https://gw.example/teamv1/messages", "https://gw.example/team", "/v1/messages"));
    }

    #[test]
    fn broken_encodings_are_left_as_they_are() {
        assert_eq!(normal_path("/%"), "/%");
        assert_eq!(normal_path("/%zz%41"), "/%zzA");
        assert_eq!(normal_path("/%é"), "/%é");
    }
}
