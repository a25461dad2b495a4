//! A row for tests of what is made of rows.

use super::{BatchItem, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts};
use crate::{
    clock::Timestamp,
    id::{CredentialId, IntentId, KeyId, OwnerId, RequestId, UpstreamId, WorkspaceId},
    money::PicoUsd,
    permission::Endpoint,
    token::KeyClass,
};

/// The nth.
pub(crate) fn row(n: u64) -> LedgerRow {
    LedgerRow {
        request_id: RequestId::parse(&format!("req_{n}")).unwrap(),
        intent: Some(IntentId::parse("int_1").unwrap()),
        party: Party {
            key: KeyId::parse("key_0123456789").unwrap(),
            workspace: WorkspaceId::parse("ws_1").unwrap(),
            owner: OwnerId::parse("own_1").unwrap(),
            class: KeyClass::Live,
        },
        route: Route {
            upstream: Some(UpstreamId::parse("up_1").unwrap()),
            credential: Some(CredentialId::parse("cred_1").unwrap()),
        },
        batch: Some(BatchItem { batch: "msgbatch_1".into(), custom_id: "a".into() }),
        at: Timestamp::from_secs(1_700_000_000),
        endpoint: Endpoint::Messages,
        api_endpoint: "POST /v1/messages".into(),
        model: "claude-opus-5-5".into(),
        status: 200,
        outcome: Outcome::Completed,
        flags: RowFlags::STREAM,
        usage: UsageCounts { input_tokens: n, output_tokens: 5, ..UsageCounts::default() },
        cost: PicoUsd::new(123_456).unwrap(),
        attempts: 1,
        upstream_request_id: Some("req_up".into()),
        first_byte_us: 10,
        duration_us: 20,
        client_ip: "192.0.2.7".into(),
        user_agent: "sdk".into(),
        token_scope: "read write".into(),
        detail: String::new(),
        charges: Vec::new(),
        signed: None,
        recalled: None,
    }
}
