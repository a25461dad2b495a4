use std::time::Duration;

use claviger_domain::{
    audit::{Actor, AuditEvent, Digest},
    clock::{Clock, Timestamp},
    operator::{
        Role,
        approval::{ApprovalState, Frozen},
        verb::Verb,
    },
    ports::{
        Store,
        idempotency::{DETAIL, IdempotencyStore, Reservation},
        operators::OperatorStore,
    },
    secret::SecretBytes,
};
use totp_rs::{Builder, Secret};

use super::*;
use crate::{
    Caller,
    approvals::{Claim, Outcome},
    fake::House,
    lock::lock,
};

const PASSWORD: &str = "correct horse battery";

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn code(base32: &str, at: Timestamp) -> String {
    let secret = Secret::try_from_base32(base32).unwrap();
    let totp = Builder::new().with_secret(secret).build_noncompliant();
    totp.generate(at.as_secs().unsigned_abs()).to_string()
}

/// A house where people administer.
struct Town {
    house: House,
    caller: Caller,
}

impl Town {
    async fn new() -> Self {
        let caller =
            Caller { actor: Actor::Anonymous, client_ip: "192.0.2.7".to_owned(), ..Caller::system() };
        Self { house: House::new().await, caller }
    }

    /// As after a crash: only what the store holds is left.
    async fn restart(&mut self) {
        let store = std::sync::Arc::clone(&self.house.store);
        self.house = House::on(store, crate::Settings::default(), 8).await;
    }

    fn operators(&self) -> &Operators {
        &self.house.services.operators
    }

    async fn enrol(&self, name: &str, role: Role) -> String {
        let new = NewOperator { name: name.to_owned(), role, workspace: None, password: secret(PASSWORD) };
        self.operators().add(new, &self.caller).await.unwrap().totp_secret.unwrap()
    }

    /// After the next step of the second factor has begun.
    fn next_code(&self, base32: &str) -> String {
        self.house.clock.advance(Duration::from_secs(30));
        code(base32, self.house.clock.now())
    }

    async fn try_login(&self, name: &str, password: &str, code: &str) -> Result<Opened, ServiceError> {
        let login = Login { name: name.to_owned(), password: secret(password), code: code.to_owned() };
        self.operators().login(login, &self.caller).await
    }

    async fn login(&self, name: &str, base32: &str) -> Identity {
        let code = self.next_code(base32);
        let opened = self.try_login(name, PASSWORD, &code).await.unwrap();
        self.operators().authenticate(opened.token.expose()).await.unwrap()
    }
}

fn once(text: &str) -> Code<'_> {
    Code { text, is_for_repetitions: false }
}

fn action(n: u8) -> (Verb, Digest) {
    (Verb::KeyCreate, Digest([n; 32]))
}

#[tokio::test]
async fn the_first_operator_is_an_owner_of_everything() {
    let town = Town::new().await;
    assert!(!town.operators().is_enrolled().await.unwrap());
    let first = |role| NewOperator { name: "ann".into(), role, workspace: None, password: secret(PASSWORD) };
    let refused = town.operators().add(first(Role::Admin), &town.caller).await.err().unwrap();
    assert!(matches!(refused, ServiceError::Invalid { field: "role", .. }), "{refused}");
    town.operators().add(first(Role::Owner), &town.caller).await.unwrap();
    assert!(town.operators().is_enrolled().await.unwrap());
    let taken = NewOperator { name: " ANN ".into(), ..first(Role::Owner) };
    let refused = town.operators().add(taken, &town.caller).await.err().unwrap();
    assert!(matches!(refused, ServiceError::Conflict { what: "operator name", .. }), "{refused}");
    let short = NewOperator { name: "bob".into(), password: secret("short"), ..first(Role::Owner) };
    let refused = town.operators().add(short, &town.caller).await.err().unwrap();
    assert!(matches!(refused, ServiceError::Invalid { field: "password", .. }), "{refused}");
}

#[tokio::test]
async fn a_code_opens_one_session_and_no_second() {
    let town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    let code = town.next_code(&base32);
    let opened = town.try_login("Ann", PASSWORD, &code).await.unwrap();
    let identity = town.operators().authenticate(opened.token.expose()).await.unwrap();
    assert_eq!((identity.kind, identity.role()), (IdentityKind::Person, Role::Owner));
    let replayed = town.try_login("ann", PASSWORD, &code).await.err().unwrap();
    assert!(matches!(replayed, ServiceError::Unauthenticated(_)), "{replayed}");
    let stepped = town.operators().step_up(&identity, action(1), &code, &town.caller).await.unwrap_err();
    assert!(matches!(stepped, ServiceError::SecondFactor { .. }), "{stepped}");
    let (a, b) = {
        let code = town.next_code(&base32);
        tokio::join!(town.try_login("ann", PASSWORD, &code), town.try_login("ann", PASSWORD, &code))
    };
    assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "two at once with one code");
}

#[tokio::test]
async fn codes_of_neighbouring_steps_count_and_older_ones_do_not() {
    let town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    town.house.clock.advance(Duration::from_secs(300));
    let now = town.house.clock.now();
    let at = |secs: i64| code(&base32, now.plus_micros(secs * 1_000_000));
    for (secs, works) in
        [(-60, false), (60, false), (-30, true), (0, true), (-30, false), (30, true), (0, false)]
    {
        assert_eq!(town.try_login("ann", PASSWORD, &at(secs)).await.is_ok(), works, "{secs}");
    }
}

#[tokio::test]
async fn another_spelling_of_a_name_does_not_escape_its_lockout() {
    let town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    for name in ["ann", "ANN", " Ann", "aNN ", "anN"] {
        let refused = town.try_login(name, "wrong wrong", "000000").await.err().unwrap();
        assert!(matches!(refused, ServiceError::Unauthenticated(_)), "{refused}");
    }
    let code = town.next_code(&base32);
    town.house.clock.set_wall(town.house.clock.now().plus_micros(-5_000_000));
    let locked = town.try_login("Ann", PASSWORD, &code).await.err().unwrap();
    assert_eq!(locked, ServiceError::LockedOut { retry_after_secs: 6 });
    town.house.clock.advance(Duration::from_secs(6));
    assert!(town.try_login("Ann", PASSWORD, &code).await.is_ok());
    town.house.deps.tracker.close();
    town.house.deps.tracker.wait().await;
    assert!(town.house.actions().contains(&"operator.locked".to_owned()));
}

#[tokio::test]
async fn a_restart_forgives_no_failures() {
    let mut town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    for _ in 0..3 {
        town.try_login("ann", "wrong wrong", "000000").await.err().unwrap();
    }
    town.restart().await;
    for name in ["ann", "Ann"] {
        town.try_login(name, "wrong wrong", "000000").await.err().unwrap();
    }
    town.restart().await;
    let code = code(&base32, town.house.clock.now());
    let locked = town.try_login("ann", PASSWORD, &code).await.err().unwrap();
    assert!(matches!(locked, ServiceError::LockedOut { retry_after_secs: 29..=31 }), "{locked}");
    town.house.clock.advance(Duration::from_secs(31));
    let code = town.next_code(&base32);
    town.try_login("ann", PASSWORD, &code).await.unwrap();
    town.restart().await;
    town.try_login("ann", "wrong wrong", "000000").await.err().unwrap();
    let code = town.next_code(&base32);
    town.try_login("ann", PASSWORD, &code).await.expect("a proof that held forgives for good");
}

#[tokio::test]
async fn an_unknown_name_looks_like_a_known_one() {
    let town = Town::new().await;
    town.enrol("ann", Role::Owner).await;
    let mut answers: Vec<Vec<String>> = Vec::new();
    for name in ["ann", "nobody", "n\u{f6}body"] {
        let mut of_name = Vec::new();
        for _ in 0..6 {
            of_name.push(town.try_login(name, "wrong wrong", "000000").await.err().unwrap().to_string());
        }
        answers.push(of_name);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert!(answers[0][5].contains("try again in"));
}

#[tokio::test]
async fn a_session_ends_when_idle_for_an_hour_and_after_twelve() {
    let town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    let code = town.next_code(&base32);
    let opened = town.try_login("ann", PASSWORD, &code).await.unwrap();
    let alive = async || town.operators().authenticate(opened.token.expose()).await.is_ok();
    for _ in 0..13 {
        town.house.clock.advance(Duration::from_secs(55 * 60));
        assert!(alive().await);
    }
    town.house.clock.advance(Duration::from_secs(10 * 60));
    assert!(!alive().await, "12 hours");
    let code = town.next_code(&base32);
    let opened = town.try_login("ann", PASSWORD, &code).await.unwrap();
    town.house.clock.advance(Duration::from_secs(3_601));
    assert!(town.operators().authenticate(opened.token.expose()).await.is_err(), "idle");
}

#[tokio::test]
async fn a_proof_counts_for_five_minutes_and_one_action() {
    let town = Town::new().await;
    let base32 = town.enrol("ann", Role::Owner).await;
    let ann = town.login("ann", &base32).await;
    let operators = town.operators();
    let needed = operators.prove(&ann, action(1), None, &town.caller).await.unwrap_err();
    assert!(matches!(needed, ServiceError::SecondFactor { .. }));
    let code = town.next_code(&base32);
    operators.step_up(&ann, action(1), &code, &town.caller).await.unwrap();
    operators.prove(&ann, action(1), None, &town.caller).await.unwrap();
    assert!(operators.prove(&ann, action(2), None, &town.caller).await.is_err(), "another action");
    town.house.clock.advance(Duration::from_secs(299));
    operators.prove(&ann, action(1), None, &town.caller).await.unwrap();
    town.house.clock.advance(Duration::from_secs(1));
    assert!(operators.prove(&ann, action(1), None, &town.caller).await.is_err(), "too old");
    let code = town.next_code(&base32);
    operators.prove(&ann, action(2), Some(once(&code)), &town.caller).await.unwrap();
    assert!(operators.prove(&ann, action(2), Some(once(&code)), &town.caller).await.is_err(), "used up");
    let code = town.next_code(&base32);
    let repeated = Some(Code { text: &code, is_for_repetitions: true });
    operators.prove(&ann, action(3), repeated, &town.caller).await.unwrap();
    operators.prove(&ann, action(3), repeated, &town.caller).await.unwrap();
}

#[tokio::test]
async fn a_machine_never_mints_and_dies_with_whoever_minted_it() {
    let town = Town::new().await;
    town.enrol("ann", Role::Owner).await;
    let bobs = town.enrol("bob", Role::Owner).await;
    let bob = town.login("bob", &bobs).await;
    let new = |verbs: &[&str]| NewOperatorToken {
        name: "ci".into(),
        role: Role::Admin,
        workspace: None,
        verbs: verbs.iter().map(|v| (*v).to_owned()).collect(),
        ttl_secs: 3_600,
    };
    let operators = town.operators();
    for verbs in
        [["operator.token.create"], ["operator.add"], ["approval.approve"], ["key.steal"], ["audit.export"]]
    {
        let refused = operators.create_token(new(&verbs), &bob, &town.caller).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Invalid { field: "verbs", .. }), "{verbs:?} {refused}");
    }
    let (token, _) =
        operators.create_token(new(&["key.create", "key.list"]), &bob, &town.caller).await.unwrap();
    let machine = operators.authenticate(token.expose()).await.unwrap();
    assert_eq!(machine.kind, IdentityKind::Machine);
    assert!(machine.may(Verb::KeyCreate, Verb::KeyCreate.effect()).is_ok());
    assert!(machine.may(Verb::KeyShow, Verb::KeyShow.effect()).is_err());
    let minted = operators.create_token(new(&[]), &machine, &town.caller).await.unwrap_err();
    assert!(matches!(minted, ServiceError::Forbidden(_)), "{minted}");
    let stepped = operators.step_up(&machine, action(1), "000000", &town.caller).await.unwrap_err();
    assert!(matches!(stepped, ServiceError::Forbidden(_)), "{stepped}");
    operators.remove("bob", &town.caller).await.unwrap();
    assert!(operators.authenticate(token.expose()).await.is_err());
    let last = operators.remove("ann", &town.caller).await.unwrap_err();
    assert!(matches!(last, ServiceError::Conflict { .. }), "{last}");
}

#[tokio::test]
async fn the_sealed_code_opens_one_session_of_fifteen_minutes_and_everyone_hears_of_it() {
    let town = Town::new().await;
    let operators = town.operators();
    let (code, _) = operators.prepare_break_glass(&Identity::local(), &town.caller).await.unwrap();
    let base32 = town.enrol("ann", Role::Owner).await;
    assert!(operators.authenticate(code.expose()).await.is_err(), "the code itself administers nothing");
    let (a, b) = tokio::join!(
        operators.break_glass(code.expose(), &town.caller),
        operators.break_glass(code.expose(), &town.caller)
    );
    assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "once");
    let opened = a.or(b).unwrap();
    let glass = operators.authenticate(opened.token.expose()).await.unwrap();
    assert_eq!(glass.may(Verb::KeyPurge, Verb::KeyPurge.effect()).map(|n| n.second_person), Ok(false));
    {
        let state = lock(&town.house.store.state);
        let notice = &state.notices.notices[0];
        assert_eq!((notice.notice.kind(), notice.severity.as_str()), ("incident.opened", "critical"));
    }
    assert!(town.house.actions().contains(&"break_glass.open".to_owned()));
    let again = operators.prepare_break_glass(&Identity::local(), &town.caller).await.unwrap_err();
    assert!(matches!(again, ServiceError::Conflict { what: "break-glass", .. }), "{again}");
    town.house.clock.advance(Duration::from_secs(15 * 60));
    assert!(operators.authenticate(opened.token.expose()).await.is_err(), "15 minutes");
    let ann = town.login("ann", &base32).await;
    let id = opened.record.id.as_str();
    operators.review_break_glass(id, "locked out, drill", &ann, &town.caller).await.unwrap();
    operators.prepare_break_glass(&ann, &town.caller).await.unwrap();
}

#[tokio::test]
async fn an_older_sealed_code_stops_working() {
    let town = Town::new().await;
    let (old, _) = town.operators().prepare_break_glass(&Identity::local(), &town.caller).await.unwrap();
    let (new, _) = town.operators().prepare_break_glass(&Identity::local(), &town.caller).await.unwrap();
    assert!(town.operators().break_glass(old.expose(), &town.caller).await.is_err());
    assert!(town.operators().break_glass(new.expose(), &town.caller).await.is_ok());
}

fn purge() -> Frozen {
    Frozen {
        verb: Verb::KeyPurge,
        method: "POST".to_owned(),
        path: "/admin/v1/keys/key_1/purge".to_owned(),
        if_match: String::new(),
        body: Vec::new(),
    }
}

#[tokio::test]
async fn what_is_frozen_is_done_once_by_a_second_person() {
    let town = Town::new().await;
    let anns = town.enrol("ann", Role::Owner).await;
    let bobs = town.enrol("bob", Role::Admin).await;
    let veras = town.enrol("vera", Role::Viewer).await;
    let (ann, bob, vera) =
        (town.login("ann", &anns).await, town.login("bob", &bobs).await, town.login("vera", &veras).await);
    let approvals = &town.house.services.approvals;
    let asked = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    let again = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    assert_eq!(again.id, asked.id, "asking twice waits once");
    let id = asked.id.as_str();
    let own = approvals.approve(id, &ann, &town.caller).await.err().unwrap();
    assert!(matches!(own, ServiceError::Forbidden(_)), "{own}");
    let lowly = approvals.approve(id, &vera, &town.caller).await.err().unwrap();
    assert!(matches!(lowly, ServiceError::NotFound { .. }), "{lowly}");
    let (a, b) =
        tokio::join!(approvals.approve(id, &bob, &town.caller), approvals.approve(id, &bob, &town.caller));
    assert_eq!(u8::from(a.is_ok()) + u8::from(b.is_ok()), 1, "two at once");
    let claim = a.or(b).unwrap();
    assert_eq!(claim.requester.operator_id(), ann.operator_id());
    let answer = Outcome::Answered { status: 200, body: b"{}".to_vec(), is_secret: false };
    let done = claim.end(answer, &town.caller).await.unwrap();
    assert_eq!(done.state, ApprovalState::Executed);
    let late = approvals.approve(id, &bob, &town.caller).await.err().unwrap();
    assert!(matches!(late, ServiceError::Conflict { .. }), "{late}");
}

/// Ann asks, Bob approves.
async fn approved(town: &Town) -> (Identity, Identity, Claim) {
    let anns = town.enrol("ann", Role::Owner).await;
    let bobs = town.enrol("bob", Role::Owner).await;
    let (ann, bob) = (town.login("ann", &anns).await, town.login("bob", &bobs).await);
    let approvals = &town.house.services.approvals;
    let asked = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    let claim = approvals.approve(asked.id.as_str(), &bob, &town.caller).await.unwrap();
    (ann, bob, claim)
}

#[tokio::test]
async fn what_a_dead_process_left_is_taken_up_once_and_only_in_time() {
    let mut town = Town::new().await;
    let (_, _, claim) = approved(&town).await;
    let (id, caller) = (claim.approval.id.clone(), town.caller.clone());
    let left = async |town: &Town| town.house.services.approvals.left_behind(&caller).await.unwrap();
    town.house.clock.advance(Duration::from_secs(60));
    assert!(left(&town).await.is_empty(), "it is being carried out here");
    town.restart().await;
    let taken_up = left(&town).await;
    assert_eq!(taken_up.iter().map(|c| &c.approval.id).collect::<Vec<_>>(), [&id]);
    assert!(left(&town).await.is_empty(), "once");
    drop(taken_up);
    assert_eq!(left(&town).await.len(), 1, "what failed for the moment is tried again");
    drop(claim);
    town.house.clock.advance(Duration::from_secs(24 * 3_600));
    assert!(left(&town).await.is_empty(), "too late");
    let closed = town.house.store.approval(&id).await.unwrap().unwrap();
    assert_eq!(closed.state, ApprovalState::Expired);
}

#[tokio::test]
async fn what_a_dead_process_had_done_counts_as_done_though_nobody_heard() {
    let mut town = Town::new().await;
    let (_, _, claim) = approved(&town).await;
    let key = claim.approval.id.to_string();
    let wanted = Reservation {
        principal: key.clone(),
        key,
        request: Digest([1; 32]),
        request_id: "req_1".to_owned(),
        at: town.house.clock.now(),
    };
    assert!(town.house.store.reserve(&wanted).await.unwrap().is_none());
    let event = town.caller.event(wanted.at, "key.purge", "key_1").with(DETAIL, "apr");
    let event = AuditEvent { request_id: "req_1".to_owned(), ..event };
    town.house.store.apply(Vec::new(), event).await.unwrap();
    town.restart().await;
    town.house.clock.advance(Duration::from_secs(24 * 3_600));
    assert!(town.house.services.approvals.left_behind(&town.caller).await.unwrap().is_empty());
    let closed = town.house.store.approval(&claim.approval.id).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.status), (ApprovalState::Executed, None));
}

#[tokio::test]
async fn a_secret_in_the_answer_is_for_whoever_asked_once_and_for_a_day() {
    let town = Town::new().await;
    let (ann, bob, claim) = approved(&town).await;
    let approvals = &town.house.services.approvals;
    let answer = Outcome::Answered { status: 201, body: b"hush".to_vec(), is_secret: true };
    let done = claim.end(answer, &town.caller).await.unwrap();
    let id = done.id.as_str();
    assert_eq!(approvals.answer(&done).await.unwrap(), None);
    let refused = approvals.take(id, &bob, &town.caller).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Forbidden(_)), "{refused}");
    let (a, b) = tokio::join!(approvals.take(id, &ann, &town.caller), approvals.take(id, &ann, &town.caller));
    let mut taken: Vec<_> = [a, b].into_iter().filter_map(Result::ok).collect();
    assert_eq!(taken.len(), 1, "once");
    assert_eq!(taken.remove(0).1, b"hush");
    let gone = approvals.take(id, &ann, &town.caller).await.unwrap_err();
    assert!(matches!(gone, ServiceError::Conflict { .. }), "{gone}");
    assert_eq!(town.house.store.approval_answer(&done.id).await.unwrap(), None, "nothing of it is left");

    let asked = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    let claim = approvals.approve(asked.id.as_str(), &bob, &town.caller).await.unwrap();
    let answer = Outcome::Answered { status: 201, body: b"hush".to_vec(), is_secret: true };
    let done = claim.end(answer, &town.caller).await.unwrap();
    approvals.forget_untaken(&town.caller).await.unwrap();
    assert!(town.house.store.approval_answer(&done.id).await.unwrap().is_some());
    town.house.clock.advance(Duration::from_secs(24 * 3_600));
    approvals.forget_untaken(&town.caller).await.unwrap();
    assert_eq!(town.house.store.approval_answer(&done.id).await.unwrap(), None, "a day is enough");
}

#[tokio::test]
async fn what_waited_for_a_day_or_whose_requester_is_gone_is_not_done() {
    let town = Town::new().await;
    let anns = town.enrol("ann", Role::Owner).await;
    let bobs = town.enrol("bob", Role::Owner).await;
    let ann = town.login("ann", &anns).await;
    let approvals = &town.house.services.approvals;
    let old = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    town.house.clock.advance(Duration::from_secs(24 * 3_600));
    let (ann, bob) = (town.login("ann", &anns).await, town.login("bob", &bobs).await);
    let expired = approvals.approve(old.id.as_str(), &bob, &town.caller).await.err().unwrap();
    assert!(expired.to_string().contains("expired"), "{expired}");
    let new = approvals.freeze(purge(), None, &ann, &town.caller).await.unwrap();
    assert_ne!(new.id, old.id);
    town.operators().remove("ann", &town.caller).await.unwrap();
    let gone = approvals.approve(new.id.as_str(), &bob, &town.caller).await.err().unwrap();
    assert!(matches!(gone, ServiceError::Forbidden(_)), "{gone}");
}
