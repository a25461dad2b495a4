//! Lists on a provider key that others use too: whatever stands between the caller's own things, it finds them all
//! and sees nothing else.

use std::time::Duration;

use claviger_testkit::{Answer, RawServer, eventually};
use serde_json::Value;

use crate::house::{House, body};

/// A provider that has these files and batches, newest first, and gives at most `most` of them a page.
fn provider(ids: Vec<String>, most: usize, tokens: bool) -> RawServer {
    RawServer::start(move |request| {
        let target = request.target().to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let asked = |name: &str| query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        if request.method() == "POST" {
            return Answer::ok(
                "application/json",
                object(std::str::from_utf8(request.header("x-make")[0]).unwrap()),
            );
        }
        if let Some(id) =
            path.strip_prefix("/v1/messages/batches/").or_else(|| path.strip_prefix("/v1/files/"))
        {
            return match ids.iter().any(|known| known == id) {
                true => Answer::ok("application/json", object(id)),
                false => Answer::bytes("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            };
        }
        let at = |id: &str| ids.iter().position(|known| known == id).unwrap_or(ids.len());
        let limit = asked("limit").map_or(20, |l| l.parse().unwrap()).min(most);
        let (start, end) = match (asked("after_id"), asked("before_id"), asked("page")) {
            (Some(id), _, _) => (at(id) + 1, at(id) + 1 + limit),
            (_, Some(id), _) => (at(id).saturating_sub(limit), at(id)),
            (_, _, Some(page)) => {
                let start = page.strip_prefix("page_").unwrap().parse::<usize>().unwrap();
                (start, start + limit)
            }
            _ => (0, limit),
        };
        let page = &ids[start.min(ids.len())..end.min(ids.len())];
        let data = page.iter().map(|id| object(id)).collect::<Vec<_>>().join(",");
        let backwards = asked("before_id").is_some();
        let more = if backwards { start > 0 } else { end < ids.len() };
        let cursors = if tokens {
            format!(r#""next_page":{}"#, if more { format!("\"page_{end}\"") } else { "null".to_owned() })
        } else {
            let quoted = |id: Option<&String>| id.map_or("null".to_owned(), |id| format!("\"{id}\""));
            let (first, last) = (quoted(page.first()), quoted(page.last()));
            format!(r#""has_more":{more},"first_id":{first},"last_id":{last}"#)
        };
        Answer::ok("application/json", format!(r#"{{"data":[{data}],{cursors}}}"#))
    })
}

fn object(id: &str) -> String {
    format!(r#"{{"id":"{id}","type":"thing"}}"#)
}

fn foreign(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("foreign_{n}"))
}

fn request(house: &House, method: &str, target: &str, more: &str, body: &str) -> String {
    let (key, length) = (&house.key, body.len());
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: gw\r\nx-api-key: {key}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    house.send(&text).rest().0
}

/// Makes something of the caller's own.
fn make(house: &House, path: &str, id: &str) {
    let params = body(false);
    let body = if path == "/v1/files" {
        "x".to_owned()
    } else {
        format!(r#"{{"requests":[{{"custom_id":"a","params":{params}}}]}}"#)
    };
    let answer = request(house, "POST", path, &format!("x-make: {id}\r\n"), &body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    eventually("its row", Duration::from_secs(10), || house.store.rows().pop());
}

fn list(house: &House, target: &str) -> Value {
    let answer = request(house, "GET", target, "", "");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("foreign_"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Walks as the SDKs do: an empty page is the end.
fn walk(house: &House, path: &str, limit: usize) -> Vec<String> {
    let (mut found, mut target) = (Vec::new(), format!("{path}?limit={limit}"));
    loop {
        let page = list(house, &target);
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        found.extend(items.iter().map(|i| i["id"].as_str().unwrap().to_owned()));
        let (last, next) = (page["last_id"].as_str(), page["next_page"].as_str());
        target = match (last.filter(|_| page["has_more"] == true), next) {
            _ if items.is_empty() => return found,
            (Some(id), _) => format!("{path}?limit={limit}&after_id={id}"),
            (None, Some(token)) => format!("{path}?limit={limit}&page={token}"),
            (None, None) => return found,
        };
    }
}

#[test]
fn what_lies_behind_many_pages_of_others_is_found() {
    const BATCHES: &str = "/v1/messages/batches";
    // Newest first; pages of four: 25 pages of others before each of the caller's own.
    let ids = foreign(100).chain(["own_2".to_owned()]).chain(foreign(100)).chain(["own_1".to_owned()]);
    let upstream = provider(
        ids.chain(foreign(3))
            .enumerate()
            .map(|(n, id)| match id.starts_with("own") {
                true => id,
                false => format!("{id}_{n}"),
            })
            .collect(),
        4,
        false,
    );
    let house = House::before(&upstream.url());
    for id in ["own_1", "deleted", "own_2"] {
        make(&house, BATCHES, id);
    }
    for limit in [1, 2, 20] {
        assert_eq!(walk(&house, BATCHES, limit), ["own_2", "own_1"], "{limit}");
    }
    let back = list(&house, &format!("{BATCHES}?limit=2&before_id=own_1"));
    assert_eq!((back["data"][0]["id"].as_str(), back["first_id"].as_str()), (Some("own_2"), Some("own_2")));
}

#[test]
fn a_list_without_anything_of_ones_own_is_empty_and_names_nobody() {
    let upstream = provider(foreign(200).collect(), 4, false);
    let house = House::before(&upstream.url());
    let page = list(&house, "/v1/messages/batches");
    assert_eq!(page.to_string(), r#"{"data":[],"first_id":null,"has_more":false,"last_id":null}"#);
}

#[test]
fn lists_that_page_by_tokens_lose_nothing_of_a_page_that_is_looked_ahead_at() {
    let ids = foreign(500).chain((0..5).map(|n| format!("own_{n}"))).chain(foreign(7));
    let upstream = provider(ids.collect(), 1_000, true);
    let house = House::before(&upstream.url());
    for n in (0..5).rev() {
        make(&house, "/v1/files", &format!("own_{n}"));
    }
    for limit in [1, 2, 3, 5, 6] {
        let found = walk(&house, "/v1/files", limit);
        assert_eq!(found, ["own_0", "own_1", "own_2", "own_3", "own_4"], "{limit}");
    }
}

#[test]
fn a_token_that_stands_behind_anothers_item_is_not_given_out() {
    let upstream = provider(foreign(100).collect(), 4, true);
    let house = House::before(&upstream.url());
    let answer = request(&house, "GET", "/v1/files", "", "");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("other workspaces"), "{answer}");
}

#[test]
fn anothers_id_is_no_cursor() {
    let upstream = provider(foreign(9).collect(), 4, false);
    let house = House::before(&upstream.url());
    for cursor in ["after_id=foreign_1", "before_id=foreign_1", "after_id=%66oreign_1", "aft%65r_id=none"] {
        let answer = request(&house, "GET", &format!("/v1/messages/batches?{cursor}"), "", "");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    assert!(upstream.requests().is_empty());
}
