//! Operators, tokens, proofs and approvals.

use claviger_domain::{
    audit::{Actor, AuditEvent, Digest},
    clock::Timestamp,
    id::{ApprovalId, OperatorId, OperatorTokenId, WorkspaceId},
    mac::{KeyMac, PepperVersion},
    operator::{
        Role,
        approval::{Answer, ApprovalRecord, ApprovalState, Frozen},
        name::OperatorName,
        record::{OperatorRecord, PasswordHash},
        token::{OperatorTokenRecord, Review, TokenKind},
        verb::Verb,
    },
    ports::{
        Change, Store, StoreError,
        operators::{OperatorStore, StepUp},
    },
};
use claviger_storage::Database;

use crate::{
    place::{Place, on_both},
    samples::at,
};

on_both!(
    an_operator_reads_back_and_its_name_is_taken_for_ever,
    a_step_of_the_second_factor_is_used_once_whoever_is_faster,
    tokens_end_with_their_operator,
    a_proof_counts_for_its_action_only,
    of_two_who_decide_one_is_first,
    failures_are_counted_whoever_else_fails_and_kept,
    what_was_approved_and_not_done_is_found_again_and_its_answer_kept,
);

fn event() -> AuditEvent {
    AuditEvent::new(at(1), Actor::System, "test", "")
}

async fn apply(db: &Database, changes: Vec<Change>) -> Result<(), StoreError> {
    db.apply(changes, event()).await.map(drop)
}

fn operator(name: &str) -> OperatorRecord {
    OperatorRecord {
        id: OperatorId::parse(&format!("op_{name}")).unwrap(),
        name: OperatorName::canonical(name).unwrap(),
        role: Role::Admin,
        workspace: None,
        password: PasswordHash::new("$argon2id$x".to_owned()),
        totp_sealed: vec![1, 2, 3],
        totp_step: 0,
        created_at: at(1),
        removed_at: None,
        version: 1,
    }
}

fn token(id: &str, kind: TokenKind, of: &OperatorRecord, created_at: Timestamp) -> OperatorTokenRecord {
    OperatorTokenRecord {
        id: OperatorTokenId::parse(&format!("opt_{id}")).unwrap(),
        kind,
        operator: Some(of.id.clone()),
        name: "ci".to_owned(),
        role: Role::Viewer,
        workspace: None,
        verbs: vec![Verb::KeyList, Verb::KeyCreate],
        mac: KeyMac::from_bytes([7; 32]),
        pepper_version: PepperVersion(1),
        hint: "cvg_oper_abcd…".to_owned(),
        created_at,
        expires_at: at(90),
        last_used_at: created_at,
        ended_at: None,
        review: None,
        version: 1,
    }
}

async fn an_operator_reads_back_and_its_name_is_taken_for_ever(place: Place) {
    let db = place.open().await;
    assert!(!db.has_operators().await.unwrap());
    let ann = operator("ann");
    apply(&db, vec![Change::InsertOperator(Box::new(ann.clone()))]).await.unwrap();
    assert!(db.has_operators().await.unwrap());
    assert_eq!(db.operator(&ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(db.operator_by_name(&ann.name).await.unwrap(), Some(ann.clone()));
    let gone = OperatorRecord { removed_at: Some(at(2)), role: Role::Viewer, ..ann.clone() };
    apply(&db, vec![Change::UpdateOperator(Box::new(gone.clone()))]).await.unwrap();
    assert_eq!(db.operators().await.unwrap(), [OperatorRecord { version: 2, ..gone.clone() }]);
    let stale = apply(&db, vec![Change::UpdateOperator(Box::new(gone))]).await;
    assert_eq!(stale, Err(StoreError::Conflict { what: "operator" }));
    let again = OperatorRecord { id: OperatorId::parse("op_other").unwrap(), ..ann };
    let taken = apply(&db, vec![Change::InsertOperator(Box::new(again))]).await;
    assert_eq!(taken, Err(StoreError::Conflict { what: "operator name" }));
}

async fn a_step_of_the_second_factor_is_used_once_whoever_is_faster(place: Place) {
    let db = place.open().await;
    let ann = operator("ann");
    apply(&db, vec![Change::InsertOperator(Box::new(ann.clone()))]).await.unwrap();
    let use_step = |step| apply(&db, vec![Change::UseTotpStep(ann.id.clone(), step)]);
    let (a, b) = tokio::join!(use_step(50), use_step(50));
    assert_eq!(a.is_ok() as u8 + b.is_ok() as u8, 1, "{a:?} {b:?}");
    assert_eq!(use_step(49).await, Err(StoreError::Conflict { what: "second factor" }));
    assert!(use_step(51).await.is_ok());
    let kept = OperatorRecord { totp_step: 3, ..ann.clone() };
    apply(&db, vec![Change::UpdateOperator(Box::new(kept))]).await.unwrap();
    assert_eq!(db.operator(&ann.id).await.unwrap().unwrap().totp_step, 51);
}

async fn tokens_end_with_their_operator(place: Place) {
    let db = place.open().await;
    let (ann, bob) = (operator("ann"), operator("bob"));
    let tokens = [
        token("1", TokenKind::Session, &ann, at(1)),
        token("2", TokenKind::Machine, &ann, at(2)),
        token("3", TokenKind::BreakGlassCode, &ann, at(3)),
        token("4", TokenKind::Machine, &bob, at(4)),
    ];
    let mut changes: Vec<Change> = [&ann, &bob].map(|o| Change::InsertOperator(Box::new(o.clone()))).into();
    changes.extend(tokens.iter().map(|t| Change::InsertOperatorToken(Box::new(t.clone()))));
    apply(&db, changes).await.unwrap();
    let read = db.operator_token(&tokens[1].id).await.unwrap().unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", tokens[1]));
    assert_eq!(read.mac.as_bytes(), tokens[1].mac.as_bytes());
    db.touch_operator_token(&read.id, at(9)).await.unwrap();
    db.touch_operator_token(&read.id, at(8)).await.unwrap();
    assert_eq!(db.operator_token(&read.id).await.unwrap().unwrap().last_used_at, at(9));
    apply(&db, vec![Change::EndOperatorTokens(ann.id.clone(), at(10))]).await.unwrap();
    let left: Vec<String> =
        db.operator_tokens().await.unwrap().into_iter().map(|t| t.id.to_string()).collect();
    assert_eq!(left, ["opt_4", "opt_3"]);
    let review = Some(Review { by: bob.id.clone(), at: at(11), note: "drill".to_owned() });
    let reviewed = OperatorTokenRecord { ended_at: Some(at(11)), review, ..tokens[2].clone() };
    apply(&db, vec![Change::UpdateOperatorToken(Box::new(reviewed.clone()))]).await.unwrap();
    let read = db.operator_token(&reviewed.id).await.unwrap().unwrap();
    assert_eq!((read.review, read.version), (reviewed.review.clone(), 2));
    let stale = apply(&db, vec![Change::UpdateOperatorToken(Box::new(reviewed))]).await;
    assert_eq!(stale, Err(StoreError::Conflict { what: "operator token" }));
}

async fn a_proof_counts_for_its_action_only(place: Place) {
    let db = place.open().await;
    let session = OperatorTokenId::parse("opt_1").unwrap();
    let proof = |n: u8, from: i64| StepUp {
        token: session.clone(),
        action: Digest([n; 32]),
        at: at(from),
        until: at(from + 5),
    };
    apply(&db, vec![Change::InsertStepUp(proof(1, 10))]).await.unwrap();
    assert_eq!(db.step_up(&session, Digest([1; 32])).await.unwrap(), Some(proof(1, 10)));
    assert_eq!(db.step_up(&session, Digest([2; 32])).await.unwrap(), None);
    assert_eq!(db.step_up(&OperatorTokenId::parse("opt_2").unwrap(), Digest([1; 32])).await.unwrap(), None);
    apply(&db, vec![Change::InsertStepUp(proof(1, 12))]).await.unwrap();
    assert_eq!(db.step_up(&session, Digest([1; 32])).await.unwrap(), Some(proof(1, 12)));
    apply(&db, vec![Change::InsertStepUp(proof(3, 20))]).await.unwrap();
    assert_eq!(db.step_up(&session, Digest([1; 32])).await.unwrap(), None, "forgotten once it is over");
}

async fn of_two_who_decide_one_is_first(place: Place) {
    let db = place.open().await;
    let (ann, bob) = (operator("ann"), operator("bob"));
    let frozen = Frozen {
        verb: Verb::KeyPurge,
        method: "POST".to_owned(),
        path: "/admin/v1/keys/key_1/purge".to_owned(),
        if_match: "\"3\"".to_owned(),
        body: b"{}".to_vec(),
    };
    let by = (ann.id.clone(), "ann".to_owned(), OperatorTokenId::parse("opt_1").unwrap());
    let workspace = Some(WorkspaceId::parse("ws_1").unwrap());
    let asked = ApprovalRecord::freeze(ApprovalId::parse("apr_1").unwrap(), frozen, by, workspace, at(5));
    let mut changes: Vec<Change> = [&ann, &bob].map(|o| Change::InsertOperator(Box::new(o.clone()))).into();
    changes.push(Change::InsertApproval(Box::new(asked.clone())));
    apply(&db, changes).await.unwrap();
    assert_eq!(db.approval(&asked.id).await.unwrap(), Some(asked.clone()));
    assert_eq!(db.approvals(Some(at(6))).await.unwrap(), std::slice::from_ref(&asked));
    assert_eq!(db.approvals(Some(asked.expires_at)).await.unwrap(), []);
    assert_eq!(db.workspace_of("apr_1").await.unwrap(), asked.workspace);
    assert_eq!(db.workspace_of("rot_1").await.unwrap(), None);
    let decide = |state| {
        let decided = ApprovalRecord {
            state,
            decided_by: Some(bob.id.clone()),
            decided_at: Some(at(7)),
            ..asked.clone()
        };
        apply(&db, vec![Change::UpdateApproval(Box::new(decided))])
    };
    let (a, b) = tokio::join!(decide(ApprovalState::Approved), decide(ApprovalState::Denied));
    assert_eq!(a.is_ok() as u8 + b.is_ok() as u8, 1, "{a:?} {b:?}");
    let now = db.approval(&asked.id).await.unwrap().unwrap();
    let done = now.executed(204, Answer::None);
    apply(&db, vec![Change::UpdateApproval(Box::new(done))]).await.unwrap();
    let read = db.approval(&asked.id).await.unwrap().unwrap();
    assert_eq!((read.state, read.status, read.version), (ApprovalState::Executed, Some(204), 3));
    assert_eq!(db.approvals(None).await.unwrap().len(), 1);
}

async fn failures_are_counted_whoever_else_fails_and_kept(place: Place) {
    let db = place.open().await;
    assert_eq!(db.lockout(7).await.unwrap().failures(), 0);
    let counted = futures_util::future::join_all((0..8).map(|_| db.count_failure(7, at(10)))).await;
    let mut counts: Vec<u32> = counted.into_iter().map(|lock| lock.unwrap().failures()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7, 8]);
    db.count_failure(8, at(10)).await.unwrap();
    let db = place.open().await;
    let kept = db.lockout(7).await.unwrap();
    assert_eq!((kept.failures(), kept.locked_until(at(10)).is_some()), (8, true));
    db.clear_lockout(7).await.unwrap();
    assert_eq!((db.lockout(7).await.unwrap().failures(), db.lockout(8).await.unwrap().failures()), (0, 1));
}

async fn what_was_approved_and_not_done_is_found_again_and_its_answer_kept(place: Place) {
    let db = place.open().await;
    let (ann, bob) = (operator("ann"), operator("bob"));
    let asked = |id: &str| {
        let frozen = Frozen {
            verb: Verb::BreakGlassPrepare,
            method: "POST".to_owned(),
            path: "/admin/v1/break-glass".to_owned(),
            if_match: String::new(),
            body: Vec::new(),
        };
        let by = (ann.id.clone(), "ann".to_owned(), OperatorTokenId::parse("opt_1").unwrap());
        ApprovalRecord::freeze(ApprovalId::parse(id).unwrap(), frozen, by, None, at(5))
    };
    let all = [asked("apr_1"), asked("apr_2"), asked("apr_3")];
    let mut changes: Vec<Change> = [&ann, &bob].map(|o| Change::InsertOperator(Box::new(o.clone()))).into();
    changes.extend(all.iter().map(|a| Change::InsertApproval(Box::new(a.clone()))));
    apply(&db, changes).await.unwrap();
    let mut approved = Vec::new();
    for (asked, when) in all.iter().zip([8, 7]) {
        let decided = asked.approve(&bob.id, at(when)).unwrap();
        apply(&db, vec![Change::UpdateApproval(Box::new(decided.clone()))]).await.unwrap();
        approved.push(ApprovalRecord { version: 2, ..decided });
    }
    assert_eq!(db.unfinished_approvals(at(6)).await.unwrap(), []);
    assert_eq!(db.unfinished_approvals(at(8)).await.unwrap(), [approved[1].clone(), approved[0].clone()]);
    let done = approved[0].executed(201, Answer::Secret);
    let keep = |sealed: &[u8]| Change::KeepApprovalAnswer(done.id.clone(), sealed.to_vec());
    apply(&db, vec![Change::UpdateApproval(Box::new(done.clone())), keep(b"sealed")]).await.unwrap();
    assert_eq!(db.unfinished_approvals(at(8)).await.unwrap(), [approved[1].clone()]);
    assert_eq!(db.untaken_answers(at(7)).await.unwrap(), []);
    let kept = db.untaken_answers(at(8)).await.unwrap();
    assert_eq!(kept, [ApprovalRecord { version: 3, ..done.clone() }]);
    assert_eq!(db.approval_answer(&done.id).await.unwrap().as_deref(), Some(&b"sealed"[..]));
    apply(&db, vec![Change::UpdateApproval(Box::new(kept[0].taken())), keep(b"")]).await.unwrap();
    assert_eq!(db.untaken_answers(at(8)).await.unwrap(), []);
    assert_eq!(db.approval_answer(&done.id).await.unwrap(), None);
    assert_eq!(db.approval_answer(&all[2].id).await.unwrap(), None);
}
