//! The compact serialisation (RFC 7515, 3.1) and its header.

use super::{Algorithm, JoseError, JwkError, Object, ObjectError, Part, PublicKey, decode};

/// The longest text that is looked at.
pub const MAX_BYTES: usize = 8 * 1024;
/// The longest `kid`.
const MAX_KID: usize = 256;

/// What a text is meant to be: decides which header fields it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// An access token of ours (RFC 9068): `alg`, `kid`, `typ: at+jwt` and nothing else.
    AccessToken,
    /// A DPoP proof (RFC 9449, 4.2): `alg`, `jwk`, `typ: dpop+jwt`; no other way to name a key.
    Dpop,
    /// A token that another issuer signed (RFC 7523, RFC 8693). Ways to fetch a key are passed over: keys come from where
    /// the issuer's were configured.
    Subject,
}

/// A header, by fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it says of itself. Never decides which algorithm is used.
    pub alg: Algorithm,
    /// Which key it claims to be signed with.
    pub kid: Option<String>,
    /// Its type, as written.
    pub typ: Option<String>,
    /// The key that a DPoP proof brings; `None` in every other profile.
    pub jwk: Option<PublicKey>,
}

/// A text of the right shape. Nothing in it is proven before [`Jws::verify`].
#[derive(Debug)]
pub struct Jws<'a> {
    header: Header,
    signing_input: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// Whether a text can be nothing else than a compact JWS: its header begins an object, and there are three parts.
#[must_use]
pub fn looks_like_jws(text: &[u8]) -> bool {
    text.starts_with(b"ey") && text.iter().filter(|b| **b == b'.').count() == 2
}

impl<'a> Jws<'a> {
    /// Reads shape and header.
    ///
    /// # Errors
    /// [`JoseError`], but for [`JoseError::AlgorithmMismatch`] and [`JoseError::Signature`].
    pub fn parse(text: &'a [u8], profile: Profile) -> Result<Self, JoseError> {
        if text.len() > MAX_BYTES {
            return Err(JoseError::TooLarge);
        }
        let mut parts = text.split(|b| *b == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JoseError::Shape);
        };
        if header.is_empty() || payload.is_empty() {
            return Err(JoseError::Shape);
        }
        let signing_input = &text[..header.len() + 1 + payload.len()];
        let decoded = decode(header).ok_or(JoseError::Encoding(Part::Header))?;
        let header = read_header(&object(&decoded, Part::Header)?, profile)?;
        if signature.is_empty() {
            return Err(JoseError::Shape);
        }
        let payload = decode(payload).ok_or(JoseError::Encoding(Part::Payload))?;
        let signature = decode(signature).ok_or(JoseError::Encoding(Part::Signature))?;
        Ok(Self { header, signing_input, payload, signature })
    }

    /// The header: what the text says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What the signature is over: header and payload, as they are written.
    #[must_use]
    pub const fn signed(&self) -> &'a [u8] {
        self.signing_input
    }

    /// The claims before anything is proven: good for choosing the issuer whose keys then must verify the text, and
    /// for nothing else.
    ///
    /// # Errors
    /// [`JoseError::Json`], [`JoseError::Duplicate`].
    pub fn unproven_claims(&self) -> Result<Object, JoseError> {
        object(&self.payload, Part::Payload)
    }

    /// The claims, once the key has proven them.
    ///
    /// # Errors
    /// [`JoseError::AlgorithmMismatch`], [`JoseError::Signature`], [`JoseError::Json`], [`JoseError::Duplicate`].
    pub fn verify(&self, key: &PublicKey) -> Result<Object, JoseError> {
        self.verify_bytes(key)?;
        object(&self.payload, Part::Payload)
    }

    /// The payload, once the key has proven it, whatever it holds. A key of another algorithm costs a verification, too.
    ///
    /// # Errors
    /// [`JoseError::AlgorithmMismatch`], [`JoseError::Signature`].
    pub fn verify_bytes(&self, key: &PublicKey) -> Result<&[u8], JoseError> {
        let proven = key.verify(self.signing_input, &self.signature);
        if key.algorithm() != self.header.alg {
            return Err(JoseError::AlgorithmMismatch);
        }
        proven.map(|()| self.payload.as_slice())
    }
}

fn object(bytes: &[u8], part: Part) -> Result<Object, JoseError> {
    Object::parse(bytes).map_err(|error| match error {
        ObjectError::NotAnObject => JoseError::Json(part),
        ObjectError::Duplicate => JoseError::Duplicate(part),
    })
}

/// Header fields that bring a key or say where one is.
const KEY_FIELDS: [&str; 6] = ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256"];

fn read_header(header: &Object, profile: Profile) -> Result<Header, JoseError> {
    if header.get("crit").is_some() {
        return Err(JoseError::Critical);
    }
    // An unencoded payload (RFC 7797) would be signed as something else than it is read as.
    if header.get("b64").is_some() || header.get("zip").is_some() || header.get("enc").is_some() {
        return Err(JoseError::HeaderField);
    }
    let alg = match header.get("alg") {
        None => return Err(JoseError::AlgorithmMissing),
        Some(alg) => alg.as_str().and_then(Algorithm::parse).ok_or(JoseError::AlgorithmRefused)?,
    };
    let brings = KEY_FIELDS.iter().any(|name| header.get(name).is_some() && !is_own(profile, name));
    if brings && profile != Profile::Subject {
        return Err(JoseError::KeyHeader);
    }
    let typ = string(header, "typ")?;
    let kid = string(header, "kid")?;
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(JoseError::HeaderField);
    }
    let jwk = match profile {
        Profile::AccessToken => {
            check_type(typ.as_deref(), &["at+jwt"])?;
            let known = |name: &String| matches!(name.as_str(), "alg" | "kid" | "typ");
            if !header.members().keys().all(known) {
                return Err(JoseError::HeaderField);
            }
            None
        }
        Profile::Dpop => {
            check_type(typ.as_deref(), &["dpop+jwt"])?;
            if alg == Algorithm::Rs256 {
                return Err(JoseError::AlgorithmRefused);
            }
            let jwk = header.get("jwk").ok_or(JoseError::Jwk(JwkError::Member))?;
            Some(PublicKey::from_value(jwk).map_err(JoseError::Jwk)?)
        }
        Profile::Subject => {
            // Nothing that has another meaning by its type is taken for an identity.
            if typ.is_some() {
                check_type(typ.as_deref(), &["JWT", "at+jwt"])?;
            }
            None
        }
    };
    Ok(Header { alg, kid, typ, jwk })
}

fn is_own(profile: Profile, name: &str) -> bool {
    profile == Profile::Dpop && name == "jwk"
}

/// Types compare without regard to case, and `application/` may stand before them (RFC 7515, 4.1.9).
fn check_type(typ: Option<&str>, wanted: &[&str]) -> Result<(), JoseError> {
    let typ = typ.ok_or(JoseError::Type)?;
    let bare = match typ.split_at_checked(12) {
        Some((head, rest)) if head.eq_ignore_ascii_case("application/") => rest,
        Some(_) | None => typ,
    };
    if wanted.iter().any(|w| w.eq_ignore_ascii_case(bare)) { Ok(()) } else { Err(JoseError::Type) }
}

fn string(header: &Object, name: &str) -> Result<Option<String>, JoseError> {
    match header.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or(JoseError::HeaderField),
    }
}
