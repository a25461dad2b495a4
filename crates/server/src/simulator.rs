//! Test keys are answered here: the simulated Claude API, one simulated account a workspace.

use std::{future::Future, pin::Pin, sync::Arc};

use claviger_claude_sim::{SimConfig, Simulator, WallClock};
use claviger_domain::{clock::Clock, id::WorkspaceId};
use claviger_gateway::{Simulate, SimulatedBody};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::BodyExt;

/// The simulator behind the gateway's port.
pub struct TestKeys(Simulator);

impl TestKeys {
    /// A simulator that tells its readers that nothing costs money.
    ///
    /// # Errors
    /// Never with this configuration: it opens no file.
    pub fn new(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let wall = WallClock::new(move || u64::try_from(clock.now().as_micros() / 1_000).unwrap_or(0));
        Ok(Self(Simulator::new(SimConfig::for_test_keys(wall))?))
    }
}

impl Simulate for TestKeys {
    fn answer(
        &self,
        workspace: &WorkspaceId,
        mut request: Request<SimulatedBody>,
    ) -> Pin<Box<dyn Future<Output = Response<SimulatedBody>> + Send>> {
        // The simulator keeps accounts apart by key: here the workspace is the account.
        request.headers_mut().remove(AUTHORIZATION);
        if let Ok(account) = HeaderValue::from_str(workspace.as_str()) {
            request.headers_mut().insert("x-api-key", account);
        }
        let simulator = self.0.clone();
        Box::pin(async move {
            let answer = simulator.handle(request).await;
            answer.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    }
}
