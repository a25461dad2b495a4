//! Workload identity: a program proves who it is by what its platform gave it, an OIDC token or an X.509-SVID, and gets a
//! key for a few minutes (RFC 8693, RFC 7523).
//!
//! | who | what |
//! |---|---|
//! | [`issuer::IssuerRecord`] | whose tokens are looked at, with which keys and algorithms they must be signed |
//! | [`jwks`] | the issuer's keys, and when to fetch them again |
//! | [`rule::TrustRule`] | which identity may have what; names are not enough where they can be taken over |
//! | [`assertion`] | what is checked of a token itself, and that it is used once |

pub mod assertion;
pub mod claims;
pub mod issuer;
pub mod jwks;
pub mod rule;

#[cfg(test)]
mod tests;
