//! HTTP message signatures (RFC 9421): what the two headers say, and the text that is signed.

use smallvec::SmallVec;

use super::{
    CONTENT_DIGEST, Claim, Fields, MESSAGE_INPUT, MESSAGE_SIGNATURE, Profile, Proof, SignatureError, Target,
    nonce::Nonce,
    structured::{Bare, Item, Member, Params, dictionary, write_list},
};
use crate::token::PublicId;

/// The longest of the two headers.
const MOST_BYTES: usize = 4_096;
const MOST_COMPONENTS: usize = 32;
/// What every signature must cover here. The digest, too, as soon as there is a body.
const MUST_COVER: [(&str, Component); 4] = [
    ("@method", Component::Method),
    ("@authority", Component::Authority),
    ("@path", Component::Path),
    ("@query", Component::Query),
];

/// What is signed of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    Method,
    TargetUri,
    Authority,
    Scheme,
    RequestTarget,
    Path,
    Query,
    Digest,
    Field(Box<str>),
}

/// What is covered, in its order.
pub(super) type Components = SmallVec<[Component; 6]>;

impl Component {
    pub(super) fn read(name: &str) -> Result<Self, SignatureError> {
        let refused = |why| Err(SignatureError::Component(name.into(), why));
        match name {
            "@method" => Ok(Self::Method),
            "@target-uri" => Ok(Self::TargetUri),
            "@authority" => Ok(Self::Authority),
            "@scheme" => Ok(Self::Scheme),
            "@request-target" => Ok(Self::RequestTarget),
            "@path" => Ok(Self::Path),
            "@query" => Ok(Self::Query),
            "@query-param" => refused("cover `@query` as a whole"),
            "@status" => refused("a request has no status"),
            "@signature-params" => refused("it is covered anyway"),
            CONTENT_DIGEST => Ok(Self::Digest),
            MESSAGE_INPUT | MESSAGE_SIGNATURE => refused("it cannot cover itself"),
            _ if name.starts_with('@') => refused("no such component is known"),
            _ if !is_field_name(name) => refused("field names are tokens in lower case"),
            _ => Ok(Self::Field(name.into())),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Method => "@method",
            Self::TargetUri => "@target-uri",
            Self::Authority => "@authority",
            Self::Scheme => "@scheme",
            Self::RequestTarget => "@request-target",
            Self::Path => "@path",
            Self::Query => "@query",
            Self::Digest => CONTENT_DIGEST,
            Self::Field(name) => name,
        }
    }
}

fn is_field_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(fits)
}

/// Which way the signature itself is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    HmacSha256,
    Ed25519,
}

/// What the headers say.
#[derive(Debug, Clone)]
pub(super) struct Message {
    components: Components,
    /// The components and parameters as they are signed: the value of `@signature-params`.
    params: String,
    pub(super) expires: Option<i64>,
    /// `None`: it names no key that there could be.
    pub(super) key: Option<PublicId>,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) signature: Vec<u8>,
}

/// Reads the two headers.
pub(super) fn read(input: &[u8], signature: &[u8]) -> Result<Claim, SignatureError> {
    let structured = |name| move |error| SignatureError::Structured(name, error);
    let mut inputs = dictionary(input, MOST_BYTES).map_err(structured(MESSAGE_INPUT))?;
    let mut signatures = dictionary(signature, MOST_BYTES).map_err(structured(MESSAGE_SIGNATURE))?;
    let (Some((label, input)), Some((other, signature))) = (inputs.pop(), signatures.pop()) else {
        return Err(SignatureError::Label);
    };
    if !inputs.is_empty() || !signatures.is_empty() || label != other {
        return Err(SignatureError::Label);
    }
    let Member::List { items, params, written } = input else {
        return Err(SignatureError::Shape(MESSAGE_INPUT, "a list of components"));
    };
    let Member::Item(Item { value: Bare::Bytes(signature), .. }) = signature else {
        return Err(SignatureError::Shape(MESSAGE_SIGNATURE, "bytes between colons"));
    };
    let components = components(&items)?;
    let Read { created: made_at_secs, expires, nonce, key_id, algorithm } = Read::of(&params)?;
    let key = PublicId::parse(key_id);
    // Mostly it was sent as it is signed.
    let params = written.map_or_else(
        || {
            let mut written = String::new();
            write_list(&mut written, &items, &params);
            written
        },
        str::to_owned,
    );
    let message = Message { components, params, expires, key, algorithm, signature };
    Ok(Claim { profile: Profile::Rfc9421, made_at_secs, nonce, proof: Proof::Message(Box::new(message)) })
}

fn components(items: &[Item<'_>]) -> Result<Components, SignatureError> {
    if items.len() > MOST_COMPONENTS {
        return Err(SignatureError::Shape(MESSAGE_INPUT, "at most 32 components"));
    }
    let mut seen = Components::new();
    for item in items {
        let Bare::Text(name) = &item.value else {
            return Err(SignatureError::Shape(MESSAGE_INPUT, "names of components in double quotes"));
        };
        let component = Component::read(name)?;
        if let Some((param, _)) = item.params.first() {
            return Err(SignatureError::Component((&**name).into(), why_no_param(param)));
        }
        if seen.contains(&component) {
            return Err(SignatureError::ComponentTwice((&**name).into()));
        }
        seen.push(component);
    }
    match MUST_COVER.iter().find(|(_, must)| !seen.contains(must)) {
        Some((name, _)) => Err(SignatureError::Uncovered(name)),
        None => Ok(seen),
    }
}

fn why_no_param(param: &str) -> &'static str {
    match param {
        "tr" => "trailers are not verified: send it as a header, ahead of the body",
        "req" => "a request is not an answer",
        "sf" | "key" | "bs" | "name" => "no parameters of components are supported",
        _ => "no such parameter of a component is known",
    }
}

/// The parameters that decide.
struct Read<'a> {
    created: i64,
    expires: Option<i64>,
    nonce: Nonce,
    key_id: &'a str,
    algorithm: Option<Algorithm>,
}

impl<'a> Read<'a> {
    fn of(params: &'a Params<'_>) -> Result<Self, SignatureError> {
        let find = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let known = ["created", "expires", "nonce", "keyid", "alg", "tag"];
        if let Some((name, _)) = params.iter().find(|(key, _)| !known.contains(key)) {
            return Err(SignatureError::Parameter((*name).into()));
        }
        let shape = SignatureError::ParameterShape;
        let Some(Bare::Integer(created @ 1_000_000_000..=9_999_999_999)) = find("created") else {
            return Err(shape("created", "seconds since the epoch, ten digits"));
        };
        let expires = match find("expires") {
            None => None,
            Some(Bare::Integer(expires)) => Some(*expires),
            Some(_) => return Err(shape("expires", "seconds since the epoch")),
        };
        let Some(Bare::Text(key_id)) = find("keyid") else {
            return Err(shape("keyid", "the key's public id: ten characters in double quotes"));
        };
        let nonce = match find("nonce") {
            Some(Bare::Text(nonce)) => Nonce::of_text(nonce),
            Some(_) | None => None,
        };
        let nonce = nonce.ok_or(shape(
            "nonce",
            "16 to 128 characters in double quotes, 32 random hex digits for instance",
        ))?;
        let algorithm = match find("alg") {
            None => None,
            Some(Bare::Text(name)) if name == "hmac-sha256" => Some(Algorithm::HmacSha256),
            Some(Bare::Text(name)) if name == "ed25519" => Some(Algorithm::Ed25519),
            Some(_) => return Err(shape("alg", "`hmac-sha256` or `ed25519`")),
        };
        if find("tag").is_some_and(|tag| !matches!(tag, Bare::Text(_))) {
            return Err(shape("tag", "text in double quotes"));
        }
        Ok(Self { created: *created, expires, nonce, key_id, algorithm })
    }
}

impl Message {
    /// Whether the body's digest is covered.
    pub(super) fn covers_digest(&self) -> bool {
        self.components.contains(&Component::Digest)
    }

    /// The signature base (section 2.5).
    pub(super) fn base(&self, target: &Target<'_>, fields: &dyn Fields) -> Result<Vec<u8>, SignatureError> {
        base(&self.components, &self.params, target, fields)
    }
}

/// The text that is signed, for any list of components and what `@signature-params` says of it.
pub(super) fn base(
    components: &[Component],
    params: &str,
    target: &Target<'_>,
    fields: &dyn Fields,
) -> Result<Vec<u8>, SignatureError> {
    let mut out = Vec::with_capacity(512 + params.len());
    for component in components {
        out.push(b'"');
        out.extend_from_slice(component.name().as_bytes());
        out.extend_from_slice(b"\": ");
        add_value(&mut out, component, target, fields)?;
        out.push(b'\n');
    }
    out.extend_from_slice(b"\"@signature-params\": ");
    out.extend_from_slice(params.as_bytes());
    Ok(out)
}

fn add_value(
    out: &mut Vec<u8>,
    component: &Component,
    target: &Target<'_>,
    fields: &dyn Fields,
) -> Result<(), SignatureError> {
    let query = target.query.unwrap_or_default();
    let mut add = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    let mark = if target.query.is_some() { "?" } else { "" };
    match component {
        Component::Method => add(&[target.method]),
        Component::TargetUri => add(&[target.scheme, "://", &target.authority, target.path, mark, query]),
        Component::Authority => add(&[&target.authority]),
        Component::Scheme => add(&[target.scheme]),
        Component::RequestTarget => add(&[target.path, mark, query]),
        Component::Path => add(&[target.path]),
        Component::Query => add(&["?", query]),
        Component::Digest | Component::Field(_) => {
            let values = fields.values(component.name());
            if values.is_empty() {
                return Err(SignatureError::FieldAbsent(component.name().into()));
            }
            for (n, value) in values.iter().enumerate() {
                out.extend_from_slice(if n > 0 { b", " } else { b"" });
                out.extend_from_slice(value.trim_ascii());
            }
        }
    }
    Ok(())
}
