//! A request's body in a form that can be signed, and if possible sent again.

use bytes::Bytes;
use claviger_domain::signature::sign::Content as Signed;
use http::Request;
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    body::{Body, Checked, ContentDigest},
    error::ClientError,
};

/// The body of one call.
pub(crate) enum Content {
    /// All of it, at hand.
    Whole(Bytes),
    /// A stream that can be sent once, and its announced digest.
    Announced(ContentDigest, Option<Body>),
    /// A stream that can be sent once and is not signed.
    Stream(Option<Body>),
}

impl Content {
    /// Takes a request's body. With `hold`, a stream without a digest is read whole, up to `most` bytes.
    pub(crate) async fn of(
        request: Request<Body>,
        most: usize,
        hold: bool,
    ) -> Result<(http::request::Parts, Self), ClientError> {
        let (parts, body) = request.into_parts();
        let size = body.size_hint().exact();
        if size == Some(0) {
            return Ok((parts, Self::Whole(Bytes::new())));
        }
        if let Some(announced) = parts.extensions.get::<ContentDigest>() {
            let content = Self::Announced(*announced, Some(Body::new(Checked::new(body, *announced))));
            return Ok((parts, content));
        }
        let at_hand = size.is_some_and(|size| usize::try_from(size).is_ok_and(|size| size <= most));
        if !hold && !at_hand {
            return Ok((parts, Self::Stream(Some(body))));
        }
        let read = Limited::new(body, most).collect().await;
        let whole = read.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => ClientError::BodyTooLarge(most),
            Err(error) => ClientError::Body(error),
        })?;
        Ok((parts, Self::Whole(whole.to_bytes())))
    }

    /// Whether it can be sent a second time.
    pub(crate) const fn is_repeatable(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The bytes, where they are at hand.
    pub(crate) const fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Announced(..) | Self::Stream(_) => None,
        }
    }

    /// What is signed; `None` for a stream of which nothing is known.
    pub(crate) fn signed(&self) -> Option<Signed<'_>> {
        match self {
            Self::Whole(bytes) => Some(Signed::Whole(bytes)),
            Self::Announced(digest, _) => Some(Signed::Hashed(&digest.0)),
            Self::Stream(_) => None,
        }
    }

    /// The body to send now. A stream gives itself once; what cannot be repeated is never asked for again.
    pub(crate) fn attach(&mut self) -> Body {
        match self {
            Self::Whole(bytes) => Body::whole(bytes.clone()),
            Self::Announced(_, body) | Self::Stream(body) => body.take().unwrap_or_default(),
        }
    }
}
