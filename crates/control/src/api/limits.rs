//! Limits as they are set and shown: of keys, owners and workspaces alike.

use claviger_domain::limit::{Limits, LimitsPatch as DomainPatch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Limits as they are set: absent leaves the limit as it is (or at its default), 0 lifts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsPatch {
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps: Option<u32>,
    /// Requests a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpm: Option<u32>,
    /// Requests an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rph: Option<u32>,
    /// Requests a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpd: Option<u32>,
    /// Input tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub itps: Option<u64>,
    /// Input tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub itpm: Option<u64>,
    /// Input tokens an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub itph: Option<u64>,
    /// Input tokens a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub itpd: Option<u64>,
    /// Output tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub otps: Option<u64>,
    /// Output tokens a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub otpm: Option<u64>,
    /// Output tokens an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub otph: Option<u64>,
    /// Output tokens a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub otpd: Option<u64>,
    /// Tokens of both directions a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub tps: Option<u64>,
    /// Tokens of both directions a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub tpm: Option<u64>,
    /// Tokens of both directions an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub tph: Option<u64>,
    /// Tokens of both directions a UTC day.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub tpd: Option<u64>,
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl LimitsPatch {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<LimitsPatch> for DomainPatch {
    fn from(p: LimitsPatch) -> Self {
        let tokens = |n: Option<u64>| n.map(|n| (n > 0).then_some(n));
        let requests = |n: Option<u32>| tokens(n.map(u64::from));
        Self {
            rps: requests(p.rps),
            rpm: requests(p.rpm),
            rph: requests(p.rph),
            rpd: requests(p.rpd),
            itps: tokens(p.itps),
            itpm: tokens(p.itpm),
            itph: tokens(p.itph),
            itpd: tokens(p.itpd),
            otps: tokens(p.otps),
            otpm: tokens(p.otpm),
            otph: tokens(p.otph),
            otpd: tokens(p.otpd),
            tps: tokens(p.tps),
            tpm: tokens(p.tpm),
            tph: tokens(p.tph),
            tpd: tokens(p.tpd),
            concurrency: requests(p.concurrency),
        }
    }
}

/// Rates, quotas and concurrency; `null`: no limit of that kind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    /// Requests a second.
    #[serde(default)]
    pub rps: Option<u64>,
    /// Requests a minute.
    #[serde(default)]
    pub rpm: Option<u64>,
    /// Requests an hour.
    #[serde(default)]
    pub rph: Option<u64>,
    /// Requests a UTC day.
    #[serde(default)]
    pub rpd: Option<u64>,
    /// Input tokens a second.
    #[serde(default)]
    pub itps: Option<u64>,
    /// Input tokens a minute.
    #[serde(default)]
    pub itpm: Option<u64>,
    /// Input tokens an hour.
    #[serde(default)]
    pub itph: Option<u64>,
    /// Input tokens a UTC day.
    #[serde(default)]
    pub itpd: Option<u64>,
    /// Output tokens a second.
    #[serde(default)]
    pub otps: Option<u64>,
    /// Output tokens a minute.
    #[serde(default)]
    pub otpm: Option<u64>,
    /// Output tokens an hour.
    #[serde(default)]
    pub otph: Option<u64>,
    /// Output tokens a UTC day.
    #[serde(default)]
    pub otpd: Option<u64>,
    /// Tokens of both directions a second.
    #[serde(default)]
    pub tps: Option<u64>,
    /// Tokens of both directions a minute.
    #[serde(default)]
    pub tpm: Option<u64>,
    /// Tokens of both directions an hour.
    #[serde(default)]
    pub tph: Option<u64>,
    /// Tokens of both directions a UTC day.
    #[serde(default)]
    pub tpd: Option<u64>,
    /// Requests in flight.
    #[serde(default)]
    pub concurrency: Option<u64>,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let Limits {
            rps,
            rpm,
            rph,
            rpd,
            itps,
            itpm,
            itph,
            itpd,
            otps,
            otpm,
            otph,
            otpd,
            tps,
            tpm,
            tph,
            tpd,
            concurrency,
        } = limits;
        Self {
            rps,
            rpm,
            rph,
            rpd,
            itps,
            itpm,
            itph,
            itpd,
            otps,
            otpm,
            otph,
            otpd,
            tps,
            tpm,
            tph,
            tpd,
            concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use claviger_domain::limit::LimitKind;

    use super::*;

    #[test]
    fn zero_lifts_a_limit_and_absence_leaves_it() {
        let patch = LimitsPatch { rpm: Some(0), rps: Some(5), ..LimitsPatch::default() };
        let domain = DomainPatch::from(patch);
        assert_eq!((domain.rpm, domain.rps, domain.rpd), (Some(None), Some(Some(5)), None));
    }

    #[test]
    fn every_limit_is_set_and_shown_by_its_name() {
        for kind in LimitKind::ALL.iter().copied() {
            let json = serde_json::json!({ kind.field(): 7 });
            let patch: LimitsPatch = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(patch).unwrap(), json);
            let limits = Limits::NONE.patched(&patch.into());
            assert_eq!(limits.get(kind), Some(7));
            let shown = serde_json::to_value(LimitsView::from(limits)).unwrap();
            assert_eq!(
                (&shown[kind.field()], shown.as_object().unwrap().len()),
                (&7.into(), LimitKind::ALL.len())
            );
        }
    }
}
