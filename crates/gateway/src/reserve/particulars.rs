//! What every record of one request says.

use std::sync::Arc;

use claviger_domain::{clock::Timestamp, id::RequestId, ledger::Party, permission::Endpoint};
use claviger_service::grants::LiveGrant;
use tokio::time::Instant;

use crate::{
    authorize::{Payload, Permit},
    metrics::method_label,
    prove::Signed,
};

/// What every record of one request says.
#[derive(Debug)]
pub struct Particulars {
    /// Its id.
    pub request_id: RequestId,
    /// Whose it is.
    pub party: Party,
    /// When it arrived.
    pub at: Timestamp,
    /// The same moment, for measuring.
    pub began: Instant,
    /// Which group of routes.
    pub endpoint: Endpoint,
    /// The method, as a label.
    pub method: &'static str,
    /// Method and path.
    pub api_endpoint: String,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// The client's address.
    pub client_ip: String,
    /// The client's program.
    pub user_agent: String,
    /// Whether an event stream was asked for.
    pub stream: bool,
    /// The request body's length in bytes.
    pub body_length: u64,
    /// Whether a batch is to be made, which is billed by its results.
    pub makes_batch: bool,
    /// What its signature is found to be made with.
    pub signed: Signed,
}

impl Particulars {
    /// Of this request.
    #[must_use]
    pub fn of(permit: &Permit) -> Self {
        let (head, live) = (&permit.head, &permit.caller.live);
        Self {
            request_id: head.request_id.clone(),
            party: party(live),
            at: head.at,
            began: head.began,
            endpoint: head.operation.endpoint(),
            method: method_label(&head.method),
            api_endpoint: head.api_endpoint(),
            model: permit.model().cloned(),
            client_ip: head.client_ip.to_string(),
            user_agent: head.user_agent(),
            stream: permit.wants_stream(),
            body_length: permit.payload.length(),
            makes_batch: matches!(permit.payload, Payload::Batch { .. }),
            signed: permit.caller.signed.clone(),
        }
    }
}

/// Whose request it is.
pub fn party(live: &LiveGrant) -> Party {
    let key = &live.grant.key;
    Party {
        key: key.id.clone(),
        workspace: key.workspace.clone(),
        owner: key.owner.clone(),
        class: key.class,
    }
}
