//! Requests that wait for a second person.

use std::time::Duration;

use axum::http::Method;
use claviger_control::approved;
use claviger_service::Caller;
use serde_json::{Value, json};

use crate::house::{House, Person};

async fn workspace(house: &House, name: &str) -> String {
    let (status, made) = house.ask(None, Method::POST, "/workspaces", Some(json!({"name": name}))).await;
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

async fn is_archived(house: &House, by: &Person, id: &str) -> bool {
    let (_, listed) = house.ask(Some(&by.token), Method::GET, "/workspaces", None).await;
    let rows = listed["data"].as_array().unwrap();
    rows.iter().any(|w| w["id"] == id && w["archived_at"] != Value::Null)
}

#[tokio::test]
async fn what_destroys_is_done_once_when_a_second_person_agrees() {
    let house = House::new().await;
    let id = workspace(&house, "old").await;
    let ann = house.first("ann").await;
    let path = format!("/workspaces/{id}/archive");
    let (status, said) = house.ask(Some(&ann.token), Method::POST, &path, None).await;
    assert_eq!((status, &said["type"]), (401, &json!("second_factor_required")));
    let (status, pending) = house.proved(&ann, Method::POST, &path, None).await;
    assert_eq!((status, &pending["type"]), (202, &json!("approval_pending")), "with one operator too");
    assert!(!is_archived(&house, &ann, &id).await);
    let approve = format!("/approvals/{}/approve", pending["approval"].as_str().unwrap());
    let (status, said) = house.proved(&ann, Method::POST, &approve, None).await;
    assert_eq!((status, &said["type"]), (403, &json!("forbidden")), "the requester is no second person");
    let bob = house.enrol(&ann, "bob", "admin", None).await;
    let vera = house.enrol(&ann, "vera", "viewer", None).await;
    assert_eq!(house.proved(&vera, Method::POST, &approve, None).await.0, 404, "nor is who could not do it");
    assert_eq!(
        house.ask(Some(&bob.token), Method::POST, &approve, None).await.0,
        401,
        "nor a stolen session"
    );
    let second = house.login("bob", &bob.totp).await;
    for session in [&bob, &second] {
        let (path, totp) = (format!("/admin/v1{approve}"), house.code(&bob.totp));
        let proof = json!({"verb": "approval.approve", "method": "POST", "path": path, "totp": totp});
        assert_eq!(
            house.ask(Some(&session.token), Method::POST, "/session/step-up", Some(proof)).await.0,
            200
        );
    }
    let (a, b) = tokio::join!(
        house.ask(Some(&bob.token), Method::POST, &approve, None),
        house.ask(Some(&second.token), Method::POST, &approve, None)
    );
    let mut both = [a.0, b.0];
    both.sort_unstable();
    assert_eq!(both, [200, 409], "{a:?} {b:?}");
    let done = if a.0 == 200 { a.1 } else { b.1 };
    assert_eq!((&done["state"], &done["status"]), (&json!("executed"), &json!(200)));
    assert_eq!(done["answer"]["id"], json!(id));
    assert!(is_archived(&house, &ann, &id).await);
    let audit = house.audit().await;
    let done = |e: &&Value| e["action"] == "workspace.archive" && e["outcome"] == "ok";
    let archived: Vec<_> = audit.iter().filter(done).collect();
    assert_eq!(archived.len(), 1);
    assert_eq!(archived[0]["actor"]["name"], "ann");
    assert_eq!(archived[0]["details"]["approval"], pending["approval"]);
    assert!(archived[0]["details"]["approved_by"].as_str().unwrap().starts_with("op_"));
}

#[tokio::test]
async fn dropping_a_guard_needs_a_second_person_and_narrowing_does_not() {
    let house = House::new().await;
    assert_eq!(house.ask(None, Method::POST, "/owners", Some(json!({"name": "o"}))).await.0, 201);
    workspace(&house, "w").await;
    let key = json!({"name": "k", "allow_ip": ["10.0.0.0/8"], "limits": {"rpm": 60}});
    let (status, key) = house.ask(None, Method::POST, "/keys", Some(key)).await;
    assert_eq!(status, 201, "{key}");
    let ann = house.first("ann").await;
    let path = format!("/keys/{}", key["id"].as_str().unwrap());
    let change = |body: Value| house.ask(Some(&ann.token), Method::PATCH, &path, Some(body));
    assert_eq!(change(json!({"allow_ip": ["10.1.0.0/16"]})).await.0, 200);
    assert_eq!(change(json!({"limits": {"rpm": 61}})).await.0, 401, "widening needs a code");
    let wider = house.proved(&ann, Method::PATCH, &path, Some(json!({"limits": {"rpm": 61}}))).await;
    assert_eq!(wider.0, 200, "{}", wider.1);
    let spelled = path.replace('_', "%5F");
    let unproved = house.ask(Some(&ann.token), Method::PATCH, &spelled, Some(json!({"allow_ip": []}))).await;
    assert_eq!(unproved.0, 401, "another spelling of the id is the same key");
    let dropped = house.proved(&ann, Method::PATCH, &path, Some(json!({"allow_ip": []}))).await;
    assert_eq!(dropped.0, 202, "{}", dropped.1);
    let id = dropped.1["approval"].as_str().unwrap();
    let (status, denied) =
        house.ask(Some(&ann.token), Method::POST, &format!("/approvals/{id}/deny"), None).await;
    assert_eq!((status, &denied["state"]), (200, &json!("denied")), "one's own can be taken back");
    let (_, open) = house.ask(Some(&ann.token), Method::GET, "/approvals", None).await;
    assert_eq!(open["data"], json!([]));
    let (_, all) = house.ask(Some(&ann.token), Method::GET, "/approvals?all=true", None).await;
    assert_eq!(all["data"][0]["id"], json!(id));
}

#[tokio::test]
async fn what_its_operation_refuses_when_it_is_approved_has_failed() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    let (status, pending) = house.proved(&ann, Method::DELETE, "/operators/nobody", None).await;
    assert_eq!(status, 202, "{pending}");
    let bob = house.enrol(&ann, "bob", "owner", None).await;
    let approve = format!("/approvals/{}/approve", pending["approval"].as_str().unwrap());
    let (status, done) = house.proved(&bob, Method::POST, &approve, None).await;
    assert_eq!((status, &done["state"], &done["status"]), (200, &json!("failed"), &json!(404)));
    assert_eq!(done["answer"]["type"], "not_found");
}

/// Ann asks to archive a workspace, Bob approves, and the process dies before it is done.
async fn left_behind(house: &House) -> (Person, String, String) {
    let id = workspace(house, "old").await;
    let ann = house.first("ann").await;
    let bob = house.enrol(&ann, "bob", "owner", None).await;
    let ann = house.login("ann", &ann.totp).await;
    let path = format!("/workspaces/{id}/archive");
    let (status, pending) = house.proved(&ann, Method::POST, &path, None).await;
    assert_eq!(status, 202, "{pending}");
    let approval = pending["approval"].as_str().unwrap().to_owned();
    let services = &house.state.services;
    let identity = services.operators.authenticate(bob.token.as_bytes()).await.unwrap();
    let claim = services.approvals.approve(&approval, &identity, &Caller::system()).await.unwrap();
    drop(claim);
    (ann, id, approval)
}

#[tokio::test]
async fn what_was_approved_before_the_process_died_is_done_once_by_the_next_one() {
    let house = House::new().await;
    let (ann, id, approval) = left_behind(&house).await;
    let house = house.restarted().await;
    house.clock.advance(Duration::from_secs(11));
    let show = format!("/approvals/{approval}");
    let (_, shown) = house.ask(Some(&ann.token), Method::GET, &show, None).await;
    assert_eq!((&shown["state"], is_archived(&house, &ann, &id).await), (&json!("approved"), false));
    for _ in 0..2 {
        approved::resume(&house.state).await.unwrap();
    }
    assert!(is_archived(&house, &ann, &id).await);
    let (_, shown) = house.ask(Some(&ann.token), Method::GET, &show, None).await;
    assert_eq!((&shown["state"], &shown["answer"]["id"]), (&json!("executed"), &json!(id)));
    let audit = house.audit().await;
    let done: Vec<_> = audit.iter().filter(|e| e["action"] == "workspace.archive").collect();
    assert_eq!(done.len(), 1, "once");
    assert_eq!(
        (&done[0]["actor"]["name"], &done[0]["details"]["approval"]),
        (&json!("ann"), &json!(approval))
    );
}

#[tokio::test]
async fn what_the_dead_process_had_done_is_not_done_again() {
    let house = House::new().await;
    let (ann, id, approval) = left_behind(&house).await;
    let house = house.restarted().await;
    house.clock.advance(Duration::from_secs(11));
    let claims = house.state.services.approvals.left_behind(&Caller::system()).await.unwrap();
    for claim in claims {
        // Done, and then the process dies before it can say so.
        assert!(approved::attempt(&house.state, &claim, &Caller::system()).await.unwrap().is_some());
    }
    assert!(is_archived(&house, &ann, &id).await);
    let house = house.restarted().await;
    approved::resume(&house.state).await.unwrap();
    let (_, shown) = house.ask(Some(&ann.token), Method::GET, &format!("/approvals/{approval}"), None).await;
    assert_eq!(
        (&shown["state"], &shown["answer"]["id"]),
        (&json!("executed"), &json!(id)),
        "the answer was kept"
    );
    let audit = house.audit().await;
    assert_eq!(audit.iter().filter(|e| e["action"] == "workspace.archive").count(), 1, "once");
}

#[tokio::test]
async fn a_secret_that_was_approved_is_shown_to_whoever_asked_and_to_nobody_else() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    let bob = house.enrol(&ann, "bob", "owner", None).await;
    let (status, pending) = house.proved(&ann, Method::POST, "/break-glass", None).await;
    assert_eq!(status, 202, "{pending}");
    let show = format!("/approvals/{}", pending["approval"].as_str().unwrap());
    let (status, done) = house.proved(&bob, Method::POST, &format!("{show}/approve"), None).await;
    assert_eq!((status, &done["state"], &done["status"]), (200, &json!("executed"), &json!(201)));
    assert!(done["answer"].is_null() && done["secret_waits"] == false, "not to the approver: {done}");
    let answer = format!("{show}/answer");
    assert_eq!(house.ask(Some(&bob.token), Method::POST, &answer, None).await.0, 403);
    let (_, shown) = house.ask(Some(&ann.token), Method::GET, &show, None).await;
    assert!(shown["answer"].is_null() && shown["secret_waits"] == true, "{shown}");
    let (status, taken) = house.ask(Some(&ann.token), Method::POST, &answer, None).await;
    let code = taken["answer"]["code"].as_str().unwrap();
    assert!(status == 200 && code.starts_with("cvg_oper_"), "{taken}");
    assert_eq!(house.ask(Some(&ann.token), Method::POST, &answer, None).await.0, 409, "once");
    let (status, opened) =
        house.ask(None, Method::POST, "/session", Some(json!({"break_glass": code}))).await;
    assert_eq!((status, &opened["kind"]), (201, &json!("break_glass")));
}

#[tokio::test]
async fn who_is_alone_is_told_that_nobody_could_agree() {
    let house = House::new().await;
    let ann = house.first("ann").await;
    let (_, pending) = house.proved(&ann, Method::POST, "/break-glass", None).await;
    let said = pending["detail"].as_str().unwrap();
    assert!(said.contains("claviger operator add") && said.contains("break-glass"), "{said}");
    house.enrol(&ann, "vera", "viewer", None).await;
    let (_, pending) = house.proved(&ann, Method::POST, "/break-glass", None).await;
    assert!(pending["detail"].as_str().unwrap().contains("nobody else"), "a viewer could not");
    house.enrol(&ann, "bob", "owner", None).await;
    let (_, pending) = house.proved(&ann, Method::POST, "/break-glass", None).await;
    assert!(pending["detail"].as_str().unwrap().contains("claviger approval approve apr_"));
}
