//! Requests in portions, through the provider's Message Batches.
//!
//! Before a portion is sent the journal says so, and says afterwards which batch it became. Of a portion whose answer was
//! lost nobody knows whether it became one: the list of batches is searched for it. Every request goes under an id of the
//! run's own, so that the results prove whose they are.

mod calls;
mod results;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    time::Duration,
};

use claviger_claude_wire::price::PriceTable;
use claviger_domain::clock::{Clock, MICROS_PER_SEC, Timestamp};
use http::{Method, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;

use super::{
    Going,
    journal::{Portion, Portions, State, portions},
    pace::Stop,
    progress::Progress,
    verdict::{Verdict, judge, said},
};
use crate::{
    cli::transport::kept::{Kept, Route},
    clock::SystemClock,
    entropy::SystemEntropy,
};

/// Bytes of one portion at most, unless a single request has more; the API takes four times as many.
const MAX_BYTES: usize = 64 << 20;
/// Batches on one page of the list.
const PAGE: usize = 100;
/// The provider's clock may be so far behind ours, in seconds.
const SKEW_SECS: i64 = 300;
/// Waits between looks at the list, before a portion counts as never taken: it may still be on its way.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// How soon the provider is asked at first, and how seldom at last.
const POLLS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// What was asked for.
#[derive(Debug)]
pub struct Given {
    /// Requests of a portion at most.
    pub portion: usize,
    /// How often to ask, if not ever more seldom.
    pub poll: Option<Duration>,
    /// The longest that one call takes.
    pub timeout: Duration,
    /// The longest wait for a ceiling to lift; without it the run ends there.
    pub wait: Option<Duration>,
    /// Where results are kept while they are read.
    pub spool: PathBuf,
}

/// A run through the provider's batches.
pub struct Provider<'a> {
    going: &'a Going<'a>,
    given: Given,
    wire: RefCell<Option<Kept>>,
    route: Route,
    portions: RefCell<Portions>,
    todo: RefCell<VecDeque<usize>>,
    /// Of each open portion how many requests are through, and how many there are.
    through: RefCell<BTreeMap<u32, (u64, u64)>>,
    progress: &'a Progress<'a>,
    prices: PriceTable,
    chance: SystemEntropy,
}

/// A batch, as the API shows it.
#[derive(Debug, Clone, Deserialize)]
struct Batch {
    id: String,
    processing_status: String,
    created_at: String,
    request_counts: Counts,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Counts {
    processing: u64,
    succeeded: u64,
    errored: u64,
    canceled: u64,
    expired: u64,
}

impl Counts {
    const fn through(self) -> u64 {
        self.succeeded + self.errored + self.canceled + self.expired
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Batch>,
    has_more: bool,
    last_id: Option<String>,
}

/// What came of sending a portion.
enum Sent {
    /// It is a batch now.
    Taken,
    /// A ceiling refused it.
    Ceiling(Stop, Option<Duration>),
    /// Nobody knows, or the run ends.
    Open,
}

impl<'a> Provider<'a> {
    /// What is left to do, with what was given away before.
    pub fn new(
        going: &'a Going<'a>,
        given: Given,
        route: Route,
        (portions, progress): (Portions, &'a Progress<'a>),
    ) -> Self {
        let away: std::collections::HashSet<usize> = portions
            .open()
            .flat_map(|portion| &portion.requests)
            .filter_map(|(custom_id, _)| going.board.unanswered(custom_id))
            .collect();
        let todo = going.board.left().into_iter().filter(|index| !away.contains(index)).collect();
        Self {
            going,
            given,
            wire: RefCell::new(None),
            route,
            portions: RefCell::new(portions),
            todo: RefCell::new(todo),
            through: RefCell::default(),
            progress,
            prices: PriceTable::builtin(),
            chance: SystemEntropy::default(),
        }
    }

    /// Works until everything is answered, or the run is stopped.
    pub async fn run(&self) {
        let pace = self.going.pace;
        let mut poll = POLLS.0;
        while !pace.is_stopped() {
            for portion in self.open() {
                if portion.state == State::Sent {
                    self.find(&portion).await;
                }
            }
            let held = self.send_all().await;
            let open = self.open();
            if open.is_empty() && !pace.is_stopped() {
                match held {
                    Some((stop, lifts_in)) => match (lifts_in, self.given.wait) {
                        (Some(lifts_in), Some(most)) if lifts_in <= most => pace.wait(lifts_in).await,
                        (_, _) => pace.stop(stop),
                    },
                    None if self.todo.borrow().is_empty() => return,
                    None => {}
                }
                continue;
            }
            let mut is_news = false;
            for portion in &open {
                is_news |= self.look(portion).await;
            }
            self.tell();
            if is_news {
                poll = POLLS.0;
            } else {
                pace.wait(self.given.poll.unwrap_or(poll)).await;
                poll = poll.mul_f64(1.5).min(POLLS.1);
            }
        }
        self.say_goodbye();
    }

    fn open(&self) -> Vec<Portion> {
        self.portions.borrow().open().cloned().collect()
    }

    /// Sends what is left, until there is nothing or a ceiling says no.
    async fn send_all(&self) -> Option<(Stop, Option<Duration>)> {
        while !self.going.pace.is_stopped() && !self.todo.borrow().is_empty() {
            let (portion, body) = match self.next_portion() {
                Ok(next) => next,
                Err(error) => {
                    self.going.pace.stop(Stop::Failed(error.to_string()));
                    return None;
                }
            };
            self.note(portions::sending(&portion)).await?;
            match self.send(&portion, Bytes::from(body)).await {
                Sent::Taken => self.tell(),
                Sent::Ceiling(stop, lifts_in) => return Some((stop, lifts_in)),
                Sent::Open => return None,
            }
        }
        None
    }

    /// The next requests of those that are left, and the body that asks for them.
    fn next_portion(&self) -> Result<(Portion, String), super::input::InputError> {
        let number = self.portions.borrow().next();
        let mut todo = self.todo.borrow_mut();
        let mut requests = Vec::new();
        let mut body = "{\"requests\":[".to_owned();
        while let Some(item) = todo.front().and_then(|index| self.going.input.items.get(*index)) {
            let is_full = requests.len() >= self.given.portion || body.len() + item.length > MAX_BYTES;
            if is_full && !requests.is_empty() {
                break;
            }
            let params = self.going.input.body(item)?;
            let comma = if requests.is_empty() { "" } else { "," };
            let id = self.wire_id(number, requests.len());
            let params = String::from_utf8_lossy(&params);
            body.push_str(&format!("{comma}{{\"custom_id\":\"{id}\",\"params\":{params}}}"));
            requests.push((item.custom_id.clone(), item.fingerprint.hex()));
            todo.pop_front();
        }
        body.push_str("]}");
        let begun = SystemClock.now();
        Ok((Portion { number, requests, begun, state: State::Sent }, body))
    }

    /// What a request is known by at the provider.
    fn wire_id(&self, portion: u32, index: usize) -> String {
        format!("{}-{portion}-{index}", self.going.run)
    }

    async fn send(&self, portion: &Portion, body: Bytes) -> Sent {
        let mut failed = 0;
        loop {
            let path = "/v1/messages/batches";
            let Some(heard) = self.once(Method::POST, path, body.clone()).await else { return Sent::Open };
            // Without an answer, or with one of somebody in between, it may have been taken.
            let Ok(answer) = heard else { return Sent::Open };
            self.going.board.calls.update(|calls| calls + 1);
            let not_taken = matches!(answer.status.as_u16(), 429 | 529);
            match judge(&answer) {
                Verdict::Answered => {
                    let Ok(batch) = serde_json::from_slice::<Batch>(&answer.body) else { return Sent::Open };
                    let _ = self.note(portions::created(portion.number, &batch.id, false)).await;
                    return Sent::Taken;
                }
                Verdict::Slow(wait) | Verdict::Again(wait) if not_taken => {
                    failed += 1;
                    if !self.retry(failed, wait, &answer).await {
                        self.give_back(portion).await;
                        return Sent::Open;
                    }
                }
                Verdict::Again(_) | Verdict::Slow(_) => return Sent::Open,
                Verdict::Ceiling(lifts_in) => {
                    self.give_back(portion).await;
                    return Sent::Ceiling(Stop::Ceiling { message: said(&answer), lifts_in }, lifts_in);
                }
                Verdict::Closed | Verdict::Failed => {
                    self.give_back(portion).await;
                    self.going.pace.stop(Stop::Closed(said(&answer)));
                    return Sent::Open;
                }
            }
        }
    }

    /// A portion was not taken: its requests are left again.
    async fn give_back(&self, portion: &Portion) {
        if self.note(portions::over(portion.number)).await.is_some() {
            let board = self.going.board;
            let indices = portion.requests.iter().filter_map(|(custom_id, _)| board.unanswered(custom_id));
            let mut todo = self.todo.borrow_mut();
            for index in indices.rev() {
                todo.push_front(index);
            }
        }
    }

    /// Looks for a portion of which nobody knows whether it was taken.
    async fn find(&self, portion: &Portion) {
        self.progress
            .note(&format!("portion {}: was it taken? Looking at the provider's list", portion.number));
        for wait in LOOKS {
            self.going.pace.wait(wait).await;
            let Some(candidates) = self.candidates(portion).await else { return };
            if let Some(batch) = candidates.last() {
                self.progress.note(&format!("portion {}: believed to be {}", portion.number, batch.id));
                let _ = self.note(portions::created(portion.number, &batch.id, true)).await;
                return;
            }
            if self.going.pace.is_stopped() {
                return;
            }
        }
        self.progress.note(&format!("portion {}: not taken", portion.number));
        self.give_back(portion).await;
    }

    /// Batches that may be this portion, newest first; `None`: the run ends.
    async fn candidates(&self, portion: &Portion) -> Option<Vec<Batch>> {
        let since = portion.begun.plus_micros(-SKEW_SECS * MICROS_PER_SEC);
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let answer = self.get(&format!("/v1/messages/batches?limit={PAGE}{after}")).await?;
            let Ok(page) = serde_json::from_slice::<Page>(&answer.body) else {
                self.going.pace.stop(Stop::Failed(format!("the list of batches: {}", said(&answer))));
                return None;
            };
            for batch in page.data {
                if Timestamp::parse_rfc3339(&batch.created_at).is_none_or(|created| created < since) {
                    return Some(found);
                }
                let is_as_large = batch.request_counts.through() + batch.request_counts.processing
                    == portion.requests.len() as u64;
                if is_as_large && !self.portions.borrow().knows(&batch.id) {
                    found.push(batch);
                }
            }
            match page.last_id.filter(|_| page.has_more) {
                Some(last) => after = format!("&after_id={last}"),
                None => return Some(found),
            }
        }
    }

    /// Asks how far a portion is, and fetches its results once they are there. Whether there was news.
    async fn look(&self, portion: &Portion) -> bool {
        let State::Created { batch, found } = &portion.state else { return false };
        let Some(answer) = self.get(&format!("/v1/messages/batches/{batch}")).await else { return false };
        if answer.status == StatusCode::NOT_FOUND {
            return self.lost(portion, &said(&answer)).await.is_some();
        }
        let Ok(seen) = serde_json::from_slice::<Batch>(&answer.body) else {
            self.going.pace.stop(Stop::Failed(format!("{batch}: {}", said(&answer))));
            return false;
        };
        let all = portion.requests.len() as u64;
        self.through.borrow_mut().insert(portion.number, (seen.request_counts.through(), all));
        seen.processing_status == "ended" && self.fetch(portion, batch, *found).await.is_some()
    }

    /// Writes down what is known of a portion; `None`: that failed, and the run ends.
    async fn note(&self, line: serde_json::Value) -> Option<()> {
        if let Err(error) = self.going.journal.note(&line).await {
            self.going.pace.stop(Stop::Failed(error.to_string()));
            return None;
        }
        self.portions.borrow_mut().learn(line)
    }

    fn tell(&self) {
        let open = self.open();
        let through = self.through.borrow();
        let seen = open.iter().filter_map(|portion| through.get(&portion.number));
        let (done, all) = seen.fold((0, 0), |(done, all), (d, a)| (done + d, all + a));
        self.progress.aside(format!("{} batches at the provider, {done} of {all} through", open.len()));
    }

    fn say_goodbye(&self) {
        let open = self.open().len();
        if open > 0 {
            self.progress
                .note(&format!("{open} batches go on at the provider: their results are fetched next time"));
        }
    }
}
