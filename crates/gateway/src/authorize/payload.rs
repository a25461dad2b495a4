//! What a request carries, and what of it decides.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use claviger_claude_wire::{
    batch::{BatchError, BatchItem, BatchScanner},
    exposure::Exposure,
    head::{FieldError, MAX_REFERENCES, RequestHead},
    price::{Call, CallKind, Unbounded},
};
use claviger_service::grants::LiveGrant;
use http::{HeaderMap, header};
use http_body::Body;
use hyper::body::Incoming;

use super::{AuthorizeError, is_encoded};
use crate::{
    body::{
        BodyError, Pace, Whole, discard, next_data,
        outgoing::Outgoing,
        read_whole,
        spool::{Spool, SpoolWriter},
    },
    headers::is_chunked,
    path::Operation,
    prove::{
        ProveError, Proving,
        guard::{Guard, Outcome},
    },
    receive::Head,
    relay::minted::may_mint,
    worker::Shared,
};

/// A request's body.
#[derive(Debug)]
pub enum Payload {
    /// There is none.
    None,
    /// A messages or `count_tokens` body.
    Message {
        /// The body.
        body: Whole,
        /// What was read of it.
        facts: MessageFacts,
    },
    /// A batch.
    Batch {
        /// The body.
        spool: Spool,
        /// What was read of it.
        facts: BatchFacts,
    },
    /// Something signed that was read whole, so that it could be verified.
    Held {
        /// The body.
        body: Whole,
    },
    /// Passed on while it comes.
    Streamed {
        /// The body; gone once it was sent.
        body: Option<Incoming>,
        /// The largest that it may be.
        limit: u64,
        /// Goes with the body, if that is signed.
        guard: Option<Box<Guard>>,
        /// How that came out.
        outcome: Option<Outcome>,
    },
}

/// What was read of a messages body.
#[derive(Debug)]
pub struct MessageFacts {
    /// The model.
    pub model: Arc<str>,
    /// Models that may answer, and be billed, beside it: fallbacks, and those that tools ask.
    pub other_models: Vec<Box<str>>,
    /// Whether an event stream is asked for.
    pub stream: bool,
    /// The most output tokens.
    pub max_tokens: Option<u64>,
    /// Ids of files, containers, skills and threads that the body names.
    pub named: Vec<Named>,
    /// Whether the answer may hold ids that code execution mints.
    pub may_mint: bool,
    /// What the body holds beside text, once somebody has asked.
    exposure: OnceLock<Exposure>,
}

impl MessageFacts {
    /// What the body, which is that of these facts, holds beside text. It is read when it is first asked for. One that
    /// cannot be read is taken for all that it could hold.
    pub fn exposure(&self, body: &[u8]) -> &Exposure {
        let unread = |_| Exposure { overflows: true, whole_window: true, ..Exposure::default() };
        self.exposure.get_or_init(|| Exposure::read(body).unwrap_or_else(unread))
    }
}

/// What was read of a batch.
#[derive(Debug, Default)]
pub struct BatchFacts {
    /// How many requests it has.
    pub requests: u32,
    /// What its requests can cost at most, before the batch discount, in pico-dollars.
    pub worst_case_pico: i128,
    /// What they can cost at most under a hard budget, the discount taken off; or what has no bound.
    pub ceiling: Ceiling,
    /// Ids of files, containers, skills and threads that it names.
    pub named: Vec<Named>,
}

/// The most that something can cost, in pico-dollars, if it has a bound.
#[derive(Debug)]
pub struct Ceiling(pub Result<i128, Unbounded>);

impl Default for Ceiling {
    fn default() -> Self {
        Self(Ok(0))
    }
}

impl Ceiling {
    fn add(&mut self, more: Result<i128, Unbounded>) {
        if let Ok(sum) = &mut self.0 {
            match more {
                Ok(more) => *sum = sum.saturating_add(more),
                Err(unbounded) => self.0 = Err(unbounded),
            }
        }
    }
}

/// The words of `anthropic-beta`. What is no text is a word that nobody knows.
pub fn betas(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all("anthropic-beta").into_iter().map(|value| value.to_str().unwrap_or("?"));
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Something at the provider that a body names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// `File`, `Container`, `Skill`, `Thread`.
    pub kind: &'static str,
    /// Its id.
    pub id: Box<str>,
}

/// Reads what must be read of a body.
pub(super) async fn read(
    shared: &Arc<Shared>,
    head: &Head,
    live: &LiveGrant,
    (body, proving): (Incoming, Proving),
) -> Result<Payload, AuthorizeError> {
    let limits = shared.config().body;
    match head.operation {
        Operation::CreateMessage | Operation::CountTokens => {
            if is_encoded(head) {
                return Err(AuthorizeError::Encoded);
            }
            let announced = body.size_hint().exact();
            if let Some(length) = announced.filter(|length| *length > limits.messages) {
                // What was nearly small enough is read away, so that the client gets to see the answer; unless it
                // waits for a word before it sends anything.
                let waits = head.headers.contains_key(header::EXPECT);
                if !waits && length <= limits.messages.saturating_mul(2) {
                    discard(body, length).await;
                }
                return Err(BodyError::TooLarge { limit: limits.messages }.into());
            }
            let body = read_whole(body, limits.messages, &shared.budget, limits.pace).await?;
            proving.whole(shared, &body.bytes).await?;
            let facts = message_facts(&body.bytes, live)?;
            Ok(Payload::Message { body, facts })
        }
        Operation::CreateBatch => {
            if is_encoded(head) {
                return Err(AuthorizeError::Encoded);
            }
            let (spool, facts) = spool_batch(shared, head, live, (body, proving)).await?;
            Ok(Payload::Batch { spool, facts })
        }
        Operation::Probe
        | Operation::Health
        | Operation::Ready
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
        | Operation::Never => {
            let files = head.operation == Operation::UploadFile;
            let limit = if files { limits.files } else { limits.messages };
            if body.size_hint().exact().is_some_and(|length| length > limit) {
                return Err(BodyError::TooLarge { limit }.into());
            }
            let empty = body.is_end_stream() && !is_chunked(&head.headers);
            if empty {
                proving.finish(shared).await?;
                return Ok(Payload::None);
            }
            stream(shared, (body, limit), proving, files).await
        }
    }
}

/// A body that is passed on while it comes. Of what is signed only files are: for anything else it must be known
/// that it may be done at all before the upstream hears of it.
async fn stream(
    shared: &Arc<Shared>,
    (body, limit): (Incoming, u64),
    proving: Proving,
    files: bool,
) -> Result<Payload, AuthorizeError> {
    if !proving.is_needed() {
        return Ok(Payload::Streamed { body: Some(body), limit, guard: None, outcome: None });
    }
    if files {
        let outcome = Outcome::default();
        let guard = Some(Box::new(Guard::new(Arc::clone(shared), proving, outcome.clone())));
        return Ok(Payload::Streamed { body: Some(body), limit, guard, outcome: Some(outcome) });
    }
    let body = read_whole(body, limit, &shared.budget, shared.config().body.pace).await?;
    proving.whole(shared, &body.bytes).await?;
    Ok(Payload::Held { body })
}

fn message_facts(body: &Bytes, live: &LiveGrant) -> Result<MessageFacts, AuthorizeError> {
    let head = RequestHead::read(body)?;
    check_models(live, &head.model, head.other_models.iter().map(|m| &**m))?;
    let mut named = Vec::new();
    name_all(&mut named, "File", head.file_ids.iter().map(|id| &**id));
    name_all(&mut named, "Container", head.container_ids.iter().map(|id| &**id));
    name_all(&mut named, "Skill", head.skill_ids.iter().map(|id| &**id));
    name_all(&mut named, "Thread", head.thread_ids.iter().map(|id| &**id));
    named.sort_unstable();
    named.dedup();
    Ok(MessageFacts {
        model: Arc::from(&*head.model),
        other_models: head.other_models.iter().map(|m| Box::from(&**m)).collect(),
        stream: head.stream,
        max_tokens: head.max_tokens,
        named,
        may_mint: may_mint(body),
        exposure: OnceLock::new(),
    })
}

fn check_models<'a>(
    live: &LiveGrant,
    model: &'a str,
    others: impl Iterator<Item = &'a str>,
) -> Result<(), AuthorizeError> {
    let refused = std::iter::once(model).chain(others).find(|m| !live.allows_model(m));
    refused.map_or(Ok(()), |model| Err(AuthorizeError::Model(model.into())))
}

/// Notes ids down. Skills of the provider's own (`xlsx`, `pdf` …) are nobody's.
fn name_all<'a>(named: &mut Vec<Named>, kind: &'static str, ids: impl Iterator<Item = &'a str>) {
    let ours = |id: &&str| kind != "Skill" || id.starts_with("skill_");
    named.extend(ids.filter(ours).map(|id| Named { kind, id: id.into() }));
}

/// Each name once. As many as one message may name may all requests of a batch name together: what is kept of them,
/// and how often the store is asked, is bounded.
fn few_names(named: &mut Vec<Named>) -> Result<(), BatchError> {
    named.sort_unstable();
    named.dedup();
    if named.len() > MAX_REFERENCES {
        return Err(BatchError::Body(FieldError::TooManyReferences.into()));
    }
    Ok(())
}

/// Reads a batch in one pass: each request is checked as it passes, the bytes go to a file.
async fn spool_batch(
    shared: &Shared,
    head: &Head,
    live: &LiveGrant,
    (mut body, mut proving): (Incoming, Proving),
) -> Result<(Spool, BatchFacts), AuthorizeError> {
    let limits = shared.config().body;
    let too_large = || BodyError::TooLarge { limit: limits.batches };
    if body.size_hint().exact().is_some_and(|length| length > limits.batches) {
        return Err(too_large().into());
    }
    let folder = shared.config().spool_dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut spool = SpoolWriter::open(&folder, &*shared.entropy).await.map_err(BodyError::Spool)?;
    let mut scanner = BatchScanner::new();
    let mut facts = BatchFacts::default();
    let mut refused = None;
    let (mut length, mut pace) = (0_u64, Pace::new(limits.pace));
    let prices = shared.prices.load();
    let at = head.at.as_micros();
    while let Some(data) = next_data(&mut body, &mut pace).await? {
        length += data.len() as u64;
        if length > limits.batches {
            return Err(too_large().into());
        }
        proving.update(&data);
        scanner.feed(&data, &mut |item: BatchItem| {
            let checked = check_models(live, &item.model, item.other_models.iter().map(|m| &**m));
            refused = refused.take().or_else(|| checked.err());
            let models = std::iter::once(&item.model).chain(&item.other_models).map(|m| &**m);
            let worst = prices.dearest_case(models, item.params_len, item.max_tokens, at);
            facts.worst_case_pico = facts.worst_case_pico.saturating_add(worst);
            let call = Call {
                model: &item.model,
                body_len: item.params_len,
                max_tokens: item.max_tokens,
                exposure: &item.exposure,
                kind: CallKind::Batch,
            };
            facts.ceiling.add(prices.ceiling(&call, betas(&head.headers), at));
            name_all(&mut facts.named, "File", item.file_ids.iter().map(|id| &**id));
            name_all(&mut facts.named, "Container", item.container_ids.iter().map(|id| &**id));
            name_all(&mut facts.named, "Skill", item.skill_ids.iter().map(|id| &**id));
            name_all(&mut facts.named, "Thread", item.thread_ids.iter().map(|id| &**id));
        })?;
        if let Some(refused) = refused.take() {
            return Err(refused);
        }
        if facts.named.len() > 2 * MAX_REFERENCES {
            few_names(&mut facts.named)?;
        }
        spool.write(&data).await.map_err(BodyError::Spool)?;
    }
    proving.finish(shared).await?;
    facts.requests = scanner.finish()?;
    few_names(&mut facts.named)?;
    let spool = spool.finish().await.map_err(BodyError::Spool)?;
    Ok((spool, facts))
}

impl Payload {
    /// The body for one attempt; `None` when it cannot be sent again.
    pub fn outgoing(&mut self, shared: &Shared, chunked: bool) -> Option<Outgoing> {
        match self {
            Self::None => Some(Outgoing::Empty),
            Self::Message { body, .. } | Self::Held { body } => {
                Some(Outgoing::whole(body.bytes.clone(), chunked))
            }
            Self::Batch { spool, .. } => Some(Outgoing::Spooled { reader: spool.reader(), chunked }),
            Self::Streamed { body, limit, guard, .. } => {
                let pace = shared.config().body.pace;
                body.take().map(|body| Outgoing::streamed(body, *limit, pace, guard.take()))
            }
        }
    }

    /// Whether the body can be sent once more.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Streamed { body: None, .. })
    }

    /// Whether everything that was signed was seen, and held. An answer that says that something was done must not
    /// be believed before.
    ///
    /// # Errors
    /// What it failed by.
    pub fn proved(&self) -> Result<(), ProveError> {
        match self {
            Self::Streamed { outcome: Some(outcome), .. } => outcome.check(),
            Self::None
            | Self::Message { .. }
            | Self::Batch { .. }
            | Self::Held { .. }
            | Self::Streamed { outcome: None, .. } => Ok(()),
        }
    }

    /// A body of which nothing was sent comes back.
    pub fn take_back(&mut self, unsent: Outgoing) {
        if let (
            Self::Streamed { body, guard, .. },
            Outgoing::Streamed { body: untouched, guard: unused, .. },
        ) = (self, unsent)
        {
            *body = Some(untouched);
            *guard = unused;
        }
    }

    /// The body's length, as far as it is known before it is sent.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match self {
            Self::None | Self::Streamed { .. } => 0,
            Self::Message { body, .. } | Self::Held { body } => body.bytes.len() as u64,
            Self::Batch { spool, .. } => spool.length(),
        }
    }

    /// What it names at the provider.
    #[must_use]
    pub fn named(&self) -> &[Named] {
        match self {
            Self::None | Self::Held { .. } | Self::Streamed { .. } => &[],
            Self::Message { facts, .. } => &facts.named,
            Self::Batch { facts, .. } => &facts.named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(ids: impl Iterator<Item = usize>) -> Vec<Named> {
        ids.map(|n| Named { kind: "File", id: format!("file_{n}").into() }).collect()
    }

    #[test]
    fn what_a_body_holds_is_read_once_and_taken_for_the_most_where_it_cannot_be() {
        let facts = || MessageFacts {
            model: "claude-opus-5-5".into(),
            other_models: Vec::new(),
            stream: false,
            max_tokens: Some(1),
            named: Vec::new(),
            may_mint: false,
            exposure: OnceLock::new(),
        };
        let read = facts();
        let body = br#"{"messages":[],"fallbacks":"default"}"#;
        assert_eq!(read.exposure(body).fallbacks, [Box::from("default")]);
        assert!(std::ptr::eq(read.exposure(body), read.exposure(b"{}")));
        let unread = facts();
        assert!(unread.exposure(b"{\"messages\":").overflows && unread.exposure(b"").whole_window);
    }

    #[test]
    fn a_batch_may_name_as_much_as_a_message_and_no_more() {
        let mut twice = named((0..MAX_REFERENCES).chain(0..MAX_REFERENCES));
        few_names(&mut twice).unwrap();
        assert_eq!(twice.len(), MAX_REFERENCES);
        assert!(few_names(&mut named(0..=MAX_REFERENCES)).is_err());
    }
}
