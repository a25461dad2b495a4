//! Signing keys, refresh tokens, denials.

use std::sync::Arc;

use claviger_domain::{
    access_token::{
        Confirmation,
        denial::{Denial, DenialSubject},
        key_life::{TokenKeyRecord, TokenKeyState},
    },
    audit::Digest,
    clock::Timestamp,
    id::{AccessTokenId, KeyId, TokenFamilyId, WorkspaceId},
    jose::Algorithm,
    mac::{KeyMac, PepperVersion},
    permission::Scopes,
    ports::{Change, FeedKind, Store, StoreError, tokens::TokenStore},
    refresh::{Beginning, EndReason, Family, RefreshToken, Replay, Turn},
    token::PublicId,
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::{at, event, put},
};

on_both!(
    a_signing_key_reads_back_and_there_is_one_of_each,
    a_family_reads_back_and_changes_once_a_version,
    no_token_has_two_successors_whoever_is_faster,
    denials_grow_and_are_told,
    what_is_over_is_forgotten,
);

fn key(kid: &str, state: TokenKeyState) -> TokenKeyRecord {
    TokenKeyRecord {
        kid: kid.to_owned(),
        algorithm: Algorithm::Es256,
        public_jwk: r#"{"kty":"EC"}"#.to_owned(),
        sealed: vec![1, 2, 3],
        state,
        published_at: at(5),
        active_at: (state == TokenKeyState::Active).then(|| at(6)),
        retiring_at: None,
        version: 1,
    }
}

fn family(name: &str, now: Timestamp) -> Family {
    let new = Beginning {
        id: TokenFamilyId::parse(&format!("fam_{name}")).unwrap(),
        key: KeyId::parse("key_0123456789").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        scopes: Scopes::parse(&["files:read", "write"]).unwrap(),
        confirmation: Confirmation { x5t_s256: None, jkt: Some("x".repeat(43)) },
        key_expires_at: None,
    };
    Family::begin(new, now)
}

fn token(family: &Family, name: &str) -> RefreshToken {
    RefreshToken {
        public_id: PublicId::parse(name).unwrap(),
        family: family.id.clone(),
        generation: family.generation,
        mac: KeyMac::from_bytes([7; 32]),
        pepper_version: PepperVersion(3),
    }
}

async fn apply(db: &Database, changes: Vec<Change>) -> Result<(), StoreError> {
    db.apply(changes, event("token.test")).await.map(drop)
}

async fn a_signing_key_reads_back_and_there_is_one_of_each(place: Place) {
    let db = place.open().await;
    let active = key("a", TokenKeyState::Active);
    put(&db, vec![Change::InsertTokenKey(Box::new(active.clone()))]).await;
    assert_eq!(db.token_keys().await.unwrap(), std::slice::from_ref(&active));
    let second = apply(&db, vec![Change::InsertTokenKey(Box::new(key("b", TokenKeyState::Active)))]).await;
    assert_eq!(second, Err(StoreError::Conflict { what: "token key" }));
    let next = key("c", TokenKeyState::Next);
    put(&db, vec![Change::InsertTokenKey(Box::new(next.clone()))]).await;
    let retired =
        TokenKeyRecord { state: TokenKeyState::Retiring, retiring_at: Some(at(9)), ..active.clone() };
    let active_now = TokenKeyRecord { state: TokenKeyState::Active, active_at: Some(at(9)), ..next };
    let turn = || {
        vec![
            Change::UpdateTokenKey(Box::new(retired.clone())),
            Change::UpdateTokenKey(Box::new(active_now.clone())),
        ]
    };
    put(&db, turn()).await;
    assert_eq!(
        apply(&db, turn()).await,
        Err(StoreError::Conflict { what: "token key" }),
        "of another version"
    );
    let states: Vec<_> = db.token_keys().await.unwrap().into_iter().map(|k| (k.kid, k.state)).collect();
    let wanted = [("a".to_owned(), TokenKeyState::Retiring), ("c".to_owned(), TokenKeyState::Active)];
    assert_eq!(states, wanted);
    let gone = TokenKeyRecord { state: TokenKeyState::Gone, sealed: Vec::new(), version: 2, ..retired };
    put(&db, vec![Change::UpdateTokenKey(Box::new(gone))]).await;
    assert_eq!(db.token_keys().await.unwrap().len(), 1);
    let page = db.feed_after(0, 100).await.unwrap();
    assert!(page.entries.iter().any(|e| e.kind == FeedKind::TokenKey && e.id == "c"));
}

async fn a_family_reads_back_and_changes_once_a_version(place: Place) {
    let db = place.open().await;
    let begun = family("a", at(10));
    let first = token(&begun, "aaaaaaaaaa");
    put(
        &db,
        vec![
            Change::InsertTokenFamily(Box::new(begun.clone())),
            Change::InsertRefreshToken(Box::new(first.clone())),
        ],
    )
    .await;
    let (row, read) = db.refresh_token(first.public_id).await.unwrap().unwrap();
    assert_eq!((read, row.generation, row.pepper_version), (begun.clone(), 1, PepperVersion(3)));
    assert_eq!(row.mac.as_bytes(), &[7; 32]);
    let replay = Replay { place: Digest([9; 32]), sealed: vec![4, 5], until: at(20) };
    let used = Family { generation: 2, used_at: at(11), replay: Some(replay), ..begun.clone() };
    put(&db, vec![Change::UpdateTokenFamily(Box::new(used.clone()))]).await;
    let stored = db.token_family(&begun.id).await.unwrap().unwrap();
    assert_eq!(stored, Family { version: 2, ..used.clone() });
    let stale = apply(&db, vec![Change::UpdateTokenFamily(Box::new(used))]).await;
    assert_eq!(stale, Err(StoreError::Conflict { what: "token family" }));
    assert_eq!(db.token_families(&begun.key, at(12), 9).await.unwrap(), std::slice::from_ref(&stored));
    let ended = stored.end(EndReason::Reused, at(13));
    put(&db, vec![Change::UpdateTokenFamily(Box::new(ended.clone()))]).await;
    assert_eq!(db.token_family(&begun.id).await.unwrap().unwrap().ended, ended.ended);
    assert!(db.token_families(&begun.key, at(14), 9).await.unwrap().is_empty());
    assert!(db.refresh_token(PublicId::parse("zzzzzzzzzz").unwrap()).await.unwrap().is_none());
}

/// Sixteen at once show the same token, read, decide and write, again and again until each has an answer.
async fn no_token_has_two_successors_whoever_is_faster(place: Place) {
    let db = Arc::new(place.open().await);
    let begun = family("race", at(10));
    put(
        &db,
        vec![
            Change::InsertTokenFamily(Box::new(begun.clone())),
            Change::InsertRefreshToken(Box::new(token(&begun, "aaaaaaaaaa"))),
        ],
    )
    .await;
    let mut racers = tokio::task::JoinSet::new();
    for racer in 0..16_u8 {
        let (db, id) = (Arc::clone(&db), begun.id.clone());
        racers.spawn(async move { race(&db, &id, racer).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = racers.join_next().await {
        answers.push(answer.unwrap());
    }
    let rotated: Vec<&String> =
        answers.iter().filter_map(|a| a.strip_prefix("rotated ").map(|_| a)).collect();
    assert_eq!(rotated.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|a| a.starts_with("again")).count(), 1, "{answers:?}");
    let told = answers.iter().find_map(|a| a.strip_prefix("again ")).unwrap();
    assert_eq!(rotated[0].strip_prefix("rotated ").unwrap(), told, "both have one successor");
    let end = db.token_family(&begun.id).await.unwrap().unwrap();
    assert_eq!((end.generation, end.ended.map(|(_, why)| why)), (2, Some(EndReason::Reused)));
}

async fn race(db: &Database, id: &TokenFamilyId, racer: u8) -> String {
    loop {
        let family = db.token_family(id).await.unwrap().unwrap();
        let now = at(11);
        let (changes, answer) = match family.show(1, Digest([1; 32]), now) {
            Ok(Turn::Rotate(mut next)) => {
                let name = format!("successor{}", char::from(b'a' + racer));
                next.replay.as_mut().unwrap().sealed = name.clone().into_bytes();
                let row = token(&next, &name);
                let changes =
                    vec![Change::UpdateTokenFamily(next), Change::InsertRefreshToken(Box::new(row))];
                (changes, format!("rotated {name}"))
            }
            Ok(Turn::Again(next, sealed)) => {
                let told = String::from_utf8(sealed).unwrap();
                (vec![Change::UpdateTokenFamily(next)], format!("again {told}"))
            }
            Ok(Turn::Reused(next)) => {
                let denial = Denial::now(DenialSubject::family(id), now, 7_200);
                (vec![Change::UpdateTokenFamily(next), Change::DenyTokens(denial)], "reused".to_owned())
            }
            Err(_) => return "ended".to_owned(),
        };
        match db.apply(changes, event("token.race")).await {
            Ok(_) => return answer,
            Err(StoreError::Conflict { .. }) => {}
            Err(StoreError::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn denials_grow_and_are_told(place: Place) {
    let db = place.open().await;
    let subject = DenialSubject::token(&AccessTokenId::parse("atk_a").unwrap());
    let denial = |min_iat, until| Denial { subject: subject.clone(), min_iat: at(min_iat), until: at(until) };
    put(&db, vec![Change::DenyTokens(denial(10, 100))]).await;
    put(&db, vec![Change::DenyTokens(denial(5, 200))]).await;
    assert_eq!(db.token_denials(std::slice::from_ref(&subject)).await.unwrap(), [denial(10, 200)]);
    let other = DenialSubject::key(&KeyId::parse("key_0123456789").unwrap());
    put(&db, vec![Change::DenyTokens(Denial { subject: other.clone(), min_iat: at(1), until: at(50) })])
        .await;
    let subjects = |denials: Vec<Denial>| denials.into_iter().map(|d| d.subject).collect::<Vec<_>>();
    assert_eq!(subjects(db.live_denials(at(20), None, 9).await.unwrap()), [subject.clone(), other.clone()]);
    assert_eq!(subjects(db.live_denials(at(20), Some(&subject), 9).await.unwrap()), [other]);
    assert_eq!(subjects(db.live_denials(at(60), None, 9).await.unwrap()), [subject]);
    let page = db.feed_after(0, 100).await.unwrap();
    assert!(page.entries.iter().any(|e| e.kind == FeedKind::TokenDenial && e.id == "atk_a"));
}

async fn what_is_over_is_forgotten(place: Place) {
    let db = place.open().await;
    let (old, young) = (family("old", at(0)), family("young", at(1_000_000)));
    let denial = Denial { subject: DenialSubject::family(&old.id), min_iat: at(1), until: at(100) };
    put(
        &db,
        vec![
            Change::InsertTokenFamily(Box::new(old.clone())),
            Change::InsertRefreshToken(Box::new(token(&old, "aaaaaaaaaa"))),
            Change::InsertTokenFamily(Box::new(young.clone())),
            Change::InsertRefreshToken(Box::new(token(&young, "bbbbbbbbbb"))),
            Change::DenyTokens(denial.clone()),
        ],
    )
    .await;
    assert_eq!(db.forget_tokens(old.expires_at, 10).await.unwrap(), 3);
    assert!(db.token_family(&old.id).await.unwrap().is_none());
    assert!(db.refresh_token(PublicId::parse("aaaaaaaaaa").unwrap()).await.unwrap().is_none());
    assert!(db.refresh_token(PublicId::parse("bbbbbbbbbb").unwrap()).await.unwrap().is_some());
    assert!(db.token_denials(&[denial.subject]).await.unwrap().is_empty());
}
