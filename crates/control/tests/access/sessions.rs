//! Doors, logins and proofs.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::json;

use crate::house::{House, LOCAL, PASSWORD, remote};

#[tokio::test]
async fn the_socket_alone_opens_nothing_once_an_operator_is_enrolled() {
    let house = House::new().await;
    let (status, session) = house.ask(None, Method::GET, "/session", None).await;
    assert_eq!((status, &session["kind"]), (200, &json!("local")));
    assert_eq!(house.ask(None, Method::POST, "/owners", Some(json!({"name": "o"}))).await.0, 201);
    let ann = house.first("ann").await;
    for (method, path) in [(Method::GET, "/keys"), (Method::POST, "/operators"), (Method::GET, "/status")] {
        let (status, said) = house.ask(None, method, path, None).await;
        assert_eq!((status, &said["type"]), (401, &json!("login_required")), "{path}");
    }
    let (status, session) = house.ask(Some(&ann.token), Method::GET, "/session", None).await;
    assert_eq!((status, &session["name"], &session["role"]), (200, &json!("ann"), &json!("owner")));
}

#[tokio::test]
async fn the_network_is_a_way_in_with_a_session_and_by_loopback_or_tls_only() {
    let house = House::new().await;
    let get = |token: Option<&str>| {
        let request = Request::builder().uri("/admin/v1/keys");
        let request =
            token.iter().fold(request, |r, t| r.header(header::AUTHORIZATION, format!("bearer {t}")));
        request.body(Body::empty()).unwrap()
    };
    let (status, said) = house.send(remote("127.0.0.1:1"), get(None)).await;
    assert_eq!(
        (status, &said["type"]),
        (401, &json!("login_required")),
        "no operator yet, and not the socket"
    );
    let ann = house.first("ann").await;
    assert_eq!(house.send(remote("127.0.0.1:1"), get(Some(&ann.token))).await.0, 200);
    assert_eq!(house.send(remote("[::ffff:127.0.0.1]:1"), get(Some(&ann.token))).await.0, 200);
    let (status, said) = house.send(remote("192.0.2.7:1"), get(Some(&ann.token))).await;
    assert_eq!((status, &said["type"]), (403, &json!("tls_required")));
    let body = json!({"name": "ann", "password": PASSWORD, "totp": "000000"}).to_string();
    let login = Request::post("/admin/v1/session").header(header::CONTENT_TYPE, "application/json");
    let (status, said) = house.send(remote("192.0.2.7:1"), login.body(Body::from(body)).unwrap()).await;
    assert_eq!((status, &said["type"]), (403, &json!("tls_required")));
    let tls = claviger_control::listen::Peer::Encrypted("192.0.2.7:1".parse().unwrap());
    assert_eq!(house.send(tls, get(Some(&ann.token))).await.0, 200);
    for junk in ["", "x", "cvg_oper_0123456789abcdefghijklmnopqrstuvwxyzA1nGeKb"] {
        assert_eq!(house.send(LOCAL, get(Some(junk))).await.0, 401, "{junk}");
    }
}

#[tokio::test]
async fn a_step_up_counts_for_its_request_and_five_minutes() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    let body = json!({"name": "two"});
    let make = || house.ask(Some(&ann.token), Method::POST, "/workspaces", Some(body.clone()));
    let (status, said) = make().await;
    assert_eq!((status, &said["type"]), (401, &json!("second_factor_required")));
    let digest = claviger_domain::audit::Digest::of(body.to_string().as_bytes()).to_hex();
    let step_up = |code: String| {
        json!({"verb": "workspace.create", "method": "post", "path": "/admin/v1/workspaces", "body_sha256": digest,
               "totp": code})
    };
    let prove = step_up(house.code(&ann.totp));
    assert_eq!(
        house.ask(Some(&ann.token), Method::POST, "/session/step-up", Some(prove.clone())).await.0,
        200
    );
    let (status, said) = house.ask(Some(&ann.token), Method::POST, "/session/step-up", Some(prove)).await;
    assert_eq!((status, &said["type"]), (401, &json!("second_factor_required")), "a code is used once");
    let other =
        house.ask(Some(&ann.token), Method::POST, "/workspaces", Some(json!({"name": "three"}))).await;
    assert_eq!(other.0, 401, "another body");
    assert_eq!(make().await.0, 201);
    house.clock.advance(Duration::from_secs(301));
    assert_eq!(make().await.0, 401, "too old");
}

#[tokio::test]
async fn another_spelling_does_not_escape_a_lockout() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    for name in ["ann", "ANN", " ann ", "Ann", "aNN"] {
        let body = json!({"name": name, "password": "wrong wrong", "totp": "000000"});
        assert_eq!(house.ask(None, Method::POST, "/session", Some(body)).await.0, 401);
    }
    let body = json!({"name": "Ann", "password": PASSWORD, "totp": "000000"});
    let (status, said) = house.ask(None, Method::POST, "/session", Some(body)).await;
    assert_eq!((status, &said["type"]), (429, &json!("locked_out")));
    assert!(said["retry_after_secs"].as_u64().unwrap() <= 31);
    let (status, _) = house.ask(Some(&ann.token), Method::GET, "/keys", None).await;
    assert_eq!(status, 200, "a stranger's failures end nobody's session");
}

#[tokio::test]
async fn a_machine_mints_nothing_whatever_it_was_minted_with() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    let body =
        json!({"name": "ci", "role": "owner", "verbs": ["key.create", "key.list"], "expires_in": "1h"});
    let (status, minted) = house.proved(&ann, Method::POST, "/operator-tokens", Some(body)).await;
    assert_eq!(status, 201, "{minted}");
    let ci = minted["token"].as_str().unwrap();
    let mint = json!({"name": "more", "role": "viewer"});
    for (path, body) in [
        ("/operator-tokens", mint),
        ("/operators", json!({"name": "eve", "role": "owner", "password": PASSWORD})),
        ("/break-glass", json!({})),
    ] {
        let (status, said) = house.ask(Some(ci), Method::POST, path, Some(body)).await;
        assert_eq!((status, &said["type"]), (403, &json!("forbidden")), "{path}");
    }
    assert_eq!(house.ask(Some(ci), Method::GET, "/keys", None).await.0, 200);
    assert_eq!(house.ask(Some(ci), Method::GET, "/workspaces", None).await.0, 403, "not in its list");
    let (status, listed) = house.ask(Some(&ann.token), Method::GET, "/operator-tokens", None).await;
    assert_eq!(status, 200);
    assert!(!listed.to_string().contains(ci), "a token is shown once");
    let id = minted["id"].as_str().unwrap();
    let gone = house.ask(Some(&ann.token), Method::DELETE, &format!("/operator-tokens/{id}"), None).await;
    assert_eq!(gone.0, 200, "{}", gone.1);
    assert_eq!(house.ask(Some(ci), Method::GET, "/keys", None).await.0, 401);
}

#[tokio::test]
async fn break_glass_opens_once_for_fifteen_minutes_without_a_second_person() {
    let house = House::new().await;
    let (status, made) = house.ask(None, Method::POST, "/break-glass", None).await;
    assert_eq!(status, 201, "{made}");
    let workspace = house.ask(None, Method::POST, "/workspaces", Some(json!({"name": "w"}))).await.1;
    house.first("ann").await;
    let open = || house.ask(None, Method::POST, "/session", Some(json!({"break_glass": made["code"]})));
    let (status, opened) = open().await;
    assert_eq!((status, &opened["kind"]), (201, &json!("break_glass")));
    assert_eq!(open().await.0, 401, "once");
    let token = opened["token"].as_str().unwrap();
    let archive = format!("/workspaces/{}/archive", workspace["id"].as_str().unwrap());
    assert_eq!(house.ask(Some(token), Method::POST, &archive, None).await.0, 200);
    assert_eq!(house.ask(Some(token), Method::GET, "/audit/export", None).await.0, 403);
    house.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(house.ask(Some(token), Method::GET, "/keys", None).await.0, 401);
    let audit = house.audit().await;
    assert!(audit.iter().any(|e| e["action"] == "break_glass.open" && e["actor"]["name"] == "break-glass"));
    assert!(audit.iter().any(|e| e["action"] == "audit.export" && e["outcome"] == "forbidden"));
}
