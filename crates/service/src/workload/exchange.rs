//! What a program buys by its identity: a child of the rule's key, for a few minutes. The mint and the use of the token
//! are one transaction: a token buys once, whatever crashes or races.

use std::{collections::BTreeMap, net::IpAddr};

use claviger_domain::{
    address::counting_block,
    binding::{CertificateBinding, CertificateBindings, ShownCertificate},
    clock::{MICROS_PER_SEC, Timestamp},
    key::{
        KeyRecord,
        child::{self, ChildError, ChildWish},
    },
    permission::Scopes,
    ports::{Change, StoreError, children::ChildCap, workload::AssertionUse},
    token::Token,
    workload::{
        assertion::{Assertion, AssertionError, Proven},
        issuer::{IssuerRecord, Platform},
        rule::{Identity, Mismatch, TrustRecord},
    },
};

use super::{Known, Workloads};
use crate::{
    Caller, ServiceError,
    children::{Birth, born},
    lock::lock,
    refusals::RefusalSubject,
};

/// How often an exchange is begun again when the rule or its key changed meanwhile.
const TRIES: u32 = 4;
/// Rules that are named to whom they are about, and in records.
const SAID: usize = 8;
/// Refusals that are told in full in ten seconds; the rest is counted.
const TOLD: u32 = 20;
/// The ten seconds.
const TOLD_US: i64 = 10 * MICROS_PER_SEC;

/// How many refusals were told in full lately.
#[derive(Default)]
pub(super) struct Told {
    since: Timestamp,
    count: u32,
}

/// What a program shows.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// A token of its platform.
    Token(&'a [u8]),
    /// Its certificate is all.
    Svid,
}

/// What it asks for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// By this rule only, by id or name.
    pub rule: Option<String>,
    /// No more than this; `None`: all that the rule gives.
    pub scopes: Option<Scopes>,
    /// The certificate that was shown in the handshake: what is bought is bound to it.
    pub certificate: Option<ShownCertificate>,
    /// Where it calls from.
    pub client_ip: Option<IpAddr>,
}

/// What it gets.
#[derive(Debug)]
pub struct Bought {
    /// The key's record.
    pub key: KeyRecord,
    /// The key.
    pub token: Token,
    /// The rule.
    pub rule: String,
}

/// Why it gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It proves nothing, or nobody trusts it.
    #[error("the identity is not accepted: {said}")]
    Refused {
        /// As metrics and records know it.
        reason: &'static str,
        /// What the one who shows it may know: what is wrong with it, and what is demanded by rules that are about it.
        /// Of rules that are about others it says nothing.
        said: String,
    },
    /// It asks for more than the rule gives.
    #[error("goes beyond what the rule gives")]
    Scope,
    /// As many keys of the rule live as it allows.
    #[error("this rule has {0} living keys, the most it may have: wait until one expires")]
    Full(u32),
    /// Too many identities are being judged.
    #[error("too many identities are being judged")]
    Busy,
    /// The rest.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// An identity that was proven, and by whom it is remembered.
struct Shown {
    proven: Option<Proven>,
    issuer: Option<IssuerRecord>,
}

impl Workloads {
    /// Buys a key by an identity.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(
        &self,
        credential: Credential<'_>,
        wish: &Wish,
        caller: &Caller,
    ) -> Result<Bought, ExchangeError> {
        let Ok(_turn) = self.0.turns.try_acquire() else { return Err(ExchangeError::Busy) };
        let mut tries = TRIES;
        loop {
            tries -= 1;
            match self.once(credential, wish, caller).await {
                Err(ExchangeError::Service(ServiceError::Conflict { what, .. }))
                    if tries > 0 && what != "token" =>
                {
                    self.forget().await;
                }
                Err(ExchangeError::Service(ServiceError::Conflict { what: "token", .. })) => {
                    let said = "it was used before: a token buys once, get another one".to_owned();
                    return Err(self.count("token_replayed", said, wish));
                }
                done => return done,
            }
        }
    }

    async fn once(
        &self,
        credential: Credential<'_>,
        wish: &Wish,
        caller: &Caller,
    ) -> Result<Bought, ExchangeError> {
        let known = self.known().await?;
        let shown = match credential {
            Credential::Svid => Shown { proven: None, issuer: None },
            Credential::Token(text) => match self.proven(&known, text).await {
                Ok((proven, issuer)) => Shown { proven: Some(proven), issuer: Some(issuer) },
                Err(error) => return Err(self.count(error.as_str(), unproven(error, text), wish)),
            },
        };
        let svid = wish.certificate.as_ref().and_then(|c| c.spiffe.as_ref());
        let identity = match (&shown.proven, &shown.issuer, svid) {
            (Some(proven), Some(issuer), _) => Identity::Token { issuer: &issuer.id, claims: &proven.claims },
            (None, _, Some(id)) => Identity::Svid(id),
            (None, _, None) | (Some(_), None, _) => {
                let said = "the connection shows no client certificate with a SPIFFE id".to_owned();
                return Err(self.count("certificate_missing", said, wish));
            }
        };
        let (rule, pins) = match choose(&known, wish.rule.as_deref(), &identity) {
            Ok(found) => found,
            Err(reasons) => {
                self.tell(&identity, shown.issuer.as_ref(), &reasons, caller).await;
                let platform = shown.issuer.as_ref().map(|issuer| issuer.platform).unwrap_or_default();
                return Err(self.count("identity_refused", mismatches(&reasons, &identity, platform), wish));
            }
        };
        let used = shown.proven.as_ref();
        self.mint(rule, pins, (used, &identity), (wish, caller)).await
    }

    async fn proven(&self, known: &Known, text: &[u8]) -> Result<(Proven, IssuerRecord), AssertionError> {
        let assertion = Assertion::read(text)?;
        let issuer = known.issuers.iter().find(|i| i.issuer == assertion.issuer());
        let issuer = issuer.ok_or(AssertionError::UnknownIssuer)?;
        Ok((self.prove(known, issuer, &assertion).await?, issuer.clone()))
    }

    /// Verifies a token of this issuer in full.
    pub(super) async fn prove(
        &self,
        known: &Known,
        issuer: &IssuerRecord,
        assertion: &Assertion<'_>,
    ) -> Result<Proven, AssertionError> {
        let algorithm = assertion.algorithm(issuer)?;
        let keys = self.keys_of(known, issuer, (assertion.kid(), algorithm)).await?;
        assertion.prove(issuer, &keys, self.0.deps.clock.now())
    }

    async fn mint(
        &self,
        rule: &TrustRecord,
        pins: BTreeMap<String, String>,
        (used, identity): (Option<&Proven>, &Identity<'_>),
        (wish, caller): (&Wish, &Caller),
    ) -> Result<Bought, ExchangeError> {
        let deps = &self.0.deps;
        let parent = deps.store.key(&rule.key).await.map_err(ServiceError::from)?;
        let parent = parent.ok_or_else(|| ServiceError::not_found("key", &rule.key))?;
        let now = deps.clock.now();
        let refused = |_: ChildError| ExchangeError::Scope;
        if child::check_parent(&parent, now).is_err() {
            let said = format!("the rule that admits it, `{}`, is over", rule.name);
            return Err(self.count("trust_key_ended", said, wish));
        }
        let narrower = ChildWish { scopes: wish.scopes, ..ChildWish::default() };
        let mut policy = child::policy(&parent.policy, &narrower).map_err(refused)?;
        if let Some(binding) = binding(identity, wish.certificate.as_ref()) {
            policy.bind_mtls = CertificateBindings::try_from(vec![binding]).unwrap_or_default();
        }
        let expires_at = child::expiry(&parent, Some(rule.terms.ttl_secs), now).map_err(refused)?;
        let subject = identity.subject();
        let birth = Birth { name: Some(name(rule, &subject)), policy, expires_at, now };
        let (key, token) = born(&parent, birth, deps.brand, deps.entropy.as_ref(), &deps.grants)?;
        let mut event = caller
            .event(now, "trust.exchange", rule.id.as_str())
            .with("rule", &*rule.name)
            .with("subject", &*subject)
            .with("expires_at", expires_at.to_rfc3339())
            .with("parent", parent.id.as_str());
        event.key = key.id.to_string();
        event.token_scope = key.policy.permissions.scopes.words().join(" ");
        let mut changes = Vec::with_capacity(4);
        if let Some(proven) = used {
            let until = Assertion::remembered_until(proven.expires_at);
            changes.push(Change::UseAssertion(AssertionUse { mark: proven.mark, until, now }));
            event = event.with("token", hex(&proven.mark[..8]));
        }
        changes.push(Change::InsertKey(Box::new(key.clone())));
        changes.push(Change::HoldChildCap(ChildCap { parent: parent.id, most: rule.terms.most_live, now }));
        let learnt = !pins.is_empty();
        if learnt {
            event = event.with("pinned", serde_json::to_value(&pins).unwrap_or_default());
            changes.push(Change::UpdateTrust(Box::new(rule.pinned(pins))));
        }
        let applied = deps.store.apply(changes, event).await.map_err(|error| {
            if let StoreError::OverCap { allowed, .. } = error {
                return ExchangeError::Full(allowed);
            }
            ServiceError::from(error).into()
        })?;
        deps.grants.key_changed(&key, applied.seq);
        if learnt {
            self.forget().await;
        }
        Ok(Bought { key, token, rule: rule.name.clone() })
    }

    /// Counts a refusal; the record that many of them get has the reason.
    fn count(&self, reason: &'static str, said: String, wish: &Wish) -> ExchangeError {
        let deps = &self.0.deps;
        if let Some(ip) = wish.client_ip {
            let subject = RefusalSubject::Block(counting_block(ip));
            deps.refusals.count(reason, subject, deps.clock.now());
        }
        ExchangeError::Refused { reason, said }
    }

    /// Says in full why an identity that was proven is trusted by nobody: its operator wants to know, and must not be
    /// flooded by strangers, of whom some issuers have millions.
    async fn tell(
        &self,
        identity: &Identity<'_>,
        issuer: Option<&IssuerRecord>,
        reasons: &[(&TrustRecord, Mismatch)],
        caller: &Caller,
    ) {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        {
            let mut told = lock(&self.0.told);
            if now.micros_since(told.since) >= TOLD_US {
                *told = Told { since: now, count: 0 };
            }
            told.count = told.count.saturating_add(1);
            if told.count > TOLD {
                return;
            }
        }
        let mut event = caller
            .event(now, "trust.exchange", "")
            .with("issuer", issuer.map_or("svid", |i| &*i.name))
            .with("subject", identity.subject())
            .with(
                "mismatches",
                reasons
                    .iter()
                    .take(SAID)
                    .map(|(rule, why)| format!("{}: {why}", rule.name))
                    .collect::<Vec<_>>(),
            );
        "refused".clone_into(&mut event.outcome);
        if let Err(error) = deps.store.apply(Vec::new(), event).await {
            tracing::warn!(%error, "a refused identity was not recorded");
        }
    }
}

/// A rule that admits an identity, and what it pins of it.
type Admission<'a> = (&'a TrustRecord, BTreeMap<String, String>);

/// The first rule that admits the identity; else why each that could have did not.
fn choose<'a>(
    known: &'a Known,
    named: Option<&str>,
    identity: &Identity<'_>,
) -> Result<Admission<'a>, Vec<(&'a TrustRecord, Mismatch)>> {
    let mut reasons = Vec::new();
    let meant = |rule: &&TrustRecord| named.is_none_or(|n| rule.id.as_str() == n || rule.name == n);
    for rule in known.rules.iter().filter(meant) {
        match rule.admits(identity) {
            Ok(pins) => return Ok((rule, pins)),
            Err(Mismatch::Source) => {}
            Err(mismatch) => reasons.push((rule, mismatch)),
        }
    }
    Err(reasons)
}

/// Why a token proves nothing: its holder can read it anyway.
fn unproven(error: AssertionError, text: &[u8]) -> String {
    match (error, Assertion::read(text)) {
        (AssertionError::UnknownIssuer, Ok(assertion)) => {
            let issuer: String = assertion.issuer().chars().take(200).collect();
            format!("its issuer, {issuer:?}, is not configured")
        }
        _ => error.to_string(),
    }
}

/// What is said to whoever proved an identity that nobody trusts: what the rules demand that are about it. Where there
/// is none, what it says itself, and nothing of the rules that there are.
fn mismatches(reasons: &[(&TrustRecord, Mismatch)], identity: &Identity<'_>, platform: Platform) -> String {
    let own = reasons.iter().filter(|(rule, _)| rule.is_about(identity, platform));
    let own: Vec<_> = own.take(SAID).map(|(rule, why)| format!("{why} (rule `{}`)", rule.name)).collect();
    if own.is_empty() {
        return format!("no rule of trust is about it: {}", identity.own_words(platform));
    }
    own.join("; ")
}

/// SVIDs are renewed within hours, so what they buy is bound to their id; all else to the very certificate.
fn binding(identity: &Identity<'_>, certificate: Option<&ShownCertificate>) -> Option<CertificateBinding> {
    match identity {
        Identity::Svid(id) => Some(CertificateBinding::Spiffe((*id).clone())),
        Identity::Token { .. } => certificate.map(|c| CertificateBinding::Thumbprint(c.thumbprint)),
    }
}

fn name(rule: &TrustRecord, subject: &str) -> String {
    let subject: String = subject.chars().filter(|c| !c.is_control()).take(80).collect();
    format!("{} {subject}", rule.name).trim_end().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
