//! Signed webhooks: one POST a try, no redirects, no cookies, the same `webhook-id` at every try.

use std::sync::Arc;

use bytes::Bytes;
use claviger_domain::{
    notice::{channel::WebhookTarget, delivery::DeliveryError, endpoint::Endpoint},
    ports::notices::Letter,
    secret::SecretBytes,
};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use crate::{
    dial::{Dialler, Lookup},
    signature,
};

/// Delivers to webhooks.
pub(crate) struct Webhook {
    dialler: Dialler,
}

impl Webhook {
    pub fn new(lookup: Arc<dyn Lookup>, tls: Arc<ClientConfig>) -> Self {
        Self { dialler: Dialler::new(lookup, tls) }
    }

    pub async fn send(
        &self,
        target: &WebhookTarget,
        secret: Option<&SecretBytes>,
        letter: &Letter,
    ) -> Result<(), DeliveryError> {
        let endpoint = Endpoint::parse(&target.url, target.allow_private)
            .map_err(|error| DeliveryError::Permanent(error.to_string()))?;
        let secret =
            secret.ok_or_else(|| DeliveryError::Permanent("the channel has no secret".to_owned()))?;
        let request = request(&endpoint, secret, letter)?;
        let stream = self.dialler.dial(&endpoint).await?;
        let broken = |error: hyper::Error| DeliveryError::Transient(format!("the connection broke: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Both ends in one task: when the answer's head is there, the rest of the connection is dropped.
        let answer = sender.send_request(request);
        tokio::pin!(connection, answer);
        let mut open = true;
        let status = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer.map_err(broken)?.status(),
                _ = &mut connection, if open => open = false,
            }
        };
        judge(status)
    }
}

fn request(
    endpoint: &Endpoint,
    secret: &SecretBytes,
    letter: &Letter,
) -> Result<Request<Full<Bytes>>, DeliveryError> {
    let body = letter.message.payload.to_string();
    let (id, at) = (letter.id.as_str(), letter.at.as_secs());
    let request = Request::post(endpoint.path.as_str())
        .header(header::HOST, endpoint.authority.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "claviger")
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature::sign(secret, id, at, body.as_bytes()))
        .body(Full::new(Bytes::from(body)));
    request.map_err(|_| DeliveryError::Permanent("the address makes no valid request".to_owned()))
}

/// 2xx: taken. A redirect would lead elsewhere than the operator typed; 410 says that nobody is there any more. All
/// else may be mended on the other side while we try again.
fn judge(status: StatusCode) -> Result<(), DeliveryError> {
    if status.is_success() {
        return Ok(());
    }
    let said = format!("answered {}", status.as_u16());
    if status.is_redirection() {
        return Err(DeliveryError::Permanent(format!("{said}: redirects are not followed")));
    }
    if status == StatusCode::GONE {
        Err(DeliveryError::Permanent(said))
    } else {
        Err(DeliveryError::Transient(said))
    }
}
