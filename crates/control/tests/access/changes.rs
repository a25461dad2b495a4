//! Changes of owners, workspaces and channels: by version, once, and with what each takes.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::{Value, json};

use crate::house::{Answer, House, LOCAL, Person};

async fn make(house: &House, path: &str, body: Value) -> Value {
    let (status, made) = house.ask(None, Method::POST, path, Some(body)).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// A change of the version that was seen.
async fn change_of(house: &House, path: &str, version: &Value, body: Value) -> Answer {
    let request = Request::builder()
        .method(Method::PATCH)
        .uri(format!("/admin/v1{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::IF_MATCH, format!("\"{version}\""));
    house.send(LOCAL, request.body(Body::from(body.to_string())).unwrap()).await
}

async fn change(house: &House, path: &str, body: Value) -> Answer {
    house.ask(None, Method::PATCH, path, Some(body)).await
}

#[tokio::test]
async fn an_owners_address_and_a_workspaces_class_change_once_and_by_version() {
    let house = House::new().await;
    make(&house, "/owners", json!({"name": "o"})).await;
    make(&house, "/workspaces", json!({"name": "w"})).await;
    for (path, body, field, bad) in [
        ("/owners/o", json!({"email": "o@example.com"}), "email", json!({"email": "nobody"})),
        ("/workspaces/w", json!({"environment": "staging"}), "environment", json!({"environment": "moon"})),
    ] {
        let (status, said) = change(&house, path, bad).await;
        assert_eq!((status, &said["field"]), (400, &json!(field)));
        let (status, first) = change(&house, path, body.clone()).await;
        assert_eq!((status, &first[field], &first["version"]), (200, &body[field], &json!(2)), "{first}");
        let (status, again) = change(&house, path, body.clone()).await;
        assert_eq!((status, &again["version"]), (200, &json!(2)), "what is so already stays");
        assert_eq!(change_of(&house, path, &json!(1), body.clone()).await.0, 412);
        let kind = path.split('/').nth(1).unwrap().trim_end_matches('s');
        let audit = house.audit().await;
        let noted: Vec<_> = audit.iter().filter(|e| e["action"] == format!("{kind}.update")).collect();
        let outcomes: Vec<_> = noted.iter().map(|e| e["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["invalid", "ok", "stale"], "{kind}");
        assert!(noted[1]["details"]["before"] != noted[1]["details"]["after"]);
    }
    let (_, without) = change(&house, "/owners/o", json!({"email": ""})).await;
    assert!(without["email"].is_null(), "{without}");
    assert_eq!(house.ask(None, Method::POST, "/owners/o/archive", None).await.0, 200);
    assert_eq!(change(&house, "/owners/o", json!({"email": "o@example.com"})).await.0, 409, "archived");
    assert_eq!(change(&house, "/owners/nobody", json!({"email": ""})).await.0, 404);
}

#[tokio::test]
async fn a_laxer_class_a_lesser_demand_and_a_quieter_channel_need_a_second_person() {
    let house = House::new().await;
    make(&house, "/workspaces", json!({"name": "w", "environment": "staging"})).await;
    let hook = json!({"url": "https://hooks.example.com/"});
    let made =
        make(&house, "/channels", json!({"name": "ops", "webhook": hook, "min_severity": "warning"})).await;
    let channel = format!("/channels/{}", made["id"].as_str().unwrap());
    let made = make(&house, "/keys", json!({"name": "k", "require": ["token"], "wrapped": true})).await;
    let key = format!("/keys/{}", made["id"].as_str().unwrap());
    let ann = house.first("ann").await;
    let try_it = async |by: &Person, path: &str, body: Value| {
        let (status, _) = house.ask(Some(&by.token), Method::PATCH, path, Some(body.clone())).await;
        if status == 401 { house.proved(by, Method::PATCH, path, Some(body)).await.0 + 1_000 } else { status }
    };
    // 200: at once, 1200: with a code, 1202: with a code and a second person.
    for (path, body, expected) in [
        ("/workspaces/w", json!({"environment": "production"}), 200),
        ("/workspaces/w", json!({"environment": "staging"}), 1_202),
        (&key, json!({"require": ["token", "dpop"]}), 200),
        (&key, json!({"require": ["dpop"]}), 1_202),
        (&key, json!({"require": []}), 1_202),
        (&channel, json!({"min_severity": "warning"}), 200),
        (&channel, json!({"min_severity": "info"}), 1_200),
        (&channel, json!({"min_severity": "critical"}), 1_202),
        (&channel, json!({"webhook": {"url": "https://elsewhere.example.com/"}}), 1_202),
        (&channel, json!({"workspace": "w"}), 1_202),
        (&channel, json!({"name": "night"}), 1_200),
    ] {
        assert_eq!(try_it(&ann, path, body.clone()).await, expected, "{path} {body}");
    }
    let (_, listed) = house.ask(Some(&ann.token), Method::GET, "/channels", None).await;
    let row = &listed["data"][0];
    assert_eq!((&row["name"], &row["min_severity"]), (&json!("night"), &json!("info")), "{row}");
    assert_eq!(row["webhook"]["url"], "https://hooks.example.com/");
}

#[tokio::test]
async fn a_password_does_not_follow_to_another_server() {
    let house = House::new().await;
    let smtp = |host: &str, password: Option<&str>| {
        let mut smtp = json!({
            "host": host, "username": "claviger", "from": "c@example.com", "to": ["ops@example.com"],
        });
        if let Some(password) = password {
            smtp["password"] = json!(password);
        }
        json!({"smtp": smtp})
    };
    let mut body = smtp("mail.example.com", Some("hunter2"));
    body["name"] = json!("mail");
    let made = make(&house, "/channels", body).await;
    let path = format!("/channels/{}", made["id"].as_str().unwrap());
    let (status, said) = change(&house, &path, smtp("evil.example.com", None)).await;
    assert_eq!((status, &said["field"]), (400, &json!("password")), "{said}");
    let mut more = smtp("mail.example.com", None);
    more["smtp"]["to"] = json!(["ops@example.com", "more@example.com"]);
    assert_eq!(change(&house, &path, more).await.0, 200, "the same server keeps it");
    assert_eq!(change(&house, &path, smtp("new.example.com", Some("other"))).await.0, 200);
    let (status, said) = change(&house, &path, json!({"webhook": {"url": "https://a.example.com/"}})).await;
    assert_eq!((status, &said["field"]), (400, &json!("webhook")), "a kind never changes: {said}");
}
