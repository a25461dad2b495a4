//! `GET /admin/v1/keys/{id}/signing`, `POST /admin/v1/keys/{id}/signing/rotate`

use axum::extract::State;
use claviger_domain::{
    clock::Timestamp,
    signature::secret::{SigningKind, SigningRecord, Standing},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{create::shown, key_id};
use crate::{
    answer::Secret,
    api::time::Moment,
    extract::{Body, Operator, Path},
    problem::Problem,
    state::ControlState,
};

/// What a key's signatures are verified with. Secrets are not shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SigningView {
    /// The key.
    pub key: String,
    /// Its secrets and public keys, by their beginning.
    pub signers: Vec<SignerView>,
}

/// One secret or public key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SignerView {
    /// Its id.
    pub id: String,
    /// `hmac-sha256`, `ed25519`.
    pub kind: String,
    /// `current`, `next`, `previous`, `over`; of public keys: `accepted`, `over`.
    pub state: String,
    /// What may be shown of a secret; a public key in hex.
    pub hint: String,
    /// When it was made.
    pub created_at: Moment,
    /// From when on it is to be used.
    pub valid_from: Moment,
    /// From when on it is refused; `null`: it has no successor.
    pub until: Option<Moment>,
}

/// Body of `POST /admin/v1/keys/{id}/signing/rotate`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotateSigning {
    /// Refuse the old secret at once instead of after 24 hours.
    pub at_once: bool,
}

/// A new secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct RotatedSigning {
    /// The key.
    pub key: String,
    /// The secret's id.
    pub id: String,
    /// The secret: shown here and never again.
    pub signing_secret: String,
    /// From when on it is to be used.
    pub valid_from: Moment,
}

/// Shows what a key's signatures are verified with.
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<axum::Json<SigningView>, Problem> {
    let id = key_id(&id)?;
    let records = state.services.signing.show(&id).await?;
    let now = state.clock.now();
    let standing = Standing::of(&records, now);
    let signers = records.iter().map(|record| signer(record, &standing, now)).collect();
    Ok(axum::Json(SigningView { key: id.to_string(), signers }))
}

fn signer(record: &SigningRecord, standing: &Standing<'_>, now: Timestamp) -> SignerView {
    let is = |found: Option<&SigningRecord>| found.is_some_and(|found| found.id == record.id);
    let over = record.until.is_some_and(|until| until <= now);
    let state = match record.kind {
        _ if over => "over",
        SigningKind::Ed25519 => "accepted",
        SigningKind::Hmac if is(standing.current) => "current",
        SigningKind::Hmac if is(standing.next) => "next",
        SigningKind::Hmac => "previous",
    };
    SignerView {
        id: record.id.to_string(),
        kind: record.kind.as_str().to_owned(),
        state: state.to_owned(),
        hint: record.hint.clone(),
        created_at: Moment(record.created_at),
        valid_from: Moment(record.valid_from),
        until: record.until.map(Moment),
    }
}

/// Gives a key a new signing secret. The answer is the only place that ever shows it to an operator.
pub async fn rotate(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<RotateSigning>,
) -> Result<Secret<RotatedSigning>, Problem> {
    let rotated = state.services.signing.rotate(&key_id(&id)?, body.at_once, &operator.caller).await?;
    let (key, made) = rotated;
    Ok(Secret(RotatedSigning {
        key: key.id.to_string(),
        id: made.record.id.to_string(),
        signing_secret: shown(&made),
        valid_from: Moment(made.record.valid_from),
    }))
}
