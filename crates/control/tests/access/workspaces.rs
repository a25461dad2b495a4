//! Operators of one workspace.

use axum::http::Method;
use claviger_control::{api, operation::Access, reach::narrows_itself};
use claviger_domain::operator::verb::Area;
use serde_json::{Value, json};

use crate::house::{House, Person};

struct Two {
    house: House,
    eve: Person,
    /// Her key, and one of the other workspace.
    keys: [String; 2],
    others: String,
}

async fn two() -> Two {
    let house = House::new().await;
    let make = |path: &'static str, body: Value| {
        let house = &house;
        async move {
            let (status, made) = house.ask(None, Method::POST, path, Some(body)).await;
            assert_eq!(status, 201, "{made}");
            made["id"].as_str().unwrap().to_owned()
        }
    };
    make("/owners", json!({"name": "o"})).await;
    let others = make("/workspaces", json!({"name": "others"})).await;
    make("/workspaces", json!({"name": "hers"})).await;
    let key = |workspace: &'static str| make("/keys", json!({"name": "k", "workspace": workspace}));
    let keys = [key("hers").await, key("others").await];
    let ann = house.first("ann").await;
    let eve = house.enrol(&ann, "eve", "admin", Some("hers")).await;
    Two { house, eve, keys, others }
}

#[tokio::test]
async fn what_belongs_to_others_looks_like_what_is_not_there() {
    let Two { house, eve, keys: [hers, theirs], others } = two().await;
    let ask = |method, path: String, body| {
        let (house, token) = (&house, eve.token.clone());
        async move { house.ask(Some(&token), method, &path, body).await }
    };
    assert_eq!(ask(Method::GET, format!("/keys/{hers}"), None).await.0, 200);
    let mut answers = Vec::new();
    for id in [theirs.as_str(), "key_0000000000"] {
        let reason = json!({"reason": "USER_REQUEST"});
        let tries = [
            ask(Method::GET, format!("/keys/{id}"), None).await,
            ask(Method::GET, format!("/keys/{id}/limits"), None).await,
            ask(Method::PATCH, format!("/keys/{id}"), Some(json!({"name": "mine"}))).await,
            ask(Method::POST, format!("/keys/{id}/suspend"), None).await,
            ask(Method::POST, format!("/keys/{id}/revoke"), Some(reason)).await,
            ask(Method::GET, format!("/usage?key={id}"), None).await,
        ];
        answers.push(tries.map(|(status, said)| (status, said.to_string().replace(id, "ID"))));
    }
    assert!(answers[0].iter().all(|(status, _)| *status == 404), "{answers:?}");
    assert_eq!(answers[0], answers[1]);
    for workspace in ["others", others.as_str(), "nowhere", "ws_0"] {
        for path in ["/keys", "/usage"] {
            assert_eq!(
                ask(Method::GET, format!("{path}?workspace={workspace}"), None).await.0,
                404,
                "{workspace}"
            );
        }
        let body = json!({"name": "k2", "workspace": workspace});
        assert_eq!(house.proved(&eve, Method::POST, "/keys", Some(body)).await.0, 404, "{workspace}");
    }
}

#[tokio::test]
async fn usage_of_a_key_that_never_was_is_not_nothing_but_an_error() {
    let house = House::new().await;
    house.ask(None, Method::POST, "/owners", Some(json!({"name": "o"}))).await;
    let (_, key) = house.ask(None, Method::POST, "/keys", Some(json!({"name": "k", "owner": "o"}))).await;
    let usage =
        async |key: &str, by| house.ask(None, Method::GET, &format!("/usage?key={key}{by}"), None).await;
    for by in ["", "&by=day", "&by=model"] {
        assert_eq!(usage(key["id"].as_str().unwrap(), by).await.0, 200, "{by}");
        assert_eq!(usage("key_0000000000", by).await.0, 404, "{by}");
    }
}

#[tokio::test]
async fn what_names_no_workspace_is_about_theirs() {
    let Two { house, eve, keys: [hers, _], .. } = two().await;
    let (status, listed) = house.ask(Some(&eve.token), Method::GET, "/keys", None).await;
    assert_eq!(status, 200);
    let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|k| k["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [hers.as_str()]);
    let (_, workspaces) = house.ask(Some(&eve.token), Method::GET, "/workspaces", None).await;
    assert_eq!(workspaces["data"].as_array().unwrap().len(), 1);
    let (status, made) = house.proved(&eve, Method::POST, "/keys", Some(json!({"name": "new"}))).await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["workspace"], workspaces["data"][0]["id"]);
}

#[tokio::test]
async fn what_waits_says_which_workspace_it_is_about() {
    let Two { house, eve, keys: [hers, _], .. } = two().await;
    let body = json!({"allow_ip": ["10.0.0.0/8"]});
    let path = format!("/keys/{hers}");
    assert_eq!(house.ask(Some(&eve.token), Method::PATCH, &path, Some(body)).await.0, 200);
    let (status, pending) = house.proved(&eve, Method::PATCH, &path, Some(json!({"allow_ip": []}))).await;
    assert_eq!(status, 202, "{pending}");
    let (_, listed) = house.ask(Some(&eve.token), Method::GET, "/approvals", None).await;
    assert!(listed["data"][0]["workspace"].as_str().unwrap().starts_with("ws_"));
}

#[test]
fn every_operation_on_workspaces_can_be_narrowed_to_one() {
    for operation in api::operations() {
        let Access::Operator(verb) = operation.access else { continue };
        let narrowed = operation.path_names().next().is_some()
            || operation.shape.query.contains("workspace")
            || operation.shape.fields().contains("workspace")
            || narrows_itself(verb);
        assert!(verb.area() != Area::Workspace || narrowed, "{}", verb.as_str());
    }
}
