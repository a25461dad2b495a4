//! Directives of one request: where they are found, and the faults that come before any answer.

use http::StatusCode;

use super::Call;
use crate::auth;
use crate::directive::{DirectiveError, phrases};
use crate::error::{ApiError, Hints, kind_of};
use crate::request::{MessagesRequest, Prompt};
use crate::simulator::series_token;

impl Call {
    pub(super) fn steer_by_head(&mut self) -> Result<(), ApiError> {
        let key = auth::presented(&self.head.headers);
        self.core.standing.apply(key, &mut self.steer).map_err(refuse)?;
        for value in self.head.headers.get_all("x-sim-fault") {
            self.steer.add(value.to_str().unwrap_or("not-ascii")).map_err(refuse)?;
        }
        Ok(())
    }

    pub(super) fn steer_by_body(
        &mut self,
        request: &MessagesRequest<'_>,
        prompt: &Prompt,
        body: &[u8],
    ) -> Result<(), ApiError> {
        for list in lists_in(request, prompt, body) {
            self.steer.add(&list).map_err(refuse)?;
        }
        Ok(())
    }

    /// Waits, hangs up or refuses as told. `subject` is what makes a repeated request the same.
    pub(super) async fn obey(&mut self, path: &str, subject: &[u8]) -> Result<(), ApiError> {
        if let Some(line) = self.record.line.as_mut().filter(|_| !self.steer.given.is_empty()) {
            line.fault = Some(self.steer.given.clone());
        }
        if self.steer.trigger.counts() {
            let token = series_token(self.steer.trigger.token.as_deref(), path, subject);
            if !self.steer.trigger.holds(self.core.series.count(token)) {
                self.steer.disarm();
            }
        }
        let latency = self.steer.pace.latency.unwrap_or(self.core.config.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency.min(self.core.config.limits.wait)).await;
        }
        self.hangup = self.steer.refusal.hangup;
        let refusal = &self.steer.refusal;
        let Some(status) = refusal.status.and_then(|code| StatusCode::from_u16(code).ok()) else {
            return Ok(());
        };
        let message =
            refusal.message.clone().unwrap_or_else(|| format!("Simulated status {}", status.as_u16()));
        let hints = Hints {
            code: refusal.code.clone(),
            retry_after: refusal.retry_after.clone(),
            retry_after_ms: refusal.retry_after_ms,
            should_retry: refusal.should_retry,
            raw: refusal.raw.clone(),
        };
        let kind = refusal.kind.clone().map_or(kind_of(status).into(), Into::into);
        Err(ApiError { kind, ..ApiError::new(status, message).with(hints) })
    }
}

/// The directive lists in a body: `metadata.user_id`, then phrases in `system` and in the prompt.
pub(crate) fn lists_in(request: &MessagesRequest<'_>, prompt: &Prompt, body: &[u8]) -> Vec<String> {
    let mut lists = Vec::new();
    let user_id = request.metadata.as_ref().and_then(|metadata| metadata.user_id.as_deref());
    if let Some(list) = user_id.and_then(|id| id.strip_prefix("sim:")) {
        lists.push(list.to_owned());
    }
    if memchr::memmem::find(body, b"[[sim:").is_some() {
        for text in [user_id.unwrap_or(""), &request.system_text(), &prompt.text] {
            lists.extend(phrases(text).map(str::to_owned));
        }
    }
    lists
}

fn refuse(error: DirectiveError) -> ApiError {
    ApiError::invalid(error.to_string())
}
