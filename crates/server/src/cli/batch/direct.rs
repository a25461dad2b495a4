//! Requests one by one, so many at once.

use std::{cell::RefCell, collections::VecDeque, time::Duration};

use claviger_claude_wire::price::{CallKind, PriceTable};
use claviger_domain::clock::Clock;
use futures_util::future::join_all;
use http::{Method, header};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::time::{Instant, timeout};

use super::{
    Going,
    input::Item,
    pace::Stop,
    record::{self, Attempt, Attempts, Ended, Record},
    verdict::{Verdict, backoff, judge, said},
};
use crate::{
    cli::transport::{
        Answer, NoAnswer,
        kept::{Kept, Route},
    },
    clock::SystemClock,
    entropy::SystemEntropy,
};

/// How requests are tried.
#[derive(Debug, Clone, Copy)]
pub struct Trying {
    /// Tries of one request.
    pub tries: u32,
    /// The longest that one try takes.
    pub timeout: Duration,
    /// The longest wait for a ceiling to lift; without it the run ends there.
    pub wait: Option<Duration>,
}

/// A run of single calls.
pub struct Direct<'a> {
    going: &'a Going<'a>,
    trying: Trying,
    route: Route,
    todo: RefCell<VecDeque<usize>>,
    prices: PriceTable,
    chance: SystemEntropy,
}

/// What one try brought.
enum Tried {
    Heard(Answer),
    /// Nothing was sent.
    Unsent(String),
    /// It may have been done.
    Lost(String),
    /// It cannot be tried.
    Wrong(String),
}

/// One request on its way.
struct Way<'i> {
    index: usize,
    item: &'i Item,
    attempts: Attempts,
    /// Tries that failed.
    failed: u32,
    /// Connections in a row that were not made.
    unsent: u32,
}

impl<'a> Direct<'a> {
    /// What is left to do, by these rules.
    pub fn new(going: &'a Going<'a>, trying: Trying, route: Route) -> Self {
        Self {
            going,
            trying,
            route,
            todo: RefCell::new(going.board.left().into()),
            prices: PriceTable::builtin(),
            chance: SystemEntropy::default(),
        }
    }

    /// Works until everything is answered, or the run is stopped.
    pub async fn run(&self, workers: usize) {
        join_all((0..workers).map(|_| self.work())).await;
    }

    async fn work(&self) {
        let mut wire = Kept::along(self.route.clone());
        loop {
            let next = self.todo.borrow_mut().pop_front();
            let Some((index, item)) =
                next.and_then(|index| Some((index, self.going.input.items.get(index)?)))
            else {
                return;
            };
            self.see_through(
                Way { index, item, attempts: Attempts::default(), failed: 0, unsent: 0 },
                &mut wire,
            )
            .await;
            if self.going.pace.is_stopped() {
                return;
            }
        }
    }

    /// Tries a request until it is answered for good.
    async fn see_through(&self, mut way: Way<'_>, wire: &mut Kept) {
        while let Some(permit) = self.going.pace.enter().await {
            let body = match self.going.input.body(way.item) {
                Ok(body) => body,
                Err(error) => return self.going.pace.stop(Stop::Failed(error.to_string())),
            };
            let tried = self.try_once(&mut way, wire, body).await;
            drop(permit);
            let (ended, result, cost) = match tried {
                Tried::Heard(answer) => {
                    self.going.pace.heard();
                    match self.hear(&mut way, &answer).await {
                        Some(end) => end,
                        None => continue,
                    }
                }
                Tried::Unsent(why) => {
                    self.unsent(&mut way, why).await;
                    continue;
                }
                Tried::Lost(why) => match self.again(&mut way, None).await {
                    true => continue,
                    false => (Ended::Errored, record::errored(&[], &why), 0),
                },
                Tried::Wrong(why) => return self.going.pace.stop(Stop::Failed(why)),
            };
            return self.keep(&way, ended, result, cost).await;
        }
    }

    async fn try_once(&self, way: &mut Way<'_>, wire: &mut Kept, body: Vec<u8>) -> Tried {
        let number = way.attempts.count() + 1;
        let id = format!("batch-{}-{}-{}-{number}", self.going.run, way.item.line, self.going.life);
        let request = match self.going.gateway.api(Method::POST, "/v1/messages", &body) {
            Ok(request) => request,
            Err(error) => return Tried::Wrong(error.message),
        };
        let mut request = request.header("x-request-id", &id);
        if let Some(betas) = self.going.betas {
            request = request.header("anthropic-beta", betas);
        }
        let request =
            match request.header(header::ACCEPT, "application/json").body(Full::new(Bytes::from(body))) {
                Ok(request) => request,
                Err(error) => return Tried::Wrong(error.to_string()),
            };
        let (at, begun) = (SystemClock.now(), Instant::now());
        let tried = match timeout(self.trying.timeout, wire.ask(request)).await {
            Ok(Ok(answer)) => Tried::Heard(answer),
            Ok(Err(NoAnswer::Unreachable(why))) => return Tried::Unsent(why),
            Ok(Err(NoAnswer::Broke(why))) => Tried::Lost(format!("the connection broke: {why}")),
            Ok(Err(NoAnswer::Wrong(error))) => return Tried::Wrong(error.message),
            Err(_) => Tried::Lost("no answer in time".to_owned()),
        };
        self.going.board.calls.update(|calls| calls + 1);
        let heard = if let Tried::Heard(answer) = &tried { Some(answer) } else { None };
        let reason = match &tried {
            Tried::Heard(answer) if answer.status.is_success() => None,
            Tried::Heard(answer) => Some(said(answer)),
            Tried::Unsent(why) | Tried::Lost(why) | Tried::Wrong(why) => Some(why.clone()),
        };
        way.attempts.add(Attempt {
            id,
            at: at.to_rfc3339(),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: heard.map(|answer| answer.status.as_u16()),
            request_id: heard.and_then(|answer| {
                answer.headers.get("request-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
            }),
            reason,
        });
        tried
    }

    /// What an answer brings: the end, or nothing yet.
    async fn hear(&self, way: &mut Way<'_>, answer: &Answer) -> Option<(Ended, String, i128)> {
        let pace = self.going.pace;
        let failed = || (Ended::Errored, record::errored(&answer.body, &said(answer)), 0);
        match judge(answer) {
            Verdict::Answered => match record::succeeded(&answer.body) {
                Some(result) => Some((Ended::Succeeded, result, self.cost(answer))),
                None if self.again(way, None).await => None,
                None => Some((Ended::Errored, record::errored(&[], "the answer is not the API's"), 0)),
            },
            Verdict::Failed => Some(failed()),
            Verdict::Again(wait) => {
                if self.again(way, wait).await {
                    None
                } else {
                    Some(failed())
                }
            }
            Verdict::Slow(wait) => {
                let wait = wait.unwrap_or_else(|| backoff(1, &self.chance));
                if !pace.pause(wait) {
                    pace.stop(Stop::Ceiling { message: said(answer), lifts_in: Some(wait) });
                }
                None
            }
            Verdict::Ceiling(wait) => {
                self.ceiling(answer, wait);
                None
            }
            Verdict::Closed => {
                pace.stop(Stop::Closed(said(answer)));
                None
            }
        }
    }

    /// A ceiling ends the run, unless calls in flight hold back what is missing, or it lifts soon enough.
    fn ceiling(&self, answer: &Answer, lifts_in: Option<Duration>) {
        let pace = self.going.pace;
        if pace.narrow() {
            return;
        }
        match (lifts_in, self.trying.wait) {
            (Some(lifts_in), Some(most)) if lifts_in <= most => {
                pace.pause(lifts_in);
            }
            (_, _) => pace.stop(Stop::Ceiling { message: said(answer), lifts_in }),
        }
    }

    /// Waits before another try, if there is to be one.
    async fn again(&self, way: &mut Way<'_>, wait: Option<Duration>) -> bool {
        way.failed += 1;
        if way.failed >= self.trying.tries {
            return false;
        }
        self.going.pace.wait(wait.unwrap_or_else(|| backoff(way.failed, &self.chance))).await;
        true
    }

    async fn unsent(&self, way: &mut Way<'_>, why: String) {
        self.going.pace.unheard(why);
        way.unsent += 1;
        self.going.pace.wait(backoff(way.unsent.min(4), &self.chance)).await;
    }

    /// By the list; what the simulator and the cache answered cost nothing.
    fn cost(&self, answer: &Answer) -> i128 {
        let says = |name: &str, word: &str| answer.headers.get(name).is_some_and(|value| value == word);
        if says("x-claviger-simulated", "true") || says("x-claviger-cache", "hit") {
            return 0;
        }
        record::cost(&self.prices, &answer.body, CallKind::Single, SystemClock.now())
    }

    /// Writes the end down; nothing takes its place before it is on disk.
    async fn keep(&self, way: &Way<'_>, ended: Ended, result: String, cost: i128) {
        let request = way.item.fingerprint.hex();
        let how = record::how(&way.attempts);
        let record = Record { custom_id: &way.item.custom_id, request: &request, result, cost, how };
        match self.going.journal.append(record.line()).await {
            Ok(place) => {
                self.going.board.set(way.index, ended, cost, place);
                self.going.pace.answered();
            }
            Err(error) => self.going.pace.stop(Stop::Failed(error.to_string())),
        }
    }
}
