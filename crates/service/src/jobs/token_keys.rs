//! Signing keys of access tokens take the steps that are due; tokens whose time is over are forgotten.

use async_trait::async_trait;
use claviger_domain::schedule::Schedule;

use crate::{
    ServiceError,
    scheduler::{Job, Turn},
    tokens::Tokens,
};

/// How often it is looked, in seconds.
pub(crate) const EVERY_SECS: i64 = 300;

/// Tends signing keys.
pub(crate) struct TokenKeys {
    pub(crate) schedule: Schedule,
    pub(crate) tokens: Tokens,
}

#[async_trait]
impl Job for TokenKeys {
    fn name(&self) -> &'static str {
        "token_keys"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let steps = self.tokens.tend_keys(&[turn.hold()]).await?;
        let forgotten = self.tokens.forget().await?;
        Ok(format!("{} steps, {forgotten} rows forgotten", steps.len()))
    }
}
