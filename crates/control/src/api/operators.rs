//! Operations on operators, machines' tokens and break-glass.

use axum::{Json, extract::State};
use claviger_domain::operator::{
    Role,
    record::OperatorRecord,
    token::{OperatorTokenRecord, Review},
};
use claviger_service::operators::{Enrolled, NewOperator, NewOperatorToken, OperatorPatch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{keys, page::Page, sessions::secret, time::Moment};
use crate::{
    answer::{One, Secret, Shown, Versioned},
    extract::{Body, IfMatch, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// An operator.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OperatorView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `owner`, `admin`, `auditor` or `viewer`.
    pub role: String,
    /// The only workspace that it sees.
    pub workspace: Option<String>,
    /// When it was enrolled.
    pub created_at: Moment,
    /// When it was removed.
    pub removed_at: Option<Moment>,
    /// Row version, for `If-Match`.
    pub version: i64,
}

impl From<OperatorRecord> for OperatorView {
    fn from(o: OperatorRecord) -> Self {
        Self {
            id: o.id.to_string(),
            name: o.name.to_string(),
            role: o.role.as_str().to_owned(),
            workspace: o.workspace.as_ref().map(ToString::to_string),
            created_at: Moment(o.created_at),
            removed_at: o.removed_at.map(Moment),
            version: o.version,
        }
    }
}

impl Versioned for OperatorView {
    fn version(&self) -> i64 {
        self.version
    }
}

/// An operator, with what only this answer ever shows.
#[derive(Clone, Serialize, ToSchema)]
pub struct EnrolledView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `owner`, `admin`, `auditor` or `viewer`.
    pub role: String,
    /// The only workspace that it sees.
    pub workspace: Option<String>,
    /// The secret of the second factor in Base32, when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totp_secret: Option<String>,
    /// The same for authenticator apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otpauth_url: Option<String>,
    /// What should be done next, after the first operator was enrolled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// When it was enrolled.
    pub created_at: Moment,
    /// Row version, for `If-Match`.
    pub version: i64,
}

impl From<Enrolled> for EnrolledView {
    fn from(enrolled: Enrolled) -> Self {
        let Enrolled { operator, totp_secret, otpauth_url, next } = enrolled;
        let OperatorView { id, name, role, workspace, created_at, version, .. } = operator.into();
        Self { id, name, role, workspace, totp_secret, otpauth_url, next, created_at, version }
    }
}

fn role(text: &str) -> Result<Role, Problem> {
    let bad = || Problem::invalid("role", format!("`{text}`: expected owner, admin, auditor or viewer"));
    Role::parse(text).ok_or_else(bad)
}

/// Body of `POST /admin/v1/operators`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddOperator {
    /// Its name: letters, digits, `.`, `_`, `@`, `-`; kept in lower case.
    pub name: String,
    /// `owner`, `admin`, `auditor` or `viewer`.
    pub role: String,
    /// The only workspace that it sees, by id or name; absent: all.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Its password: 8 to 256 bytes.
    pub password: String,
}

/// `POST /admin/v1/operators`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddOperator>,
) -> Result<Secret<EnrolledView>, Problem> {
    let new = NewOperator {
        name: body.name,
        role: role(&body.role)?,
        workspace: body.workspace,
        password: secret(body.password),
    };
    Ok(Secret(state.services.operators.add(new, &operator.caller).await?.into()))
}

/// `GET /admin/v1/operators`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<OperatorView>>, Problem> {
    let rows = state.services.operators.list().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// Body of `PATCH /admin/v1/operators/{id}`: what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpdateOperator {
    /// `owner`, `admin`, `auditor` or `viewer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The only workspace that it sees, by id or name; empty: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// A new password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether its second factor is made anew.
    pub new_totp: bool,
}

/// `PATCH /admin/v1/operators/{id}`
pub async fn update(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    IfMatch(version): IfMatch,
    Body(body): Body<UpdateOperator>,
) -> Result<Shown<EnrolledView>, Problem> {
    let patch = OperatorPatch {
        role: body.role.as_deref().map(role).transpose()?,
        workspace: body.workspace.map(|w| Some(w).filter(|w| !w.is_empty())),
        password: body.password.map(secret),
        new_totp: body.new_totp,
    };
    let updated = state.services.operators.update(&id, patch, version, &operator.caller).await?;
    Ok(Shown(updated.into()))
}

/// `DELETE /admin/v1/operators/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<OperatorView>, Problem> {
    Ok(One(state.services.operators.remove(&id, &operator.caller).await?.into()))
}

/// A session, a machine's token or a sealed code, without the token.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OperatorTokenView {
    /// Its id.
    pub id: String,
    /// The token itself: in the answer to its minting and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `session`, `machine`, `break_glass` or `break_glass_code`.
    pub kind: String,
    /// What it is called.
    pub name: String,
    /// Who logged in, minted or prepared it.
    pub operator: Option<String>,
    /// What it may do, at most what its operator may.
    pub role: String,
    /// The only workspace that it sees.
    pub workspace: Option<String>,
    /// The only verbs that it may use; empty: all of the role that read or change.
    pub verbs: Vec<String>,
    /// Its beginning.
    pub hint: String,
    /// When it was made.
    pub created_at: Moment,
    /// When it stops working.
    pub expires_at: Moment,
    /// When it was last used, to the minute.
    pub last_used_at: Moment,
    /// When it was ended.
    pub ended_at: Option<Moment>,
    /// What was written down after break-glass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewView>,
}

/// What was written down after break-glass.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = BreakGlassReview)]
pub struct ReviewView {
    /// Who wrote it.
    pub by: String,
    /// When.
    pub at: Moment,
    /// What was done, and why.
    pub note: String,
}

impl From<OperatorTokenRecord> for OperatorTokenView {
    fn from(t: OperatorTokenRecord) -> Self {
        let review = |r: Review| ReviewView { by: r.by.to_string(), at: Moment(r.at), note: r.note };
        Self {
            id: t.id.to_string(),
            token: None,
            kind: t.kind.as_str().to_owned(),
            name: t.name,
            operator: t.operator.map(|o| o.to_string()),
            role: t.role.as_str().to_owned(),
            workspace: t.workspace.map(|w| w.to_string()),
            verbs: t.verbs.iter().map(|v| v.as_str().to_owned()).collect(),
            hint: t.hint,
            created_at: Moment(t.created_at),
            expires_at: Moment(t.expires_at),
            last_used_at: Moment(t.last_used_at),
            ended_at: t.ended_at.map(Moment),
            review: t.review.map(review),
        }
    }
}

/// Body of `POST /admin/v1/operator-tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOperatorToken {
    /// What the machine is called.
    pub name: String,
    /// `owner`, `admin`, `auditor` or `viewer`: at most that of whoever mints it.
    pub role: String,
    /// The only workspace that it sees, by id or name.
    #[serde(default)]
    pub workspace: Option<String>,
    /// The only verbs that it may use, such as `key.create`; those that grant, export or destroy must stand here.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// `12h`, `90d`; 90 days when absent, 366 at most.
    #[serde(default)]
    pub expires_in: Option<String>,
}

/// `POST /admin/v1/operator-tokens`
pub async fn create_token(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<CreateOperatorToken>,
) -> Result<Secret<OperatorTokenView>, Problem> {
    let ttl_secs = keys::seconds(body.expires_in.as_deref().unwrap_or("90d"))?;
    let new = NewOperatorToken {
        name: body.name,
        role: role(&body.role)?,
        workspace: body.workspace,
        verbs: body.verbs,
        ttl_secs,
    };
    let minted = state.services.operators.create_token(new, &operator.identity, &operator.caller).await?;
    let mut view = OperatorTokenView::from(minted.1);
    view.token = Some(String::from_utf8_lossy(minted.0.expose()).into_owned());
    Ok(Secret(view))
}

/// `GET /admin/v1/operator-tokens`
pub async fn tokens(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<OperatorTokenView>>, Problem> {
    let rows = state.services.operators.tokens().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// `DELETE /admin/v1/operator-tokens/{id}`
pub async fn revoke_token(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<OperatorTokenView>, Problem> {
    Ok(Json(state.services.operators.revoke_token(&id, &operator.caller).await?.into()))
}

/// A sealed code.
#[derive(Clone, Serialize, ToSchema)]
pub struct BreakGlassView {
    /// Its id.
    pub id: String,
    /// The code: shown here and never again.
    pub code: String,
    /// When it stops working.
    pub expires_at: Moment,
}

/// `POST /admin/v1/break-glass`
pub async fn prepare_break_glass(
    State(state): State<ControlState>,
    operator: Operator,
) -> Result<Secret<BreakGlassView>, Problem> {
    let operators = &state.services.operators;
    let (code, record) = operators.prepare_break_glass(&operator.identity, &operator.caller).await?;
    Ok(Secret(BreakGlassView {
        id: record.id.to_string(),
        code: String::from_utf8_lossy(code.expose()).into_owned(),
        expires_at: Moment(record.expires_at),
    }))
}

/// Body of `POST /admin/v1/break-glass/{id}/review`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviewBreakGlass {
    /// What was done, and why.
    pub note: String,
}

/// `POST /admin/v1/break-glass/{id}/review`
pub async fn review_break_glass(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<ReviewBreakGlass>,
) -> Result<Json<OperatorTokenView>, Problem> {
    let operators = &state.services.operators;
    let reviewed =
        operators.review_break_glass(&id, &body.note, &operator.identity, &operator.caller).await?;
    Ok(Json(reviewed.into()))
}
