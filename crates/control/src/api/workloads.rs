//! Operations on issuers of other platforms' identities, and on the rules that trust some of them.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use claviger_domain::{
    id::{IssuerId, TrustId},
    jose::Algorithm,
    workload::{
        issuer::{IssuerRecord, KeySource, Platform},
        rule::{TrustRecord, TrustSource},
    },
};
use claviger_service::{
    keys::{Expiry, NewKey},
    workload::{NewIssuer, NewTrust, Trial},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    keys::{LimitsPatch, expiry},
    page::Page,
    time::Moment,
};
use crate::{
    answer::{Made, One, Versioned},
    extract::{Body, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/issuers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddIssuer {
    /// Its name here.
    #[schema(min_length = 1, max_length = 64, example = "github")]
    pub name: String,
    /// Which platform it is: fills in what is not given, and decides what rules pin.
    #[serde(default)]
    #[schema(pattern = "^(github|gitlab|kubernetes|other)$")]
    pub platform: Option<String>,
    /// `iss`, letter by letter; absent: the platform's own.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Where its keys are; absent: where the platform keeps them.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Its keys, in place of their URL.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Value>,
    /// Whether its keys may be fetched inside.
    #[serde(default)]
    pub private_network: bool,
    /// What its tokens may be signed with: `RS256` (the default), `ES256`, `EdDSA`.
    #[serde(default)]
    pub algorithms: Option<Vec<String>>,
}

/// An issuer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct IssuerView {
    /// Its id.
    pub id: String,
    /// Its name here.
    pub name: String,
    /// Which platform it is.
    pub platform: String,
    /// `iss`.
    pub issuer: String,
    /// Where its keys are; `null`: they were given.
    pub jwks_url: Option<String>,
    /// Whether its keys may be fetched inside.
    pub private_network: bool,
    /// What its tokens may be signed with.
    pub algorithms: Vec<String>,
    /// When it was added.
    pub created_at: Moment,
    /// Row version.
    pub version: i64,
}

impl Versioned for IssuerView {
    fn version(&self) -> i64 {
        self.version
    }
}

impl From<IssuerRecord> for IssuerView {
    fn from(i: IssuerRecord) -> Self {
        let (jwks_url, private_network) = match i.keys {
            KeySource::Url { url, private_network } => (Some(url), private_network),
            KeySource::Inline { .. } => (None, false),
        };
        Self {
            id: i.id.to_string(),
            name: i.name,
            platform: i.platform.as_str().to_owned(),
            issuer: i.issuer,
            jwks_url,
            private_network,
            algorithms: i.algorithms.iter().map(|a| a.as_str().to_owned()).collect(),
            created_at: Moment(i.created_at),
            version: i.version,
        }
    }
}

/// `POST /admin/v1/issuers`
pub async fn add_issuer(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddIssuer>,
) -> Result<Made<IssuerView>, Problem> {
    let platform = body.platform.as_deref().map_or(Some(Platform::Other), Platform::parse);
    let platform = platform
        .ok_or_else(|| Problem::invalid("platform", "expected github, gitlab, kubernetes or other"))?;
    let read = |word: &String| {
        Algorithm::parse(word).ok_or_else(|| {
            Problem::invalid("algorithms", format!("`{word:.20}`: expected EdDSA, ES256 or RS256"))
        })
    };
    let algorithms = body.algorithms.unwrap_or_default().iter().map(read).collect::<Result<_, _>>()?;
    let new = NewIssuer {
        name: body.name,
        platform,
        issuer: body.issuer,
        jwks_url: body.jwks_url,
        jwks: body.jwks,
        private_network: body.private_network,
        algorithms,
    };
    Ok(Made(state.services.workloads.add_issuer(new, &operator.caller).await?.into()))
}

/// `GET /admin/v1/issuers`
pub async fn issuers(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<IssuerView>>, Problem> {
    let rows: Vec<IssuerView> =
        state.services.workloads.issuers().await?.into_iter().map(Into::into).collect();
    Page::cut(rows, &paging, |row: &IssuerView| row.id.clone()).map(Json)
}

/// `DELETE /admin/v1/issuers/{id}`
pub async fn remove_issuer(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<IssuerView>, Problem> {
    let id = IssuerId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(One(state.services.workloads.remove_issuer(id.as_str(), &operator.caller).await?.into()))
}

/// Body of `POST /admin/v1/trust`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddTrust {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, example = "ci")]
    pub name: String,
    /// Id or name of the issuer; absent: identities are X.509-SVIDs, shown in the TLS handshake.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What must stand in `aud` of its tokens.
    #[serde(default)]
    pub audience: Option<String>,
    /// Claims and what they must be; `*` stands for any run of characters. A `/` in a name leads into objects. Of an
    /// X.509-SVID: `spiffe_id` and `trust_domain`.
    pub claims: BTreeMap<String, String>,
    /// Claims that hold what never changes hands: the first identity that is admitted fixes their values. Absent: those
    /// that the platform is known for.
    #[serde(default)]
    pub pin: Option<Vec<String>>,
    /// How long what is bought lives, in seconds: 300 to 1,800, 900 when absent.
    #[serde(default)]
    #[schema(minimum = 300, maximum = 1800)]
    pub ttl_secs: Option<u64>,
    /// How many of it may live at once: 100 when absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub most_live: Option<u32>,
    /// Workspace, by id or name.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Owner, by id or name.
    #[serde(default)]
    pub owner: Option<String>,
    /// What is bought are test keys.
    #[serde(default)]
    pub test: bool,
    /// How long the rule works: `90d`, `never`.
    #[serde(default)]
    pub expires_in: Option<String>,
    /// Model patterns.
    #[serde(default)]
    pub models: Option<Vec<String>>,
    /// Endpoints.
    #[serde(default)]
    pub endpoints: Option<Vec<String>>,
    /// Scopes.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// Address blocks.
    #[serde(default)]
    pub allow_ip: Option<Vec<String>>,
    /// Rates and concurrency, of all that is bought together.
    #[serde(default)]
    pub limits: LimitsPatch,
}

/// A rule of trust.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TrustView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The issuer's id; `null`: X.509-SVIDs.
    pub issuer: Option<String>,
    /// What must stand in `aud`.
    pub audience: Option<String>,
    /// Claims and what they must be.
    pub claims: BTreeMap<String, String>,
    /// Claims that are pinned, and their values; `null`: the first identity will fix it.
    pub pins: BTreeMap<String, Option<String>>,
    /// How long what is bought lives, in seconds.
    pub ttl_secs: u64,
    /// How many of it may live at once.
    pub most_live: u32,
    /// The key that nobody holds, and whose children are bought: what it may do, they may.
    pub key: String,
    /// Its workspace.
    pub workspace: String,
    /// When it was made.
    pub created_at: Moment,
    /// Row version.
    pub version: i64,
}

impl Versioned for TrustView {
    fn version(&self) -> i64 {
        self.version
    }
}

impl From<TrustRecord> for TrustView {
    fn from(t: TrustRecord) -> Self {
        let (issuer, audience) = match t.terms.source {
            TrustSource::Token { issuer, audience } => (Some(issuer.to_string()), Some(audience)),
            TrustSource::Svid => (None, None),
        };
        Self {
            id: t.id.to_string(),
            name: t.name,
            issuer,
            audience,
            claims: t.terms.claims.into_iter().map(|(claim, pattern)| (claim, pattern.to_string())).collect(),
            pins: t.terms.pins,
            ttl_secs: t.terms.ttl_secs,
            most_live: t.terms.most_live,
            key: t.key.to_string(),
            workspace: t.workspace.to_string(),
            created_at: Moment(t.created_at),
            version: t.version,
        }
    }
}

/// `POST /admin/v1/trust`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddTrust>,
) -> Result<Made<TrustView>, Problem> {
    let key = NewKey {
        test: body.test,
        workspace: body.workspace,
        owner: body.owner,
        models: body.models.unwrap_or_default(),
        endpoints: body.endpoints.unwrap_or_default(),
        scopes: body.scopes,
        allow_ip: body.allow_ip.unwrap_or_default(),
        limits: body.limits.into(),
        expires: body.expires_in.as_deref().map(expiry).transpose()?.unwrap_or(Expiry::Default),
        ..NewKey::default()
    };
    let new = NewTrust {
        name: body.name,
        issuer: body.issuer,
        audience: body.audience,
        claims: body.claims,
        pins: body.pin,
        ttl_secs: body.ttl_secs,
        most_live: body.most_live,
        key,
    };
    Ok(Made(state.services.workloads.add_rule(new, &operator.caller).await?.into()))
}

/// `GET /admin/v1/trust`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<TrustView>>, Problem> {
    let rows: Vec<TrustView> = state.services.workloads.rules().await?.into_iter().map(Into::into).collect();
    Page::cut(rows, &paging, |row: &TrustView| row.id.clone()).map(Json)
}

/// `GET /admin/v1/trust/{id}`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<One<TrustView>, Problem> {
    Ok(One(state.services.workloads.rule(&id).await?.into()))
}

/// `DELETE /admin/v1/trust/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<TrustView>, Problem> {
    let id = TrustId::parse(&id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(One(state.services.workloads.remove_rule(id.as_str(), &operator.caller).await?.into()))
}

/// Body of `POST /admin/v1/trust/test`. A token is a secret, so it has no `Debug`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestTrust {
    /// A token of an issuer.
    #[schema(max_length = 8192)]
    pub token: String,
}

/// What a token would get.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TrustTrialView {
    /// Whether it would buy something.
    pub ok: bool,
    /// The issuer that it names, by its name here; `null`: it is not configured.
    pub issuer: Option<String>,
    /// `sub`, as it stands there.
    pub subject: String,
    /// Why it proves nothing; `null`: it does.
    pub error: Option<String>,
    /// What each rule of the issuer says.
    pub rules: Vec<VerdictView>,
}

/// What one rule says of a token.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct VerdictView {
    /// The rule.
    pub rule: String,
    /// Whether it admits the token.
    pub ok: bool,
    /// Which claim does not fit; `null`: all do.
    pub mismatch: Option<String>,
}

impl From<Trial> for TrustTrialView {
    fn from(trial: Trial) -> Self {
        let rules: Vec<_> = trial
            .rules
            .into_iter()
            .map(|verdict| VerdictView {
                rule: verdict.rule,
                ok: verdict.mismatch.is_none(),
                mismatch: verdict.mismatch.map(|why| why.to_string()),
            })
            .collect();
        Self {
            ok: trial.failure.is_none() && rules.iter().any(|rule| rule.ok),
            issuer: trial.issuer,
            subject: trial.subject,
            error: trial.failure.map(|why| why.to_string()),
            rules,
        }
    }
}

/// `POST /admin/v1/trust/test`
pub async fn test(
    State(state): State<ControlState>,
    _operator: Operator,
    Body(body): Body<TestTrust>,
) -> Result<Json<TrustTrialView>, Problem> {
    let trial = state.services.workloads.try_token(body.token.trim().as_bytes()).await?;
    Ok(Json(trial.into()))
}
