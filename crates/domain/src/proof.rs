//! What a caller must show beside its key: an access token, a signature, a certificate, a DPoP proof. A key names what
//! it demands; a workspace's policy may demand more of all its keys.

use serde::{Deserialize, Serialize};

/// One way to prove more than that one has read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// An access token, bought with the key (RFC 9068), instead of the key itself.
    Token,
    /// A signature of the request with the key's signing secret.
    Signature,
    /// A client certificate that the token or the key is bound to (RFC 8705).
    Mtls,
    /// A proof of possession for this one request (RFC 9449).
    Dpop,
}

impl Proof {
    /// All, in the order in which they are judged and printed.
    pub const ALL: [Self; 4] = [Self::Token, Self::Signature, Self::Mtls, Self::Dpop];

    /// As written in flags, JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Signature => "signature",
            Self::Mtls => "mtls",
            Self::Dpop => "dpop",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Token => 1,
            Self::Signature => 2,
            Self::Mtls => 4,
            Self::Dpop => 8,
        }
    }
}

/// A set of [`Proof`]s.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Proofs(u8);

/// Not a kind of proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no proof: there are `token`, `signature`, `mtls` and `dpop`")]
pub struct ProofError(String);

impl Proofs {
    /// None.
    pub const NONE: Self = Self(0);

    /// Reads names.
    ///
    /// # Errors
    /// [`ProofError`] names the first that is none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, ProofError> {
        names.into_iter().map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::NONE, |set, name| {
            let found = Proof::ALL.into_iter().find(|proof| proof.as_str() == name);
            found.map(|proof| set.with(proof)).ok_or_else(|| ProofError(name.chars().take(40).collect()))
        })
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, proof: Proof) -> Self {
        Self(self.0 | proof.bit())
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is here and not there.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn contains(self, proof: Proof) -> bool {
        self.0 & proof.bit() != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = Proof> {
        Proof::ALL.into_iter().filter(move |proof| self.contains(*proof))
    }
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl TryFrom<Vec<String>> for Proofs {
    type Error = ProofError;

    fn try_from(names: Vec<String>) -> Result<Self, ProofError> {
        Self::parse(names.iter().map(String::as_str))
    }
}

impl From<Proofs> for Vec<String> {
    fn from(proofs: Proofs) -> Self {
        proofs.iter().map(|proof| proof.as_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_in_one_order() {
        let proofs = Proofs::parse(["signature", " token", ""]).unwrap();
        assert_eq!(serde_json::to_string(&proofs).unwrap(), r#"["token","signature"]"#);
        assert_eq!(serde_json::from_str::<Proofs>(r#"["signature","token"]"#).unwrap(), proofs);
        assert!(proofs.contains(Proof::Token) && !proofs.contains(Proof::Mtls));
    }

    #[test]
    fn what_is_no_proof_is_named() {
        let error = Proofs::parse(["token", "password"]).unwrap_err();
        insta::assert_snapshot!(error, @"`password` is no proof: there are `token`, `signature`, `mtls` and `dpop`");
    }

    #[test]
    fn what_lacks_is_what_is_demanded_and_not_shown() {
        let demanded = Proofs::NONE.with(Proof::Token).with(Proof::Signature);
        let lacking = demanded.without(Proofs::NONE.with(Proof::Signature).with(Proof::Dpop));
        assert_eq!(lacking.iter().collect::<Vec<_>>(), [Proof::Token]);
        assert!(demanded.without(demanded).is_empty());
    }
}
