//! Whatever differs in the value differs in the bytes.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    audit::Digest,
    clock::Timestamp,
    id::{BudgetId, CredentialId, IntentId, KeyId, NodeId, OwnerId, RequestId, SigningId, WorkspaceId},
    ledger::{Outcome, RowFlags, sample::row},
    money::PicoUsd,
    permission::Endpoint,
    signature::{Profile, Role},
    token::KeyClass,
};

pub(crate) fn event() -> AuditEvent {
    let actor = Actor::Local { uid: 1000, pid: 42 };
    let event = AuditEvent::new(Timestamp::from_secs(1_700_000_000), actor, "key.create", "key_0123456789");
    AuditEvent {
        key: "key_0123456789".into(),
        api_endpoint: "POST /admin/v1/keys".into(),
        request_id: "req_1".into(),
        client_ip: "127.0.0.1".into(),
        token_scope: "read write".into(),
        user_agent: "claviger/0.1".into(),
        ..event.with("name", "build").with("rpm", 60)
    }
}

type Edit<T> = (&'static str, fn(&mut T));

/// One edit for every field of an event, and some that only a sloppy encoding would miss.
pub(crate) const EVENT_EDITS: &[Edit<AuditEvent>] = &[
    ("at", |e| e.at = e.at.plus_micros(1)),
    ("actor uid", |e| e.actor = Actor::Local { uid: 1001, pid: 42 }),
    ("actor pid", |e| e.actor = Actor::Local { uid: 1000, pid: 43 }),
    ("actor system", |e| e.actor = Actor::System),
    ("actor anonymous", |e| e.actor = Actor::Anonymous),
    ("actor operator", |e| e.actor = Actor::Operator { id: "op_a".into(), name: "ann".into() }),
    ("actor other operator", |e| e.actor = Actor::Operator { id: "op_b".into(), name: "ann".into() }),
    ("actor operator's name", |e| e.actor = Actor::Operator { id: "op_a".into(), name: "bob".into() }),
    ("actor key", |e| e.actor = Actor::Key { id: "key_a".into() }),
    ("actor other key", |e| e.actor = Actor::Key { id: "key_b".into() }),
    ("action", |e| e.action.push('x')),
    ("target", |e| e.target.push('x')),
    ("target into outcome", |e| {
        e.target.clear();
        e.outcome = "key_0123456789ok".into();
    }),
    ("outcome", |e| e.outcome = "refused".into()),
    ("key", |e| e.key.clear()),
    ("api_endpoint", |e| e.api_endpoint.push('/')),
    ("request_id", |e| e.request_id = "req_2".into()),
    ("client_ip", |e| e.client_ip = "127.0.0.2".into()),
    ("token_scope", |e| e.token_scope = "read".into()),
    ("user_agent", |e| e.user_agent.clear()),
    ("detail value", |e| e.details = e.clone().with("rpm", 61).details),
    ("detail as text", |e| e.details = e.clone().with("rpm", "60").details),
    ("detail as float", |e| e.details = e.clone().with("rpm", 60.0).details),
    ("detail as list", |e| e.details = e.clone().with("rpm", vec![60]).details),
    ("detail null", |e| e.details = e.clone().with("rpm", Value::Null).details),
    ("detail false", |e| e.details = e.clone().with("rpm", false).details),
    ("detail true", |e| e.details = e.clone().with("rpm", true).details),
    ("detail more", |e| e.details = e.clone().with("rps", 60).details),
    ("detail nested", |e| e.details = e.clone().with("x", serde_json::json!({"rpm": 60})).details),
    ("detail gone", |e| drop(e.details.remove("rpm"))),
];

/// One edit for every field of a ledger row.
pub(crate) const ROW_EDITS: &[Edit<LedgerRow>] = &[
    ("request_id", |r| r.request_id = RequestId::parse("req_x").unwrap()),
    ("intent", |r| r.intent = Some(IntentId::parse("int_2").unwrap())),
    ("no intent", |r| r.intent = None),
    ("key", |r| r.party.key = KeyId::parse("key_9876543210").unwrap()),
    ("workspace", |r| r.party.workspace = WorkspaceId::parse("ws_2").unwrap()),
    ("owner", |r| r.party.owner = OwnerId::parse("own_2").unwrap()),
    ("class", |r| r.party.class = KeyClass::Test),
    ("upstream", |r| r.route.upstream = None),
    ("credential", |r| r.route.credential = None),
    ("credential other", |r| r.route.credential = Some(CredentialId::parse("cred_2").unwrap())),
    ("batch", |r| r.batch = None),
    ("batch id", |r| r.batch = Some(BatchItem { batch: "msgbatch_2".into(), custom_id: "a".into() })),
    ("batch item", |r| r.batch = Some(BatchItem { batch: "msgbatch_1".into(), custom_id: "b".into() })),
    ("batch border", |r| r.batch = Some(BatchItem { batch: "msgbatch_1a".into(), custom_id: String::new() })),
    ("at", |r| r.at = r.at.plus_micros(-1)),
    ("endpoint", |r| r.endpoint = Endpoint::Batches),
    ("api_endpoint", |r| r.api_endpoint.push('s')),
    ("model", |r| r.model.push('x')),
    ("status", |r| r.status = 201),
    ("outcome", |r| r.outcome = Outcome::Unknown),
    ("flags", |r| r.flags = RowFlags::ESTIMATED),
    ("input", |r| r.usage.input_tokens += 1),
    ("cache write 5m", |r| r.usage.cache_write_5m_tokens += 1),
    ("cache write 1h", |r| r.usage.cache_write_1h_tokens += 1),
    ("cache read", |r| r.usage.cache_read_tokens += 1),
    ("output", |r| r.usage.output_tokens += 1),
    ("web search", |r| r.usage.web_search_requests += 1),
    ("cost", |r| r.cost = PicoUsd::new(123_457).unwrap()),
    ("attempts", |r| r.attempts = 2),
    ("upstream request id", |r| r.upstream_request_id = None),
    ("upstream request id empty", |r| r.upstream_request_id = Some(String::new())),
    ("first byte", |r| r.first_byte_us += 1),
    ("duration", |r| r.duration_us += 1),
    ("client_ip", |r| r.client_ip.push('7')),
    ("user_agent", |r| r.user_agent.push('7')),
    ("token_scope", |r| r.token_scope.push('7')),
    ("detail", |r| r.detail.push('7')),
    ("charge", |r| r.charges = vec![charge("bdg_a", 0)]),
    ("charge other", |r| r.charges = vec![charge("bdg_b", 0)]),
    ("charge window", |r| r.charges = vec![charge("bdg_a", 1)]),
    ("charges", |r| r.charges = vec![charge("bdg_a", 0), charge("bdg_b", 0)]),
    ("signed", |r| r.signed = Some(signed(Profile::V1, "sgn_a", Role::Current))),
    ("signed otherwise", |r| r.signed = Some(signed(Profile::V2, "sgn_a", Role::Current))),
    ("signed by another", |r| r.signed = Some(signed(Profile::V1, "sgn_b", Role::Current))),
    ("signed by the one before", |r| r.signed = Some(signed(Profile::V1, "sgn_a", Role::Previous))),
    ("signed and charged", |r| {
        r.charges = vec![charge("bdg_a", 0)];
        r.signed = Some(signed(Profile::V1, "sgn_a", Role::Current));
    }),
    ("recalled", |r| r.recalled = Some(recalled(1, 5))),
    ("recalled of another", |r| r.recalled = Some(recalled(2, 5))),
    ("recalled saved", |r| r.recalled = Some(recalled(1, 6))),
    ("recalled and charged", |r| {
        r.charges = vec![charge("bdg_a", 0)];
        r.recalled = Some(recalled(1, 5));
    }),
    ("recalled and signed", |r| {
        r.signed = Some(signed(Profile::V1, "sgn_a", Role::Current));
        r.recalled = Some(recalled(1, 5));
    }),
];

fn charge(budget: &str, window: i64) -> Charge {
    Charge { budget: BudgetId::parse(budget).unwrap(), window: Timestamp::from_micros(window) }
}

fn signed(profile: Profile, secret: &str, role: Role) -> SignedBy {
    SignedBy { profile, secret: SigningId::parse(secret).unwrap(), role }
}

fn recalled(n: u64, saved: i128) -> Recalled {
    Recalled { call: row(n).request_id, saved: PicoUsd::new(saved).unwrap() }
}

fn all_differ<T: Clone>(edits: &[Edit<T>], start: &T, bytes: impl Fn(&T) -> Vec<u8>) {
    let mut seen = HashMap::from([(bytes(start), "the original")]);
    for (name, edit) in edits {
        let mut value = start.clone();
        edit(&mut value);
        if let Some(other) = seen.insert(bytes(&value), name) {
            panic!("`{name}` has the same bytes as {other}");
        }
    }
}

#[test]
fn a_change_of_any_field_of_an_event_changes_the_bytes() {
    all_differ(EVENT_EDITS, &event(), event_bytes);
}

#[test]
fn a_change_of_any_field_of_a_ledger_row_changes_the_bytes() {
    all_differ(ROW_EDITS, &row(1), row_bytes);
}

#[test]
fn a_change_of_any_field_of_a_data_record_changes_the_bytes() {
    let chain = NodeId::parse("node_a").unwrap();
    let record = DataRecord {
        chain,
        number: 1,
        at: Timestamp::from_secs(1),
        rows: 2,
        leaf: Digest([3; 32]),
        head: Digest([4; 32]),
    };
    let edits: [Edit<DataRecord>; 4] = [
        ("chain", |r| r.chain = NodeId::parse("node_b").unwrap()),
        ("at", |r| r.at = r.at.plus_micros(1)),
        ("rows", |r| r.rows = 3),
        ("leaf", |r| r.leaf.0[31] ^= 1),
    ];
    all_differ(&edits, &record, data_bytes);
}

#[test]
fn the_order_in_which_details_were_put_does_not_matter() {
    let one = AuditEvent { details: serde_json::Map::new(), ..event() }.with("b", 1).with("a", 2);
    let two = AuditEvent { details: serde_json::Map::new(), ..event() }.with("a", 2).with("b", 1);
    assert_eq!(event_bytes(&one), event_bytes(&two));
}

/// The bytes of every version are for ever: records that were written must verify under every later release.
#[test]
fn every_version_is_frozen() {
    let hex = |bytes: &[u8]| crate::audit::chain::leaf(bytes).to_hex();
    insta::assert_snapshot!(hex(&event_bytes(&event())), @"9552d5708e945c8a6667bbf5a29df89db8169fc8de1867b75932c70791cf2089");
    insta::assert_snapshot!(hex(&row_bytes(&row(1))), @"8cbe7c0a9ebc65286008c8e7a3d814621020ffef8f9b7c583ebde0c4a0ad9f13");
    let charged = LedgerRow { charges: vec![charge("bdg_a", 7)], ..row(1) };
    insta::assert_snapshot!(hex(&row_bytes(&charged)), @"4604db8b1a10b187483d7e226c44bb585aad3a910dd8e8223d5bbf44a73c64da");
    let by = Some(signed(Profile::Rfc9421, "sgn_a", Role::Previous));
    insta::assert_snapshot!(hex(&row_bytes(&LedgerRow { signed: by.clone(), ..row(1) })), @"8d4a2167b05fa7de5aa1b345e88e365cc7bbf1c14563d99c77b80b4125db29c4");
    insta::assert_snapshot!(hex(&row_bytes(&LedgerRow { signed: by.clone(), ..charged.clone() })), @"d97af3e6e08051a8265475c2d07d147b9a292d812d5577a385abd3b41184c763");
    let recalled = Some(recalled(2, 7));
    insta::assert_snapshot!(hex(&row_bytes(&LedgerRow { recalled: recalled.clone(), ..row(1) })), @"f69eb326f2a80b8f0ec57ddfb1aff9d32486d3e9a948ff7675bd01d9b8816673");
    insta::assert_snapshot!(hex(&row_bytes(&LedgerRow { recalled, signed: by, ..charged })), @"829c9e577a6592108fb2b233560e06c96c251224eeb9a34c5bc426445f57f224");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((".{0,3}", inner), 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn details_that_went_through_a_store_have_the_same_bytes(value in json()) {
        let kept = event().with("x", value);
        let text = serde_json::to_string(&kept.details).unwrap();
        let read = AuditEvent { details: serde_json::from_str(&text).unwrap(), ..kept.clone() };
        prop_assert_eq!(event_bytes(&kept), event_bytes(&read));
    }

    #[test]
    fn different_details_have_different_bytes(a in json(), b in json()) {
        let bytes = |v: &Value| event_bytes(&event().with("x", v.clone()));
        prop_assert_eq!(a == b, bytes(&a) == bytes(&b));
    }
}
