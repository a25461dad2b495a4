//! The admin API from outside: what a request must look like, what is done once, and both of its doors.

mod door;
mod once;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::Value;

use crate::house::Claviger;

/// An answer of the socket.
struct Said {
    status: u16,
    head: String,
    body: Value,
}

impl Said {
    /// A header's value; names in lower case.
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// A problem with this status and kind.
    fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(
            (self.status, self.body["type"].as_str()),
            (status, Some(kind)),
            "{} {}",
            self.head,
            self.body
        );
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status);
    }
}

/// One request to the socket in the data folder.
fn ask(node: &Claviger, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
    let mut stream = UnixStream::connect(node.data().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut request = format!("{method} /admin/v1{path} HTTP/1.1\r\nhost: claviger\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    // A refusal may come before the whole body was sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    // What was not read may reset the connection behind the answer.
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Said { status, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or_default() }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn post(node: &Claviger, path: &str, body: &str) -> Said {
    ask(node, "POST", path, &[JSON], body)
}

#[test]
fn what_an_operation_does_not_know_is_refused_and_named() {
    let node = Claviger::started();
    let unknown = post(&node, "/owners", r#"{"name":"ann","colour":"red"}"#);
    unknown.is_problem(400, "invalid");
    assert_eq!(unknown.body["field"], "colour");
    let typed = post(&node, "/keys", r#"{"name":"a","limits":{"rpm":"many"}}"#);
    typed.is_problem(400, "invalid");
    assert_eq!(typed.body["field"], "limits.rpm");
    let parameter = ask(&node, "GET", "/keys?colour=red", &[], "");
    parameter.is_problem(400, "invalid");
    assert_eq!(parameter.body["field"], "colour");
    post(&node, "/owners", r#"{"name":"#).is_problem(400, "unreadable_body");
    ask(&node, "POST", "/owners", &[("content-type", "text/plain")], "{}")
        .is_problem(415, "unsupported_media_type");
    let large = format!(r#"{{"name":"{}"}}"#, "a".repeat(1 << 20));
    post(&node, "/owners", &large).is_problem(413, "too_large");
    ask(&node, "GET", "/nothing", &[], "").is_problem(404, "not_found");
    let method = ask(&node, "PUT", "/keys", &[], "");
    method.is_problem(405, "method_not_allowed");
    let allowed: Vec<_> = method.header("allow").unwrap().split(',').map(str::trim).collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
    assert_eq!(node.json(&["owner", "list"]).as_array().unwrap().len(), 1, "nothing was made");
}

#[test]
fn a_list_comes_in_pages_that_follow_each_other() {
    let node = Claviger::started();
    for n in 0..5 {
        assert_eq!(post(&node, "/owners", &format!(r#"{{"name":"o{n}"}}"#)).status, 201);
    }
    for list in ["/owners", "/audit"] {
        let all = ask(&node, "GET", &format!("{list}?limit=1000"), &[], "").body;
        assert_eq!((all["has_more"].as_bool(), &all["next"]), (Some(false), &Value::Null));
        let all = all["data"].as_array().unwrap().clone();
        let (mut seen, mut path) = (Vec::new(), format!("{list}?limit=2"));
        loop {
            let mut page = ask(&node, "GET", &path, &[], "").body;
            let rows = page["data"].as_array_mut().unwrap();
            assert!((1..=2).contains(&rows.len()));
            seen.append(rows);
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(page["has_more"], true);
            path = format!("{list}?limit=2&after={next}");
        }
        assert_eq!(seen[..all.len()], all[..], "{list}");
    }
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "after=own_nobody"] {
        ask(&node, "GET", &format!("/owners?{bad}"), &[], "").is_problem(400, "invalid");
    }
}

#[test]
fn a_stale_version_is_told_by_412() {
    let node = Claviger::started();
    let key = node.key(&[]);
    let path = format!("/keys/{}", key.id);
    let tag = ask(&node, "GET", &path, &[], "").header("etag").unwrap().to_owned();
    let change = |tag: &str, name: &str| {
        ask(&node, "PATCH", &path, &[JSON, ("if-match", tag)], &format!(r#"{{"name":"{name}"}}"#))
    };
    let changed = change(&tag, "first");
    assert_eq!((changed.status, changed.body["name"].as_str()), (200, Some("first")));
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
    change(&tag, "second").is_problem(412, "stale");
    assert_eq!(change("*", "third").status, 200);
    change("soon", "fourth").is_problem(400, "invalid");
}

#[test]
fn the_document_is_served_and_printed_alike() {
    let node = Claviger::started();
    let served = ask(&node, "GET", "/openapi.json", &[], "");
    assert_eq!(served.status, 200);
    let printed: Value = serde_json::from_str(&node.cli(&["openapi"]).stdout).unwrap();
    assert_eq!(served.body, printed);
}
