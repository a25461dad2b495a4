//! The list of limits: a new one is a line here.

use serde::{Deserialize, Deserializer, Serialize};

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Requests, in a time, in flight or in a life.
    Requests,
    /// Input tokens that were not read from the cache.
    InputTokens,
    /// Output tokens.
    OutputTokens,
    /// Both together.
    Tokens,
}

/// Tells `null` (lift it) from a missing field (leave it).
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(d).map(Some)
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $field:ident $kind:ident $measure:ident $words:literal;)+) => {
        /// The limits of one key, owner or workspace; `None` means no limit of that kind. Any combination is legal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Limits {
            $($(#[doc = $doc])+
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $field: Option<u64>,)+
        }

        /// Limits as they are set: what is `None` stays, what is `Some(None)` is lifted. In JSON a missing field leaves
        /// the limit, `null` lifts it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct LimitsPatch {
            $($(#[doc = $doc])+
            #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
            pub $field: Option<Option<u64>>,)+
        }

        /// Which limit said no, or stands nearest to it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum LimitKind {
            $($(#[doc = $doc])+ $kind,)+
            /// Uses in the key's whole life.
            TotalUses,
        }

        impl LimitKind {
            /// Every limit that can be set in [`Limits`].
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// How the limit is named to callers.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$kind => $words,)+
                    Self::TotalUses => "total uses of this key",
                }
            }

            /// How it is named where it is set.
            #[must_use]
            pub const fn field(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($field),)+
                    Self::TotalUses => "max_uses",
                }
            }

            /// The reason of its refusals, in metrics and audit records.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("limit_", stringify!($field)),)+
                    Self::TotalUses => "limit_total_uses",
                }
            }

            /// What it counts.
            #[must_use]
            pub const fn measure(self) -> Measure {
                match self {
                    $(Self::$kind => Measure::$measure,)+
                    Self::TotalUses => Measure::Requests,
                }
            }
        }

        impl Limits {
            /// One of them.
            #[must_use]
            pub const fn get(&self, kind: LimitKind) -> Option<u64> {
                match kind {
                    $(LimitKind::$kind => self.$field,)+
                    LimitKind::TotalUses => None,
                }
            }

            /// The limits with each of them made anew from what it is.
            #[must_use]
            pub fn map(self, mut change: impl FnMut(LimitKind, Option<u64>) -> Option<u64>) -> Self {
                Self { $($field: change(LimitKind::$kind, self.$field),)+ }
            }
        }

        impl LimitsPatch {
            /// What is asked for of one of them.
            #[must_use]
            pub const fn get(&self, kind: LimitKind) -> Option<Option<u64>> {
                match kind {
                    $(LimitKind::$kind => self.$field,)+
                    LimitKind::TotalUses => None,
                }
            }
        }
    };
}

limits! {
    /// Requests a second.
    rps RequestsPerSecond Requests "requests per second";
    /// Requests a minute.
    rpm RequestsPerMinute Requests "requests per minute";
    /// Requests an hour.
    rph RequestsPerHour Requests "requests per hour";
    /// Requests a UTC day, counted in a fixed window.
    rpd RequestsPerDay Requests "requests per day";
    /// Input tokens a second.
    itps InputTokensPerSecond InputTokens "input tokens per second";
    /// Input tokens a minute.
    itpm InputTokensPerMinute InputTokens "input tokens per minute";
    /// Input tokens an hour.
    itph InputTokensPerHour InputTokens "input tokens per hour";
    /// Input tokens a UTC day, counted in a fixed window.
    itpd InputTokensPerDay InputTokens "input tokens per day";
    /// Output tokens a second.
    otps OutputTokensPerSecond OutputTokens "output tokens per second";
    /// Output tokens a minute.
    otpm OutputTokensPerMinute OutputTokens "output tokens per minute";
    /// Output tokens an hour.
    otph OutputTokensPerHour OutputTokens "output tokens per hour";
    /// Output tokens a UTC day, counted in a fixed window.
    otpd OutputTokensPerDay OutputTokens "output tokens per day";
    /// Tokens of both directions a second.
    tps TokensPerSecond Tokens "tokens per second";
    /// Tokens of both directions a minute.
    tpm TokensPerMinute Tokens "tokens per minute";
    /// Tokens of both directions an hour.
    tph TokensPerHour Tokens "tokens per hour";
    /// Tokens of both directions a UTC day, counted in a fixed window.
    tpd TokensPerDay Tokens "tokens per day";
    /// Requests in flight.
    concurrency Concurrency Requests "concurrent requests";
}

impl Limits {
    /// What a new key gets where nothing else is asked for.
    pub const USUAL: Self = Self { rpm: Some(60), rpd: Some(10_000), ..Self::NONE };
    /// No limit at all.
    pub const NONE: Self = Self {
        rps: None,
        rpm: None,
        rph: None,
        rpd: None,
        itps: None,
        itpm: None,
        itph: None,
        itpd: None,
        otps: None,
        otpm: None,
        otph: None,
        otpd: None,
        tps: None,
        tpm: None,
        tph: None,
        tpd: None,
        concurrency: None,
    };

    /// Half of each limit that is set, at least one: what is left to a key that is on its way out.
    #[must_use]
    pub fn halved(self) -> Self {
        self.map(|_, limit| limit.map(|n| (n / 2).max(1)))
    }

    /// The limits with a change made.
    #[must_use]
    pub fn patched(self, patch: &LimitsPatch) -> Self {
        self.map(|kind, limit| patch.get(kind).unwrap_or(limit))
    }

    /// Whether the other ones admit anything that these do not.
    #[must_use]
    pub fn is_raised_by(&self, after: &Self) -> bool {
        LimitKind::ALL.iter().any(|kind| match (self.get(*kind), after.get(*kind)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(before), Some(after)) => after > before,
        })
    }

    /// Whether any of them counts tokens.
    #[must_use]
    pub fn count_tokens(&self) -> bool {
        let Self { itps, itpm, itph, itpd, otps, otpm, otph, otpd, tps, tpm, tph, tpd, .. } = self;
        let all = [itps, itpm, itph, itpd, otps, otpm, otph, otpd, tps, tpm, tph, tpd];
        all.into_iter().any(Option::is_some)
    }
}

impl LimitsPatch {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_read_written_halved_and_patched_by_its_own_name() {
        for kind in LimitKind::ALL.iter().copied() {
            let json = serde_json::json!({ kind.field(): 7 });
            let one: Limits = serde_json::from_value(json.clone()).unwrap();
            assert_eq!((one.get(kind), serde_json::to_value(one).unwrap()), (Some(7), json.clone()));
            assert_eq!(one.map(|_, _| None), Limits::NONE, "nothing else was set");
            assert_eq!(one.halved().get(kind), Some(3));
            let patch: LimitsPatch = serde_json::from_value(json).unwrap();
            assert_eq!(Limits::NONE.patched(&patch), one);
            let lift: LimitsPatch =
                serde_json::from_value(serde_json::json!({ kind.field(): null })).unwrap();
            assert_eq!(one.patched(&lift), Limits::NONE);
            assert!(one.is_raised_by(&Limits::NONE) && !Limits::NONE.is_raised_by(&one));
            assert_eq!(one.count_tokens(), kind.measure() != Measure::Requests);
            assert_eq!(kind.reason(), format!("limit_{}", kind.field()));
        }
        assert_eq!(Limits { rps: Some(1), ..Limits::NONE }.halved().rps, Some(1), "nothing is halved away");
        assert!(serde_json::from_str::<Limits>(r#"{"rpmm":1}"#).is_err(), "a limit of another release");
    }
}
