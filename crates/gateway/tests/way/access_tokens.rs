//! A key buys an access token, which then stands for it.

use claviger_testkit::{Answer, RawServer};
use serde_json::Value;

use crate::house::{House, Wish, body, post};

const JSON: &str = r#"{"id":"msg_1","type":"message","model":"claude-opus-5-5","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":4}}"#;

fn upstream() -> RawServer {
    RawServer::start(|_| Answer::ok("application/json", JSON))
}

/// Status, head and JSON of one answer.
pub struct Said {
    pub status: u16,
    pub head: String,
    pub json: Value,
}

pub fn ask(house: &House, request: &str) -> Said {
    let mut connection = house.send(request);
    let head = connection.until("\r\n\r\n");
    let (head, begun) = head.split_once("\r\n\r\n").unwrap();
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap();
    let mut text = begun.to_owned();
    let wanted: usize = length.trim().parse().unwrap();
    while text.len() < wanted {
        use std::io::Read;
        let mut chunk = vec![0; wanted - text.len()];
        let read = connection.0.read(&mut chunk).unwrap();
        assert!(read > 0, "the answer ends early");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Said { status, head: head.to_owned(), json: serde_json::from_str(&text).unwrap_or(Value::Null) }
}

pub fn form(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: gw\r\n{headers}content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn buy(house: &House, body: &str) -> Said {
    ask(house, &form("/v1/auth/token", &format!("x-api-key: {}\r\n", house.key), body))
}

pub fn text(said: &Said, name: &str) -> String {
    said.json[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", said.json)).to_owned()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gw\r\n{headers}\r\n")
}

fn counted(house: &House, counts: [(&str, u32); 5]) {
    let metrics = house.gateway.metrics_text();
    for (event, count) in counts {
        let line = format!("claviger_auth_tokens_total{{event=\"{event}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

pub fn code(said: &Said) -> &str {
    said.json["error"]["details"]["error_code"].as_str().unwrap_or_default()
}

#[test]
fn a_key_buys_an_access_token_which_works_in_either_header_and_dies_with_the_key() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    let bought = buy(&house, "");
    assert_eq!(bought.status, 200, "{}", bought.json);
    assert!(bought.head.contains("cache-control: no-store"), "{}", bought.head);
    assert_eq!(bought.json["token_type"], "Bearer");
    assert_eq!(bought.json["expires_in"], 7_200);
    assert_eq!(bought.json["scope"], "read write");
    assert!(text(&bought, "refresh_token").starts_with("cvg_rfsh_"));
    let token = text(&bought, "access_token");
    let bearer = post(&token, &body(false)).replace("x-api-key: ", "authorization: Bearer ");
    for request in [post(&token, &body(false)), bearer] {
        let answer = ask(&house, &request);
        assert_eq!((answer.status, &answer.json["id"]), (200, &"msg_1".into()), "{}", answer.json);
    }
    let heads = upstream.take(2).into_iter().map(|sent| String::from_utf8(sent.head).unwrap());
    let seen: String = heads.collect();
    assert!(!seen.contains(&token) && seen.contains("sk-ant-api03-provider-0"), "{seen}");
    house.revoke_now();
    let refused = ask(&house, &post(&token, &body(false)));
    assert_eq!((refused.status, code(&refused)), (401, "token_revoked"), "{}", refused.json);
    assert!(refused.head.contains("www-authenticate: Bearer error=\"invalid_token\""), "{}", refused.head);
    let refresh = format!("refresh_token={}", text(&bought, "refresh_token"));
    let refused = ask(&house, &form("/v1/auth/refresh", "", &refresh));
    assert_eq!((refused.status, &refused.json["error"]["message"]), (401, &"invalid x-api-key".into()));
}

#[test]
fn a_key_is_shown_in_a_header_or_as_a_client_of_oauth() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    use base64::{Engine, engine::general_purpose::STANDARD};
    let basic = |id: &str| STANDARD.encode(format!("{id}:{}", house.key));
    for (headers, status) in [
        (format!("authorization: Bearer {}\r\n", house.key), 200),
        (format!("authorization: Basic {}\r\n", basic(house.key_id.as_str())), 200),
        (format!("authorization: Basic {}\r\n", basic("key_somebodys")), 401),
        ("authorization: Basic ????\r\n".to_owned(), 401),
        (String::new(), 401),
        ("x-api-key: cvg_live_nonsense\r\n".to_owned(), 401),
    ] {
        let said = ask(&house, &form("/v1/auth/token", &headers, "grant_type=client_credentials"));
        assert_eq!(said.status, status, "{headers} {}", said.json);
        if status == 401 {
            assert_eq!(said.json["error"]["message"], "invalid x-api-key");
            assert_eq!(said.json["error"]["details"]["oauth_error"], "invalid_client");
            assert!(said.head.contains("www-authenticate: "), "{}", said.head);
        }
    }
    let (id, key) = (house.key_id.as_str(), &house.key);
    let header = format!("x-api-key: {key}\r\n");
    for (headers, body, status) in [
        ("", format!("client_id={id}&client_secret={key}"), 200),
        ("", format!("client_secret={key}"), 200),
        ("", format!("client_id=key_0123456789&client_secret={key}"), 401),
        ("", "client_secret=cvg_live_nonsense".to_owned(), 401),
        (&header, format!("client_id={id}"), 200),
        (&header, "client_id=key_0123456789".to_owned(), 401),
        (&header, "client_secret=another".to_owned(), 401),
    ] {
        let said = ask(&house, &form("/v1/auth/token", headers, &body));
        assert_eq!(said.status, status, "{headers} {} {}", body.replace(key.as_str(), "KEY"), said.json);
    }
    let other = ask(&house, &form("/v1/auth/token", "", "grant_type=password"));
    assert_eq!(
        (other.status, &other.json["error"]["details"]["oauth_error"]),
        (400, &"unsupported_grant_type".into())
    );
}

#[test]
fn a_token_may_be_narrower_than_its_key_and_never_wider() {
    let upstream = upstream();
    let key = claviger_service::keys::NewKey {
        name: "narrow".to_owned(),
        endpoints: vec!["messages".to_owned(), "models".to_owned()],
        ..Default::default()
    };
    let house = House::with(&upstream.url(), Wish { key, ..Wish::default() });
    let all = buy(&house, "");
    assert_eq!(all.json["scope"], "messages:read models:read messages:write models:write");
    for scope in ["files:read", "read", "admin", "messages:write+files:read"] {
        let refused = buy(&house, &format!("scope={scope}"));
        assert_eq!((refused.status, code(&refused)), (400, "scope_exceeded"), "{scope}");
        assert_eq!(refused.json["error"]["details"]["oauth_error"], "invalid_scope");
    }
    let looks = buy(&house, "scope=models:read");
    assert_eq!(looks.json["scope"], "models:read");
    let refused = ask(&house, &post(&text(&looks, "access_token"), &body(false)));
    assert_eq!((refused.status, code(&refused)), (403, "scope_exceeded"), "{}", refused.json);
    assert!(refused.head.contains("insufficient_scope"), "{}", refused.head);
    let child = form("/v1/claviger/children", &format!("x-api-key: {}\r\n", text(&all, "access_token")), "");
    let refused = ask(&house, &child);
    assert_eq!((refused.status, code(&refused)), (403, "key_required"));
    let me =
        ask(&house, &get("/v1/claviger/me", &format!("x-api-key: {}\r\n", text(&looks, "access_token"))));
    assert_eq!(me.status, 200, "{}", me.json);
}

#[test]
fn a_refresh_token_works_once_and_its_second_use_ends_everything() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    let first = buy(&house, "");
    let renew = |token: &str| ask(&house, &form("/v1/auth/refresh", "", &format!("refresh_token={token}")));
    let second = renew(&text(&first, "refresh_token"));
    assert_eq!(second.status, 200, "{}", second.json);
    let lost = renew(&text(&first, "refresh_token"));
    assert_eq!((lost.status, &lost.json["refresh_token"]), (200, &second.json["refresh_token"]));
    assert_eq!(lost.json["access_token"], second.json["access_token"]);
    let bearer = format!("authorization: Bearer {}\r\n", text(&second, "refresh_token"));
    let third = ask(&house, &form("/v1/auth/refresh", &bearer, ""));
    assert_eq!(third.status, 200, "{}", third.json);
    assert_eq!(ask(&house, &post(&text(&third, "access_token"), &body(false))).status, 200);
    let reused = renew(&text(&first, "refresh_token"));
    assert_eq!((reused.status, code(&reused)), (401, "refresh_reused"), "{}", reused.json);
    assert!(reused.head.contains("x-should-retry: false"), "{}", reused.head);
    let refused = renew(&text(&third, "refresh_token"));
    assert_eq!((refused.status, code(&refused)), (401, "refresh_reused"));
    for bought in [&first, &second, &third] {
        let refused = ask(&house, &post(&text(bought, "access_token"), &body(false)));
        assert_eq!((refused.status, code(&refused)), (401, "token_revoked"));
    }
    assert_eq!(code(&renew("cvg_rfsh_nonsense")), "refresh_invalid");
    assert_eq!(renew("").status, 400);
    let counts = [("issued", 1), ("refreshed", 2), ("repeated", 1), ("revoked", 0), ("reused", 1)];
    counted(&house, counts);
}

#[test]
fn tokens_are_revoked_and_looked_at_as_the_rfcs_say() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    let bought = buy(&house, "scope=messages:write");
    let (access, refresh) = (text(&bought, "access_token"), text(&bought, "refresh_token"));
    let look = |token: &str| {
        let headers = format!("x-api-key: {}\r\n", house.key);
        ask(&house, &form("/v1/auth/introspect", &headers, &format!("token={token}"))).json
    };
    let seen = look(&access);
    assert_eq!(seen["active"], true, "{seen}");
    assert_eq!((&seen["scope"], &seen["token_type"]), (&"messages:write".into(), &"Bearer".into()));
    assert_eq!(seen["sub"], house.key_id.as_str());
    assert_eq!(look(&refresh)["token_type"], "refresh_token");
    assert_eq!(look("nonsense"), serde_json::json!({ "active": false }));
    let nobody = ask(&house, &form("/v1/auth/introspect", "", &format!("token={access}")));
    assert_eq!(nobody.status, 401);
    let revoke = |token: &str| ask(&house, &form("/v1/auth/revoke", "", &format!("token={token}"))).status;
    assert_eq!((revoke(&access), revoke(&access), revoke("unknown")), (200, 200, 200));
    assert_eq!(look(&access), serde_json::json!({ "active": false }));
    assert_eq!(code(&ask(&house, &post(&access, &body(false)))), "token_revoked");
    assert_eq!(look(&refresh)["active"], true, "the family lives");
    assert_eq!(revoke(&refresh), 200);
    assert_eq!(look(&refresh), serde_json::json!({ "active": false }));
    let refused = ask(&house, &form("/v1/auth/refresh", "", &format!("refresh_token={refresh}")));
    assert_eq!((refused.status, code(&refused)), (400, "refresh_revoked"));
    assert_eq!(ask(&house, &form("/v1/auth/revoke", "", "")).status, 400);
    let counts = [("issued", 1), ("refreshed", 0), ("repeated", 0), ("revoked", 2), ("reused", 0)];
    counted(&house, counts);
}

#[test]
fn whoever_asks_gets_the_keys_and_the_metadata() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    let keys = ask(&house, &get("/.well-known/jwks.json", ""));
    assert!(keys.head.contains("cache-control: public, max-age=3600"), "{}", keys.head);
    assert_eq!(keys.json["keys"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&keys.json["keys"][0]["alg"], &keys.json["keys"][0]["use"]),
        (&"EdDSA".into(), &"sig".into())
    );
    let token = text(&buy(&house, ""), "access_token");
    let jws =
        claviger_domain::jose::Jws::parse(token.as_bytes(), claviger_domain::jose::Profile::AccessToken);
    assert_eq!(jws.unwrap().header().kid.as_deref(), keys.json["keys"][0]["kid"].as_str());
    let meta = ask(&house, &get("/.well-known/oauth-authorization-server", "")).json;
    let issuer = meta["issuer"].as_str().unwrap();
    assert_eq!(meta["token_endpoint"], format!("{issuer}/v1/auth/token"));
    assert_eq!(meta["jwks_uri"], format!("{issuer}/.well-known/jwks.json"));
    assert_eq!(ask(&house, &get("/v1/auth/token", "")).status, 405);
    assert_eq!(ask(&house, &get("/v1/auth/else", "")).status, 404);
}

#[test]
fn what_looks_like_a_token_and_is_none_is_refused() {
    let upstream = upstream();
    let house = House::before(&upstream.url());
    let token = text(&buy(&house, ""), "access_token");
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[2] = parts[2].chars().rev().collect();
    for bad in ["eyJ.e30.AAAA".to_owned(), parts.join("."), format!("{token}AAAA")] {
        let refused = ask(&house, &post(&bad, &body(false)));
        assert_eq!((refused.status, code(&refused)), (401, "token_invalid"), "{bad}");
    }
    let both = post(&token, &body(false))
        .replace("Host: gw", &format!("Host: gw\r\nauthorization: Bearer {}", house.key));
    let refused = ask(&house, &both);
    assert_eq!((refused.status, code(&refused)), (401, ""), "two that differ");
}
