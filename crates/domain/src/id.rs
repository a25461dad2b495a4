//! Typed identifiers: a prefix that says what the thing is, then base62. Cloning one is a reference count.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Entropy, EntropyError};
use crate::token::base62;

/// Why a string is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id: expected `{prefix}` followed by 1 to 48 letters and digits")]
pub struct IdError {
    /// The prefix that ids of this kind have, with its underscore.
    pub prefix: &'static str,
}

/// Characters after the prefix in an id that Claviger makes (142 bits).
const RANDOM_LEN: usize = 24;
const MAX_LEN: usize = 48;

fn parse(prefix: &'static str, text: &str) -> Result<Arc<str>, IdError> {
    let ok = text.strip_prefix(prefix).is_some_and(|rest| {
        !rest.is_empty() && rest.len() <= MAX_LEN && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    if ok { Ok(Arc::from(text)) } else { Err(IdError { prefix }) }
}

fn generate(prefix: &'static str, entropy: &dyn Entropy) -> Result<Arc<str>, EntropyError> {
    let mut text = [0_u8; 8 + RANDOM_LEN];
    let head = prefix.len();
    text[..head].copy_from_slice(prefix.as_bytes());
    base62::fill_random(&mut text[head..head + RANDOM_LEN], entropy)?;
    Ok(std::str::from_utf8(&text[..head + RANDOM_LEN]).map_or_else(|_| Arc::from(prefix), Arc::from))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Reads an id, checking prefix, length and charset.
            ///
            /// # Errors
            /// [`IdError`] names the prefix that was expected.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                parse($prefix, text).map(Self)
            }

            /// Makes a new random id.
            ///
            /// # Errors
            /// [`EntropyError`] when there is no randomness to be had.
            pub fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                generate($prefix, entropy).map(Self)
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/// A key: `key_` and the public id that stands in the token itself.
    KeyId, "key_");
id!(/// A workspace: one per team and environment.
    WorkspaceId, "ws_");
id!(/// The person or service that a key belongs to.
    OwnerId, "own_");
id!(/// An upstream: a place that speaks the Claude API.
    UpstreamId, "up_");
id!(/// A credential: one provider key, sealed.
    CredentialId, "cred_");
id!(/// One request as the client knows it (`request-id`).
    RequestId, "req_");
id!(/// One call sent to an upstream, written down before its answer leaves.
    IntentId, "int_");
id!(/// An operator: a person or machine that administers.
    OperatorId, "op_");
id!(/// A session or machine token of an operator.
    OperatorTokenId, "opt_");
id!(/// A request that waits for a second person.
    ApprovalId, "apr_");
id!(/// A rotation of a client key.
    RotationId, "rot_");
id!(/// A wrapped delivery of a key.
    WrappingId, "wrp_");
id!(/// A certificate of revocation.
    CertificateId, "crt_");
id!(/// A signing secret of a key, or a public key in its place.
    SigningId, "sgn_");
id!(/// A notice.
    NoticeId, "ntc_");
id!(/// A channel by which notices go out.
    ChannelId, "chn_");
id!(/// A review of what keys may do.
    ReviewId, "rev_");
id!(/// A report that was made and is kept.
    ReportId, "rpt_");
id!(/// A budget.
    BudgetId, "bdg_");
id!(/// An account of prepaid credit.
    CreditAccountId, "acct_");
id!(/// An entry in the book of prepaid credit.
    CreditEntryId, "ent_");
id!(/// An access token (`jti`).
    AccessTokenId, "atk_");
id!(/// A family of refresh tokens.
    TokenFamilyId, "fam_");
id!(/// An incident.
    IncidentId, "inc_");
id!(/// An issuer of other platforms' identities.
    IssuerId, "iss_");
id!(/// A rule that trusts some of them.
    TrustId, "tru_");
id!(/// One incarnation of a node: a new one at every start. Also names its data chain.
    NodeId, "node_");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.fill(0);
            Ok(())
        }
    }

    #[test]
    fn an_id_is_its_prefix_and_up_to_48_letters_and_digits() {
        assert_eq!(WorkspaceId::parse("ws_Ab9").unwrap().as_str(), "ws_Ab9");
        let long = format!("ws_{}", "a".repeat(49));
        for text in ["ws_", "Ab9", "ws_a-b", "ws_ä", "key_Ab9", " ws_a", "ws_a\n", &long] {
            assert_eq!(WorkspaceId::parse(text), Err(IdError { prefix: "ws_" }), "{text:?}");
        }
        assert!(serde_json::from_str::<OwnerId>("\"ws_a\"").is_err());
        assert_eq!(serde_json::to_string(&OwnerId::parse("own_a").unwrap()).unwrap(), "\"own_a\"");
    }

    #[test]
    fn an_id_that_is_made_has_24_characters_and_reads_back() {
        let id = CredentialId::generate(&Zeros).unwrap();
        assert_eq!(id.as_str().len(), "cred_".len() + RANDOM_LEN);
        assert_eq!(CredentialId::parse(id.as_str()), Ok(id));
    }

    proptest! {
        #[test]
        fn every_text_is_refused_or_comes_back_unchanged(text in "(int_)?[ -~]{0,50}") {
            if let Ok(id) = IntentId::parse(&text) {
                prop_assert_eq!(id.as_str(), text);
            }
        }
    }
}
