//! Which identities are trusted, and what a token would get.

use std::collections::BTreeMap;

use claviger_domain::{
    id::TrustId,
    key::{KeyRecord, RevocationReason},
    ports::Change,
    workload::{
        assertion::{Assertion, AssertionError},
        claims::Pattern,
        rule::{
            DEFAULT_MOST_LIVE, DEFAULT_TTL_SECS, Identity, Mismatch, TrustError, TrustRecord, TrustSource,
            TrustTerms,
        },
    },
};

use super::Workloads;
use crate::{Caller, ServiceError, keys::NewKey};

/// A rule as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct NewTrust {
    /// Its name.
    pub name: String,
    /// Id or name of the issuer; `None`: identities are X.509-SVIDs.
    pub issuer: Option<String>,
    /// What must stand in `aud`.
    pub audience: Option<String>,
    /// Claims and what they must be.
    pub claims: BTreeMap<String, String>,
    /// Claims to be pinned; `None`: those that the platform is known for.
    pub pins: Option<Vec<String>>,
    /// How long what is bought lives, in seconds.
    pub ttl_secs: Option<u64>,
    /// How many of it may live at once.
    pub most_live: Option<u32>,
    /// What may be done with it: workspace, owner, scopes, models, limits. Its name is not used.
    pub key: NewKey,
}

/// What each rule says of a token.
#[derive(Debug, Clone)]
pub struct RuleVerdict {
    /// The rule's name.
    pub rule: String,
    /// Why it does not admit the token; `None`: it does.
    pub mismatch: Option<Mismatch>,
}

/// What a token would get.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The issuer that it names, by its name here.
    pub issuer: Option<String>,
    /// `sub`, as it stands there.
    pub subject: String,
    /// Why it proves nothing; `None`: it does.
    pub failure: Option<AssertionError>,
    /// What rules say of it, whether it proves anything or not.
    pub rules: Vec<RuleVerdict>,
}

impl Workloads {
    /// All rules, by creation.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn rules(&self) -> Result<Vec<TrustRecord>, ServiceError> {
        Ok(self.0.deps.store.trust_rules().await?)
    }

    /// One rule, by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn rule(&self, named: &str) -> Result<TrustRecord, ServiceError> {
        let found = self.rules().await?.into_iter().find(|r| r.id.as_str() == named || r.name == named);
        found.ok_or_else(|| ServiceError::not_found("rule of trust", named))
    }

    /// Makes a rule, and the key that nobody holds and whose children it gives out.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field, [`ServiceError::Conflict`] when the name is taken; as
    /// [`crate::keys::Keys::create`].
    pub async fn add_rule(&self, new: NewTrust, caller: &Caller) -> Result<TrustRecord, ServiceError> {
        let deps = &self.0.deps;
        let terms = self.terms(&new).await?;
        if self.rules().await?.iter().any(|rule| rule.name == new.name) {
            return Err(ServiceError::conflict("rule of trust", "its name is taken"));
        }
        let now = deps.clock.now();
        let mut rule = TrustRecord {
            id: TrustId::generate(deps.entropy.as_ref())?,
            name: new.name,
            terms,
            // Known once the key is made.
            key: claviger_domain::id::KeyId::generate(deps.entropy.as_ref())?,
            workspace: claviger_domain::id::WorkspaceId::generate(deps.entropy.as_ref())?,
            created_at: now,
            version: 1,
        };
        let invalid = |e: TrustError| ServiceError::invalid(e.field(), &e);
        rule.check().map_err(invalid)?;
        let wish = NewKey { name: format!("trust {}", rule.name), ..new.key };
        let key = deps.keys.create_kept(wish, caller).await?;
        (rule.key, rule.workspace) = (key.id.clone(), key.workspace.clone());
        let event = caller
            .event(now, "trust.add", rule.id.as_str())
            .with("name", &*rule.name)
            .with("key", key.id.as_str())
            .with("workspace", key.workspace.as_str())
            .with("terms", serde_json::to_value(&rule.terms).unwrap_or_default());
        let kept = deps.store.apply(vec![Change::InsertTrust(Box::new(rule.clone()))], event).await;
        if let Err(error) = kept {
            self.end_key(&key, caller).await;
            return Err(error.into());
        }
        self.forget().await;
        Ok(rule)
    }

    /// Takes a rule out, by id or name. Its key is revoked at once, and with it whatever was bought.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn remove_rule(&self, named: &str, caller: &Caller) -> Result<TrustRecord, ServiceError> {
        let deps = &self.0.deps;
        let rule = self.rule(named).await?;
        // The key first: a rule without a key gives out nothing, a key without a rule would live on.
        match deps.keys.revoke(&rule.key, RevocationReason::UserRequest, true, caller).await {
            Ok(_) | Err(ServiceError::NotFound { .. } | ServiceError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        let event = caller
            .event(deps.clock.now(), "trust.remove", rule.id.as_str())
            .with("name", &*rule.name)
            .with("key", rule.key.as_str());
        deps.store.apply(vec![Change::DropTrust(rule.id.clone(), rule.version)], event).await?;
        self.forget().await;
        Ok(rule)
    }

    /// What a token would get, rule by rule. Nothing is minted and nothing is used up.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] when it has not the shape of a token.
    pub async fn try_token(&self, token: &[u8]) -> Result<Trial, ServiceError> {
        let malformed = |e: AssertionError| ServiceError::invalid("token", e);
        let assertion = Assertion::read(token).map_err(malformed)?;
        let known = self.known().await?;
        let claims = assertion.unproven_claims().map_err(malformed)?;
        let subject = claims.text("sub").unwrap_or_default().chars().take(200).collect();
        let Some(issuer) = known.issuers.iter().find(|i| i.issuer == assertion.issuer()) else {
            let failure = Some(AssertionError::UnknownIssuer);
            return Ok(Trial { issuer: None, subject, failure, rules: Vec::new() });
        };
        let failure = self.prove(&known, issuer, &assertion).await.err();
        let identity = Identity::Token { issuer: &issuer.id, claims: &claims };
        let of_it = |rule: &&TrustRecord| matches!(&rule.terms.source, TrustSource::Token { issuer: id, .. } if *id == issuer.id);
        let verdict = |rule: &TrustRecord| RuleVerdict {
            rule: rule.name.clone(),
            mismatch: rule.admits(&identity).err(),
        };
        let rules = known.rules.iter().filter(of_it).map(verdict).collect();
        Ok(Trial { issuer: Some(issuer.name.clone()), subject, failure, rules })
    }

    async fn terms(&self, new: &NewTrust) -> Result<TrustTerms, ServiceError> {
        let mut claims = BTreeMap::new();
        for (claim, pattern) in &new.claims {
            let read = Pattern::parse(pattern);
            let read = read.map_err(|e| ServiceError::invalid("claims", format!("`{claim:.40}`: {e}")))?;
            claims.insert(claim.clone(), read);
        }
        let (source, usual) = match &new.issuer {
            None if new.audience.is_some() => {
                return Err(ServiceError::invalid("audience", "goes with an issuer only"));
            }
            None => (TrustSource::Svid, BTreeMap::new()),
            Some(named) => {
                let all = self.0.deps.store.issuers().await?;
                let found = all.into_iter().find(|i| i.id.as_str() == named || i.name == *named);
                let issuer = found.ok_or_else(|| ServiceError::not_found("issuer", named))?;
                TrustTerms::check_owner(issuer.platform, &claims)
                    .map_err(|e| ServiceError::invalid(e.field(), &e))?;
                let usual = TrustTerms::usual_pins(issuer.platform, &claims);
                let audience = new.audience.clone().unwrap_or_default();
                (TrustSource::Token { issuer: issuer.id, audience }, usual)
            }
        };
        let pins = match &new.pins {
            None => usual,
            Some(names) => names.iter().map(|name| (name.clone(), None)).collect(),
        };
        Ok(TrustTerms {
            source,
            claims,
            pins,
            ttl_secs: new.ttl_secs.unwrap_or(DEFAULT_TTL_SECS),
            most_live: new.most_live.unwrap_or(DEFAULT_MOST_LIVE),
        })
    }

    /// A key whose rule could not be kept is of no use to anybody.
    async fn end_key(&self, key: &KeyRecord, caller: &Caller) {
        let ended = self.0.deps.keys.revoke(&key.id, RevocationReason::UserRequest, true, caller).await;
        if let Err(error) = ended {
            tracing::warn!(key = %key.id, %error, "the key of a rule that was not kept lives on, and nobody holds it");
        }
    }
}
