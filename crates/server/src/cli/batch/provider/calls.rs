//! Calls to the provider's batch API that come to an answer, or end the run.

use std::{io::Write, time::Duration};

use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::time::timeout;

use super::{
    super::{
        pace::Stop,
        verdict::{Verdict, backoff, judge, said},
    },
    Provider,
};
use crate::cli::transport::{Answer, NoAnswer, kept::Kept};

/// Tries of a call that fails again and again.
const TRIES: u32 = 8;

impl Provider<'_> {
    /// Asks until there is an answer that is good, or final; `None`: the run ends.
    pub(super) async fn get(&self, path: &str) -> Option<Answer> {
        self.get_to(path, &mut Vec::new).await.map(|(answer, body)| Answer { body, ..answer })
    }

    /// The same; the body goes to what `begin` makes, each time anew, and is what comes back.
    pub(super) async fn get_to<W: Write + Spool>(
        &self,
        path: &str,
        begin: &mut impl FnMut() -> W,
    ) -> Option<(Answer, W)> {
        let mut failed = 0;
        loop {
            let mut to = begin();
            let heard = self.once_to((Method::GET, path, Bytes::new()), &mut to).await?;
            let verdict = match &heard {
                Ok(answer) => judge(&Answer {
                    body: to.beginning(),
                    status: answer.status,
                    headers: answer.headers.clone(),
                }),
                Err(_) => Verdict::Again(None),
            };
            let answer = heard.unwrap_or_else(|why| Answer {
                status: StatusCode::BAD_GATEWAY,
                headers: http::HeaderMap::new(),
                body: why.into_bytes(),
            });
            match verdict {
                Verdict::Answered | Verdict::Failed => return Some((answer, to)),
                Verdict::Again(wait) | Verdict::Slow(wait) => {
                    failed += 1;
                    if !self.retry(failed, wait, &answer).await {
                        return None;
                    }
                }
                Verdict::Ceiling(lifts_in) => {
                    let message = said(&Answer { body: to.beginning(), ..answer });
                    self.going.pace.stop(Stop::Ceiling { message, lifts_in });
                    return None;
                }
                Verdict::Closed => {
                    self.going.pace.stop(Stop::Closed(said(&Answer { body: to.beginning(), ..answer })));
                    return None;
                }
            }
        }
    }

    /// Waits before another try; `false`: there is none, and the run ends.
    pub(super) async fn retry(&self, failed: u32, wait: Option<Duration>, answer: &Answer) -> bool {
        if failed >= TRIES {
            self.going.pace.stop(Stop::Failed(said(answer)));
            return false;
        }
        self.going.pace.wait(wait.unwrap_or_else(|| backoff(failed, &self.chance))).await;
        !self.going.pace.is_stopped()
    }

    /// One call. `Err`: it was sent, and its answer was lost. `None`: the run ends.
    pub(super) async fn once(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Option<Result<Answer, String>> {
        let mut to = Vec::new();
        let heard = self.once_to((method, path, body), &mut to).await?;
        Some(heard.map(|answer| Answer { body: to, ..answer }))
    }

    async fn once_to(
        &self,
        (method, path, body): (Method, &str, Bytes),
        to: &mut impl Write,
    ) -> Option<Result<Answer, String>> {
        let pace = self.going.pace;
        let mut unsent = 0;
        loop {
            let mut request = self.going.gateway.api(method.clone(), path, &body).ok()?;
            if let Some(betas) = self.going.betas {
                request = request.header("anthropic-beta", betas);
            }
            let request = request.body(Full::new(body.clone())).ok()?;
            let permit = pace.enter().await?;
            let mut wire = self.wire.borrow_mut().take().unwrap_or_else(|| Kept::along(self.route.clone()));
            let heard = timeout(self.given.timeout, wire.fetch(request, to)).await;
            drop(permit);
            match heard {
                Ok(Ok((status, headers))) => {
                    pace.heard();
                    *self.wire.borrow_mut() = Some(wire);
                    return Some(Ok(Answer { status, headers, body: Vec::new() }));
                }
                Ok(Err(NoAnswer::Unreachable(why))) => {
                    pace.unheard(why);
                    unsent += 1;
                    pace.wait(backoff(unsent.min(4), &self.chance)).await;
                }
                Ok(Err(NoAnswer::Broke(why))) => return Some(Err(why)),
                Ok(Err(NoAnswer::Wrong(error))) => {
                    pace.stop(Stop::Failed(error.message));
                    return None;
                }
                Err(_) => return Some(Err("no answer in time".to_owned())),
            }
        }
    }
}

/// Where an answer's body goes.
pub(super) trait Spool {
    /// Its beginning: all of an error.
    fn beginning(&self) -> Vec<u8>;
}

impl Spool for Vec<u8> {
    fn beginning(&self) -> Vec<u8> {
        self.clone()
    }
}
