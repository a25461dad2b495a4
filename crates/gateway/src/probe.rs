//! What the gateway answers by itself and to anybody: probes of clients, health for load balancers.

use bytes::Bytes;
use claviger_service::{Services, health::PartState};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::{path::Operation, reply::ReplyBody};

/// The answer to a probe; `None`: not a probe.
#[must_use]
pub fn answer(services: &Services, operation: &Operation) -> Option<Response<ReplyBody>> {
    match operation {
        Operation::Probe => Some(Response::new(ReplyBody::once(Bytes::new()))),
        Operation::Health => Some(json(StatusCode::OK, Bytes::from_static(b"{\"status\":\"ok\"}"))),
        Operation::Ready => Some(ready(services)),
        Operation::CreateMessage
        | Operation::CountTokens
        | Operation::CreateBatch
        | Operation::ListBatches
        | Operation::RetrieveBatch(_)
        | Operation::CancelBatch(_)
        | Operation::DeleteBatch(_)
        | Operation::BatchResults(_)
        | Operation::ListModels
        | Operation::RetrieveModel(_)
        | Operation::UploadFile
        | Operation::ListFiles
        | Operation::RetrieveFile(_)
        | Operation::DeleteFile(_)
        | Operation::FileContent(_)
        | Operation::Own(_)
        | Operation::Auth(_)
        | Operation::Other
        | Operation::Never => None,
    }
}

/// Names the parts that fail, and nothing more: anybody may ask.
fn ready(services: &Services) -> Response<ReplyBody> {
    let parts = services.health.parts();
    let failing: Vec<_> = parts.iter().filter(|p| p.state == PartState::Failing).map(|p| p.name).collect();
    let (status, word) = if failing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let body = serde_json::json!({ "status": word, "failing": failing });
    json(status, Bytes::from(body.to_string()))
}

fn json(status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut response = Response::new(ReplyBody::once(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
