//! Who answers test keys. The simulator is wired in from outside; the gateway knows only this.

use std::pin::Pin;

use bytes::Bytes;
use claviger_domain::id::WorkspaceId;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way to or from the simulator.
pub type SimulatedBody = UnsyncBoxBody<Bytes, BoxError>;

/// Answers requests of test keys as the Claude API would.
pub trait Simulate: Send + Sync + 'static {
    /// Answers one request. What a workspace makes (batches, files) is visible to it alone.
    fn answer(
        &self,
        workspace: &WorkspaceId,
        request: Request<SimulatedBody>,
    ) -> Pin<Box<dyn Future<Output = Response<SimulatedBody>> + Send>>;
}
