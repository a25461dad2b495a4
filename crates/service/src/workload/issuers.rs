//! Whose tokens are looked at.

use claviger_domain::{
    id::IssuerId,
    jose::Algorithm,
    ports::Change,
    workload::{
        issuer::{IssuerError, IssuerRecord, KeySource, Platform},
        rule::TrustSource,
    },
};
use serde_json::Value;

use super::Workloads;
use crate::{Caller, ServiceError};

/// An issuer as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct NewIssuer {
    /// Its name here.
    pub name: String,
    /// Which platform it is.
    pub platform: Platform,
    /// `iss`; `None`: the platform's own.
    pub issuer: Option<String>,
    /// Where its keys are; `None`: where the platform keeps them, unless they are given.
    pub jwks_url: Option<String>,
    /// Its keys.
    pub jwks: Option<Value>,
    /// Whether its keys may be fetched inside, and in plain text there.
    pub private_network: bool,
    /// What its tokens may be signed with; empty: RS256.
    pub algorithms: Vec<Algorithm>,
}

impl Workloads {
    /// All issuers, by creation.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn issuers(&self) -> Result<Vec<IssuerRecord>, ServiceError> {
        Ok(self.0.deps.store.issuers().await?)
    }

    /// Adds an issuer.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field, [`ServiceError::Conflict`] when name or `iss` is taken.
    pub async fn add_issuer(&self, new: NewIssuer, caller: &Caller) -> Result<IssuerRecord, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let invalid = |e: IssuerError| ServiceError::invalid(e.field(), &e);
        let usual = new.platform.usual_issuer().map(str::to_owned);
        let issuer = new.issuer.or(usual).ok_or(IssuerError::Issuer).map_err(invalid)?;
        let record = IssuerRecord {
            id: IssuerId::generate(deps.entropy.as_ref())?,
            name: new.name,
            platform: new.platform,
            keys: source(new.platform, &issuer, (new.jwks_url, new.jwks), new.private_network)?,
            issuer,
            algorithms: if new.algorithms.is_empty() { vec![Algorithm::Rs256] } else { new.algorithms },
            created_at: now,
            version: 1,
        };
        record.check().map_err(invalid)?;
        let event = caller
            .event(now, "issuer.add", record.id.as_str())
            .with("name", &*record.name)
            .with("issuer", &*record.issuer)
            .with("algorithms", record.algorithms.iter().map(|a| a.as_str()).collect::<Vec<_>>().join(" "))
            .with("keys", serde_json::to_value(&record.keys).unwrap_or_default());
        deps.store.apply(vec![Change::InsertIssuer(Box::new(record.clone()))], event).await?;
        self.forget().await;
        Ok(record)
    }

    /// Takes an issuer out, by id or name. What was bought lives on until its end.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] while rules go by it.
    pub async fn remove_issuer(&self, named: &str, caller: &Caller) -> Result<IssuerRecord, ServiceError> {
        let deps = &self.0.deps;
        let all = deps.store.issuers().await?;
        let found = all.into_iter().find(|i| i.id.as_str() == named || i.name == named);
        let issuer = found.ok_or_else(|| ServiceError::not_found("issuer", named))?;
        let rules = deps.store.trust_rules().await?;
        let goes_by = |source: &TrustSource| matches!(source, TrustSource::Token { issuer: id, .. } if *id == issuer.id);
        if let Some(rule) = rules.iter().find(|rule| goes_by(&rule.terms.source)) {
            let why = format!("the rule `{}` goes by it: remove that first", rule.name);
            return Err(ServiceError::conflict("issuer", why));
        }
        let event = caller
            .event(deps.clock.now(), "issuer.remove", issuer.id.as_str())
            .with("name", &*issuer.name)
            .with("issuer", &*issuer.issuer);
        deps.store.apply(vec![Change::DropIssuer(issuer.id.clone(), issuer.version)], event).await?;
        self.forget().await;
        Ok(issuer)
    }
}

fn source(
    platform: Platform,
    issuer: &str,
    (url, jwks): (Option<String>, Option<Value>),
    private_network: bool,
) -> Result<KeySource, ServiceError> {
    let usual = || {
        let path = platform.usual_keys()?;
        Some(format!("{}{path}", issuer.trim_end_matches('/')))
    };
    match (url, jwks) {
        (Some(_), Some(_)) => Err(ServiceError::invalid("jwks", "give either the keys or their URL")),
        (None, Some(jwks)) => Ok(KeySource::Inline { jwks }),
        (url, None) => {
            let url = url.or_else(usual);
            let url = url.ok_or_else(|| ServiceError::invalid("jwks_url", "expected it, or `jwks`"))?;
            Ok(KeySource::Url { url, private_network })
        }
    }
}
