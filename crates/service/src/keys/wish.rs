//! What was asked for, read field by field, so that each complaint names its field.

use std::fmt::Display;

use claviger_domain::{
    address::CidrList,
    binding::CertificateBindings,
    clock::{MICROS_PER_SEC, Timestamp},
    key::{
        KeyPolicy,
        cache::CacheTtl,
        hours::HoursOfWeek,
        patch::{KeyPatch as DomainPatch, PatchError},
    },
    limit::{LimitKind, Limits, MOST_TOKENS, Measure},
    permission::{Endpoint, ModelGlob, PermissionError, Permissions, Scopes},
    proof::Proofs,
};

use super::{DEFAULT_LIFETIME_SECS, Expiry, KeyPatch, LimitsPatch, MAX_LIFETIME_SECS, NewKey};
use crate::ServiceError;

/// Entries in a list of models, endpoints, scopes or addresses.
const MAX_ENTRIES: usize = 256;

/// The policy of a new key: defaults where nothing was asked for.
pub(super) fn policy(new: &NewKey) -> Result<KeyPolicy, ServiceError> {
    let permissions = Permissions {
        models: models(&new.models)?,
        endpoints: endpoints(&new.endpoints)?,
        scopes: new.scopes.as_deref().map_or(Ok(Scopes::ALL), scopes)?,
    };
    check_max_uses(new.max_uses)?;
    Ok(KeyPolicy {
        permissions,
        allow_ip: allow_ip(&new.allow_ip)?,
        limits: limits(new.limits)?,
        max_uses: new.max_uses,
        hours: new.hours.as_deref().map(hours).transpose()?,
        on_disconnect: new.on_disconnect,
        cache: new.cache.as_deref().map(cache).transpose()?.flatten(),
        require: proofs(&new.require)?,
        bind_mtls: bind_mtls(&new.bind_mtls)?,
    })
}

/// The change of a key.
pub(super) fn patch(patch: KeyPatch, now: Timestamp) -> Result<DomainPatch, ServiceError> {
    let KeyPatch {
        name,
        models: new_models,
        endpoints: new_endpoints,
        scopes: new_scopes,
        allow_ip: new_allow_ip,
        limits,
        max_uses,
        hours: new_hours,
        on_disconnect,
        cache: new_cache,
        require,
        bind_mtls: new_bind_mtls,
        not_before,
        expires,
    } = patch;
    check_limits(limits)?;
    check_max_uses(max_uses.flatten())?;
    Ok(DomainPatch {
        name,
        models: new_models.as_deref().map(models).transpose()?,
        endpoints: new_endpoints.as_deref().map(endpoints).transpose()?,
        scopes: new_scopes.as_deref().map(scopes).transpose()?,
        allow_ip: new_allow_ip.as_deref().map(allow_ip).transpose()?,
        limits,
        max_uses,
        hours: new_hours.map(|h| h.as_deref().map(hours).transpose()).transpose()?,
        not_before,
        expires_at: expires.map(|e| expiry(e, now)).transpose()?,
        on_disconnect,
        cache: new_cache.as_deref().map(cache).transpose()?,
        require: require.as_deref().map(proofs).transpose()?,
        bind_mtls: new_bind_mtls.as_deref().map(bind_mtls).transpose()?,
    })
}

/// When a key expires that begins to work at `from`; `None`: never.
pub(super) fn expiry(wish: Expiry, from: Timestamp) -> Result<Option<Timestamp>, ServiceError> {
    let secs = match wish {
        Expiry::Default => DEFAULT_LIFETIME_SECS,
        Expiry::Never => return Ok(None),
        Expiry::At(at) => return Ok(Some(at)),
        Expiry::AfterSecs(secs) => secs,
    };
    if !(1..=MAX_LIFETIME_SECS).contains(&secs) {
        return Err(ServiceError::invalid("expires", "expected from 1 second to 100 years"));
    }
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    Ok(Some(from.plus_micros(secs.saturating_mul(MICROS_PER_SEC))))
}

/// A complaint of the domain, with the field that it is about.
pub(super) fn patch_error(error: PatchError) -> ServiceError {
    let field = match error {
        PatchError::Name => "name",
        PatchError::ExpiryPast | PatchError::ExpiresBeforeStart => "expires",
        PatchError::Empty => "patch",
    };
    ServiceError::invalid(field, error)
}

/// What is kept in the audit record of a change. Policies and patches hold no secrets.
pub(super) fn as_json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or(serde_json::Value::Null)
}

fn limits(wish: LimitsPatch) -> Result<Limits, ServiceError> {
    check_limits(wish)?;
    Ok(Limits::USUAL.patched(&wish))
}

/// A limit of nothing would be a suspension in disguise.
pub(crate) fn check_limits(wish: LimitsPatch) -> Result<(), ServiceError> {
    for kind in LimitKind::ALL {
        let most = match kind.measure() {
            Measure::Requests => u64::from(u32::MAX),
            Measure::InputTokens | Measure::OutputTokens | Measure::Tokens => MOST_TOKENS,
        };
        let why = match wish.get(*kind).flatten() {
            Some(0) => "a limit is at least 1; to refuse every request, suspend the key".to_owned(),
            Some(n) if n > most => format!("a limit is at most {most}"),
            Some(_) | None => continue,
        };
        return Err(ServiceError::invalid(kind.field(), why));
    }
    Ok(())
}

fn check_max_uses(max_uses: Option<u64>) -> Result<(), ServiceError> {
    match max_uses {
        Some(n) if n == 0 || i64::try_from(n).is_err() => {
            Err(ServiceError::invalid("max_uses", "expected from 1 to 9,223,372,036,854,775,807 uses"))
        }
        Some(_) | None => Ok(()),
    }
}

fn models(words: &[String]) -> Result<Vec<ModelGlob>, ServiceError> {
    each("models", words, ModelGlob::parse)
}

fn endpoints(words: &[String]) -> Result<Vec<Endpoint>, ServiceError> {
    each("endpoints", words, |word| {
        Endpoint::parse(word).ok_or_else(|| PermissionError::Endpoint(word.to_owned()))
    })
}

fn scopes<S: AsRef<str>>(words: &[S]) -> Result<Scopes, ServiceError> {
    let set = Scopes::parse(words).map_err(|e| ServiceError::invalid("scopes", e))?;
    if words.is_empty() {
        return Err(ServiceError::invalid("scopes", "a key without any scope could do nothing"));
    }
    Ok(set)
}

fn allow_ip(blocks: &[String]) -> Result<CidrList, ServiceError> {
    check_count("allow_ip", blocks.len())?;
    CidrList::parse(blocks).map_err(|e| ServiceError::invalid("allow_ip", e))
}

fn bind_mtls(texts: &[String]) -> Result<CertificateBindings, ServiceError> {
    CertificateBindings::parse(texts).map_err(|e| ServiceError::invalid("bind_mtls", e))
}

fn proofs<S: AsRef<str>>(words: &[S]) -> Result<Proofs, ServiceError> {
    Proofs::parse(words.iter().map(AsRef::as_ref)).map_err(|e| ServiceError::invalid("require", e))
}

fn hours(text: &str) -> Result<HoursOfWeek, ServiceError> {
    HoursOfWeek::parse(text).map_err(|e| ServiceError::invalid("hours", e))
}

fn cache(text: &str) -> Result<Option<CacheTtl>, ServiceError> {
    CacheTtl::parse(text.trim()).map_err(|e| ServiceError::invalid("cache", e))
}

fn each<T: PartialEq, E: Display>(
    field: &'static str,
    words: &[String],
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, ServiceError> {
    check_count(field, words.len())?;
    let mut all = Vec::with_capacity(words.len());
    for word in words {
        let one = read(word.trim()).map_err(|e| ServiceError::invalid(field, e))?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    Ok(all)
}

fn check_count(field: &'static str, count: usize) -> Result<(), ServiceError> {
    if count <= MAX_ENTRIES { Ok(()) } else { Err(ServiceError::invalid(field, "at most 256 entries")) }
}
