//! Stage 4, authorize: may this key do this, with this model, from here? The body is read here, because what
//! it asks for decides, and only of callers who are known.

mod payload;
mod tenancy;

use std::sync::Arc;

use claviger_claude_wire::{
    answers::{Answer, ENCODING_UNSUPPORTED},
    batch::BatchError,
    head::HeadError,
};
use claviger_domain::{
    grant::Forbidden,
    id::CredentialId,
    permission::{Access, Scopes},
    token::KeyClass,
};
use claviger_service::ServiceError;
use http::{Method, header};

use crate::{
    authenticate::Caller,
    body::BodyError,
    path::Operation,
    prove::{ProveError, Proving},
    receive::{Head, Inbound},
    refuse::Refusal,
    worker::Shared,
};
pub use payload::{MessageFacts, Payload, betas};

/// A request that may be made.
#[derive(Debug)]
pub struct Permit {
    /// Its head.
    pub head: Head,
    /// Whose it is.
    pub caller: Caller,
    /// Its body, and what was read of it.
    pub payload: Payload,
    /// Where it must go.
    pub destination: Destination,
}

/// Which credentials may carry a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Any that serves the workspace.
    Any,
    /// One that serves this workspace alone.
    Bound,
    /// The one that can reach the resources that the request names.
    Credential(CredentialId),
}

/// Why a request may not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizeError {
    /// The key may not do this at all.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The access token is not for this.
    #[error("this access token is not for `{}`: buy one with more scopes, as far as the key goes", .0)]
    Scope(String),
    /// Not a route that can be offered.
    #[error("this route is not supported")]
    NotSupported,
    /// The key is limited to certain models, which cannot be checked on this route.
    #[error("this key is limited to certain models, which cannot be checked on this route")]
    ModelsUnchecked,
    /// The key may not use this model.
    #[error("model: {0} is not allowed for this key")]
    Model(Box<str>),
    /// The key may not use the model that is asked about: it does not exist for it.
    #[error("model: {0}")]
    ModelHidden(Box<str>),
    /// The body has a content coding.
    #[error("request bodies with a Content-Encoding are not supported")]
    Encoded,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not what was signed.
    #[error(transparent)]
    Unproven(#[from] ProveError),
    /// The body is not a request.
    #[error(transparent)]
    Malformed(#[from] HeadError),
    /// The body is not a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Something that the request names is not the workspace's.
    #[error("{kind} not found: {id}")]
    NotFound {
        /// `File`, `Batch` …
        kind: &'static str,
        /// The id, as the caller gave it.
        id: Box<str>,
    },
    /// The request names resources that live with different credentials.
    #[error("the files, containers and skills of one request must have been made with the same provider key")]
    Scattered,
    /// The store had to be asked and did not answer.
    #[error("the store does not answer")]
    Unavailable(#[source] ServiceError),
}

/// Decides whether a request may be made; reads its body on the way.
///
/// # Errors
/// [`AuthorizeError`].
pub async fn authorize(
    shared: &Arc<Shared>,
    inbound: Inbound,
    caller: Caller,
    proving: Proving,
) -> Result<Permit, AuthorizeError> {
    let Inbound { head, body } = inbound;
    let live = &caller.live;
    let operation = &head.operation;
    if *operation == Operation::Never {
        return Err(AuthorizeError::NotSupported);
    }
    let access = operation.access(&head.method);
    live.check_use(head.client_ip, head.at, operation.endpoint(), access)?;
    if caller.token.as_deref().is_some_and(|t| !t.scopes.allows(operation.endpoint(), access)) {
        let wanted = Scopes::default().with(operation.endpoint(), access);
        return Err(AuthorizeError::Scope(wanted.words().join(" ")));
    }
    if *operation == Operation::Other {
        check_other(shared, &head.method, &caller)?;
    }
    if let Operation::RetrieveModel(model) = operation
        && !live.allows_model(model)
    {
        return Err(AuthorizeError::ModelHidden(model.clone()));
    }
    let payload = payload::read(shared, &head, live, (body, proving)).await?;
    let destination = tenancy::check(shared, &head, &caller, &payload).await?;
    Ok(Permit { head, caller, payload, destination })
}

/// A route that is not known passes only on a credential that serves this workspace alone; the simulator
/// answers whatever it is asked.
fn check_other(shared: &Shared, method: &Method, caller: &Caller) -> Result<(), AuthorizeError> {
    let key = &caller.live.grant.key;
    let looks = Operation::Other.access(method) == Access::Read;
    if !looks && caller.live.limits_models() {
        return Err(AuthorizeError::ModelsUnchecked);
    }
    let table = shared.services.routes.snapshot();
    let bound = table.for_workspace(&key.workspace).any(|e| e.credential.workspace.is_some());
    if bound || key.class == KeyClass::Test { Ok(()) } else { Err(AuthorizeError::NotSupported) }
}

/// Whether the body has a content coding.
pub fn is_encoded(head: &Head) -> bool {
    head.headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl Permit {
    /// The model that is asked for.
    #[must_use]
    pub fn model(&self) -> Option<&Arc<str>> {
        match &self.payload {
            Payload::Message { facts, .. } => Some(&facts.model),
            Payload::None | Payload::Batch { .. } | Payload::Held { .. } | Payload::Streamed { .. } => None,
        }
    }

    /// Whether the answer may hold ids that code execution mints.
    #[must_use]
    pub const fn may_mint(&self) -> bool {
        match &self.payload {
            Payload::Message { facts, .. } => facts.may_mint,
            Payload::None | Payload::Batch { .. } | Payload::Held { .. } | Payload::Streamed { .. } => false,
        }
    }

    /// Whether an event stream is asked for.
    #[must_use]
    pub const fn wants_stream(&self) -> bool {
        match &self.payload {
            Payload::Message { facts, .. } => facts.stream,
            Payload::None | Payload::Batch { .. } | Payload::Held { .. } | Payload::Streamed { .. } => false,
        }
    }
}

impl From<AuthorizeError> for Refusal {
    fn from(error: AuthorizeError) -> Self {
        let text = error.to_string();
        match error {
            AuthorizeError::Forbidden(Forbidden::Address(_)) => {
                Self::new(Answer::AddressRefused, "address", text)
            }
            AuthorizeError::Forbidden(Forbidden::Hours) => Self::new(Answer::PermissionDenied, "hours", text),
            AuthorizeError::Forbidden(Forbidden::Endpoint(..)) => {
                Self::new(Answer::PermissionDenied, "endpoint", text)
            }
            AuthorizeError::Scope(_) => Self {
                error_code: Some("scope_exceeded"),
                challenge: Some("Bearer error=\"insufficient_scope\""),
                ..Self::new(Answer::PermissionDenied, "scope_exceeded", text)
            },
            AuthorizeError::NotSupported => Self::new(Answer::NotSupported, "not_supported", text),
            AuthorizeError::ModelsUnchecked => Self::new(Answer::NotSupported, "models_unchecked", text),
            AuthorizeError::Model(_) => Self::new(Answer::ModelRefused, "model", text),
            AuthorizeError::Encoded => {
                let refusal = Self::new(Answer::EncodingUnsupported, "body_encoded", text);
                Self { error_code: Some(ENCODING_UNSUPPORTED), ..refusal }
            }
            AuthorizeError::Body(error) => (&error).into(),
            AuthorizeError::Unproven(error) => error.into(),
            AuthorizeError::Malformed(_) | AuthorizeError::Batch(_) => {
                Self::new(Answer::InvalidRequest, "body_malformed", text)
            }
            AuthorizeError::ModelHidden(_) => Self::new(Answer::NotFound, "model_hidden", text),
            AuthorizeError::NotFound { .. } => Self::new(Answer::NotFound, "not_found", text),
            AuthorizeError::Scattered => Self::new(Answer::InvalidRequest, "scattered", text),
            AuthorizeError::Unavailable(_) => Self::new(Answer::Unavailable, "resources_unavailable", text),
        }
    }
}

impl From<&BodyError> for Refusal {
    fn from(error: &BodyError) -> Self {
        let text = error.to_string();
        match error {
            BodyError::TooLarge { .. } => {
                Self { close: true, ..Self::new(Answer::BodyTooLarge, "body_too_large", text) }
            }
            BodyError::NoMemory => Self { close: true, ..Self::new(Answer::Overloaded, "body_memory", text) },
            BodyError::TooSlow => {
                Self { close: true, ..Self::new(Answer::RequestTimeout, "body_slow", text) }
            }
            BodyError::Broken(_) => {
                Self { close: true, ..Self::new(Answer::InvalidRequest, "body_broken", text) }
            }
            BodyError::Unproven(error) => Self { close: true, ..error.clone().into() },
            BodyError::Spool(_) => Self { close: true, ..Self::new(Answer::Unavailable, "spool", text) },
        }
    }
}
