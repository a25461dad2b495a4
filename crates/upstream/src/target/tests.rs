use super::{Address, Scheme, Target, TargetError, reach::is_public};

fn target(url: &str) -> Result<Target, TargetError> {
    Target::parse(url, false)
}

#[test]
fn base_url_is_taken_apart_and_written_back_in_normal_form() {
    for (typed, normal, prefix, port) in [
        ("https://api.anthropic.com", "https://api.anthropic.com", "", 443),
        ("https://API.Anthropic.com./", "https://api.anthropic.com", "", 443),
        ("https://gw.example:8443/team-a/", "https://gw.example:8443/team-a", "/team-a", 8443),
        ("https://gw.example:443/a/b", "https://gw.example/a/b", "/a/b", 443),
        ("http://localhost:9000", "http://localhost:9000", "", 9000),
        ("http://[::1]:9000/x", "http://[::1]:9000/x", "/x", 9000),
        (" https://10.0.0.7 ", "https://10.0.0.7", "", 443),
    ] {
        let read = target(typed).expect(typed);
        assert_eq!((read.base_url().as_str(), read.prefix(), read.origin().port), (normal, prefix, port));
    }
}

#[test]
fn unusable_urls_are_refused_each_for_its_reason() {
    for (typed, reason) in [
        ("api.anthropic.com", TargetError::NotAUrl),
        ("/v1", TargetError::NotAUrl),
        ("", TargetError::NotAUrl),
        ("https://host:0", TargetError::NotAUrl),
        ("https://host:99999", TargetError::NotAUrl),
        ("https://host:", TargetError::NotAUrl),
        ("https://ho%20st", TargetError::NotAUrl),
        ("ftp://host", TargetError::Scheme),
        ("https://user:pw@host", TargetError::UserInfo),
        ("https://host/?x=1", TargetError::Query),
        ("https://host/#x", TargetError::Query),
        ("http://api.anthropic.com", TargetError::PlainHttp),
        ("http://10.0.0.7", TargetError::PlainHttp),
        ("http://localhost.example", TargetError::PlainHttp),
    ] {
        assert_eq!(target(typed).expect_err(typed), reason, "{typed}");
    }
    assert!(matches!(target("https://0.0.0.0"), Err(TargetError::NotAHost(_))));
    assert!(matches!(target("https://[::]"), Err(TargetError::NotAHost(_))));
}

#[test]
fn plain_http_leaves_the_machine_only_with_consent() {
    let consented = Target::parse("http://10.0.0.7:8000", true).expect("allowed");
    assert_eq!(consented.origin().scheme, Scheme::Http);
    assert!(target("http://127.8.8.8:1").is_ok());
    assert!(target("http://[::ffff:127.0.0.1]:1").is_ok());
}

#[test]
fn address_literals_are_told_from_names() {
    let literal = target("https://192.168.1.1").expect("read");
    assert!(matches!(literal.origin().address, Address::Literal(_)));
    // A number that only some resolvers take for an address stays a name, and is judged by what it resolves to.
    let number = target("https://2130706433").expect("read");
    assert!(matches!(number.origin().address, Address::Name(_)));
}

#[test]
fn path_joins_the_prefix_and_keeps_the_query() {
    let uri = "/v1/messages?beta=true".parse().expect("uri");
    let plain = target("https://h").expect("read").path(&uri).expect("joined");
    assert_eq!(plain.as_str(), "/v1/messages?beta=true");
    let prefixed = target("https://h/team-a/").expect("read");
    let path = prefixed.path(&uri).expect("joined");
    assert_eq!(path.as_str(), "/team-a/v1/messages?beta=true");
    let absolute = prefixed.absolute(path).expect("absolute");
    assert_eq!(absolute.to_string(), "https://h/team-a/v1/messages?beta=true");
}

#[test]
fn only_global_unicast_counts_as_public() {
    for public in
        ["1.1.1.1", "160.79.104.10", "172.32.0.1", "100.128.0.1", "2607:6bc0::10", "64:ff9b::1.1.1.1"]
    {
        assert!(is_public(public.parse().expect(public)), "{public}");
    }
    for inside in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:a00:1::1",
        "2001:db8::1",
        "2001::1",
    ] {
        assert!(!is_public(inside.parse().expect(inside)), "{inside}");
    }
}
