//! Operations on one's own session: `/admin/v1/session`.

use axum::{Json, extract::State};
use claviger_domain::{
    audit::Digest,
    operator::{approval::digest_of_action, verb::Verb},
    secret::SecretBytes,
};
use claviger_service::{
    ServiceError,
    operators::{Login, Opened, OwnEnrolment},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{operators::EnrolledView, time::Moment};
use crate::{
    answer::{Secret, Shown},
    extract::{Body, Operator, Visitor},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/session`: name, password and code, or the sealed code of break-glass alone.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OpenSession {
    /// The operator's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A code of their second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totp: Option<String>,
    /// The sealed code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// A session that was opened.
#[derive(Clone, Serialize, ToSchema)]
pub struct OpenedView {
    /// The session: shown here and never again.
    pub token: String,
    /// Its id.
    pub id: String,
    /// `session` or `break_glass`.
    pub kind: String,
    /// The operator; `null` after break-glass.
    pub operator: Option<String>,
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: String,
    /// The only workspace that they see.
    pub workspace: Option<String>,
    /// When it ends at the latest.
    pub expires_at: Moment,
}

impl From<Opened> for OpenedView {
    fn from(opened: Opened) -> Self {
        let Opened { token, record, operator } = opened;
        Self {
            token: String::from_utf8_lossy(token.expose()).into_owned(),
            id: record.id.to_string(),
            kind: record.kind.as_str().to_owned(),
            operator: operator.as_ref().map(|o| o.id.to_string()),
            name: operator.map_or_else(|| "break-glass".to_owned(), |o| o.name.to_string()),
            role: record.role.as_str().to_owned(),
            workspace: record.workspace.map(|w| w.to_string()),
            expires_at: Moment(record.expires_at),
        }
    }
}

pub(super) fn secret(text: String) -> SecretBytes {
    SecretBytes::new(text.into_bytes())
}

/// `POST /admin/v1/session`
pub async fn open(
    State(state): State<ControlState>,
    visitor: Visitor,
    Body(body): Body<OpenSession>,
) -> Result<Secret<OpenedView>, Problem> {
    let operators = &state.services.operators;
    let opened = match body {
        OpenSession { break_glass: Some(code), name: None, password: None, totp: None } => {
            operators.break_glass(code.as_bytes(), &visitor.caller).await?
        }
        OpenSession { name: Some(name), password: Some(password), totp: Some(code), break_glass: None } => {
            operators.login(Login { name, password: secret(password), code }, &visitor.caller).await?
        }
        _ => {
            let why = "expected name, password and totp, or break_glass alone";
            return Err(Problem::invalid("name", why));
        }
    };
    Ok(Secret(opened.into()))
}

/// Who asks, and with what rights.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SessionView {
    /// `local`, `session`, `machine` or `break_glass`.
    pub kind: String,
    /// The session's or token's id.
    pub id: Option<String>,
    /// The operator, or for a machine whoever minted its token.
    pub operator: Option<String>,
    /// What they are called.
    pub name: String,
    /// What they may do.
    pub role: String,
    /// The only workspace that they see.
    pub workspace: Option<String>,
    /// The only verbs that they may use; empty: all of the role.
    pub verbs: Vec<String>,
    /// When it ends at the latest.
    pub expires_at: Option<Moment>,
}

impl From<&Operator> for SessionView {
    fn from(asker: &Operator) -> Self {
        let identity = &asker.identity;
        let token = identity.token.as_ref();
        let of_operator = identity.operator.as_ref().map(|o| o.name.to_string());
        let of_token = token.map(|t| t.name.clone()).filter(|name| !name.is_empty());
        Self {
            kind: token.map_or("local", |t| t.kind.as_str()).to_owned(),
            id: token.map(|t| t.id.to_string()),
            operator: identity.operator_id().map(ToString::to_string),
            name: of_token.or(of_operator).unwrap_or_else(|| "local".to_owned()),
            role: identity.role().as_str().to_owned(),
            workspace: identity.workspace().map(ToString::to_string),
            verbs: token.map(|t| t.verbs.iter().map(|v| v.as_str().to_owned()).collect()).unwrap_or_default(),
            expires_at: token.map(|t| Moment(t.expires_at)),
        }
    }
}

/// `GET /admin/v1/session`
pub async fn show(
    State(_state): State<ControlState>,
    operator: Operator,
) -> Result<Json<SessionView>, Problem> {
    Ok(Json(SessionView::from(&operator)))
}

/// `DELETE /admin/v1/session`
pub async fn end(
    State(state): State<ControlState>,
    operator: Operator,
) -> Result<Json<SessionView>, Problem> {
    state.services.operators.logout(&operator.identity, &operator.caller).await?;
    Ok(Json(SessionView::from(&operator)))
}

/// Body of `POST /admin/v1/session/step-up`: what will be done, and the proof.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StepUpBody {
    /// What will be done, such as `key.create`.
    pub verb: String,
    /// With which method.
    pub method: String,
    /// Where: path and query, such as `/admin/v1/keys`.
    pub path: String,
    /// SHA-256 of the body, hex; absent: there is none.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub body_sha256: Option<String>,
    /// A code of the second factor.
    pub totp: String,
}

/// A proof that counts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StepUpView {
    /// The action that was proved, as SHA-256, hex.
    pub action: String,
    /// It counts until then, in this session.
    pub expires_at: Moment,
}

/// `POST /admin/v1/session/step-up`
pub async fn step_up(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<StepUpBody>,
) -> Result<Json<StepUpView>, Problem> {
    let verb = Verb::parse(&body.verb).ok_or_else(|| {
        Problem::invalid("verb", "no such verb: they are the `operationId`s of /admin/v1/openapi.json")
    })?;
    let digest = match &body.body_sha256 {
        Some(hex) => {
            Digest::from_hex(hex).ok_or_else(|| Problem::invalid("body_sha256", "expected 64 hex digits"))?
        }
        None => Digest::of(b""),
    };
    let action = digest_of_action(verb, &body.method.to_ascii_uppercase(), &body.path, digest);
    let operators = &state.services.operators;
    let proof = operators.step_up(&operator.identity, (verb, action), &body.totp, &operator.caller).await?;
    Ok(Json(StepUpView { action: action.to_hex(), expires_at: Moment(proof.until) }))
}

/// Body of `POST /admin/v1/session/enrol`: what one knows, and what shall be new.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolBody {
    /// The password of now.
    pub password: String,
    /// A code of the second factor of now.
    pub totp: String,
    /// The password that is wanted.
    #[serde(default)]
    pub new_password: Option<String>,
    /// Whether the second factor is made anew.
    #[serde(default)]
    pub new_totp: bool,
}

/// `POST /admin/v1/session/enrol`
pub async fn enrol(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<EnrolBody>,
) -> Result<Shown<EnrolledView>, Problem> {
    if body.new_password.is_none() && !body.new_totp {
        return Err(ServiceError::Invalid {
            field: "new_password",
            why: "nothing to change was given".into(),
        }
        .into());
    }
    let own = OwnEnrolment {
        password: secret(body.password),
        code: body.totp,
        new_password: body.new_password.map(secret),
        new_totp: body.new_totp,
    };
    let enrolled = state.services.operators.update_own(&operator.identity, own, &operator.caller).await?;
    Ok(Shown(enrolled.into()))
}
