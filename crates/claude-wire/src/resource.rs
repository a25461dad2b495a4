//! Answers about resources (batches, files, models …): their ids, and where in the bytes stands what the
//! gateway rewrites or filters.

use std::ops::Range;

use crate::json::{Event, JsonError, Position, Sink, Text, Tokenizer};

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// `id`
    pub id: Option<Box<str>>,
    /// `type`: `message_batch`, `file`, `model`, …
    pub kind: Option<Box<str>>,
    /// `processing_status` of a batch: `in_progress`, `canceling`, `ended`.
    pub processing_status: Option<Box<str>>,
    /// Where the text of `results_url` stands, inside the quotes; `None` if absent or `null`.
    pub results_url: Option<Range<usize>>,
    /// The object itself, braces included.
    pub span: Range<usize>,
}

/// A list answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// `data`, in order.
    pub items: Vec<Resource>,
    /// `has_more`
    pub has_more: bool,
    /// `first_id`
    pub first_id: Option<Box<str>>,
    /// `last_id`
    pub last_id: Option<Box<str>>,
    /// `next_page`
    pub next_page: Option<Box<str>>,
}

/// Why an answer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Not JSON.
    #[error(transparent)]
    NotJson(#[from] JsonError),
    /// Not an object, or without `data` where a list was expected.
    #[error("the answer is not of the expected shape")]
    Shape,
}

/// Reads one object: a created batch or file, a retrieved batch.
///
/// # Errors
/// [`ResourceError`] when it is not a JSON object.
pub fn read_resource(body: &[u8]) -> Result<Resource, ResourceError> {
    let mut reader = Reader::default();
    Tokenizer::read(body, &mut reader)?;
    Ok(reader.top)
}

/// Reads a list.
///
/// # Errors
/// [`ResourceError`] when it is not a JSON object with an array `data`.
pub fn read_page(body: &[u8]) -> Result<Page, ResourceError> {
    let mut reader = Reader::default();
    Tokenizer::read(body, &mut reader)?;
    if reader.has_data { Ok(reader.page) } else { Err(ResourceError::Shape) }
}

/// Puts `text`, which is escaped on the way, in place of each span; the rest of the bytes stay as they are.
/// The spans must be in order and apart, as this module gives them out.
#[must_use]
pub fn splice(body: &[u8], places: &[(Range<usize>, &str)]) -> Vec<u8> {
    let added: usize = places.iter().map(|(_, text)| text.len()).sum();
    let mut out = Vec::with_capacity(body.len() + added);
    let mut at = 0;
    for (span, text) in places {
        out.extend_from_slice(body.get(at..span.start).unwrap_or_default());
        crate::json::escape_into(text, &mut out);
        at = span.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    #[default]
    Other,
    Id,
    Kind,
    Status,
    ResultsUrl,
    Data,
    HasMore,
    FirstId,
    LastId,
    NextPage,
}

/// The depths: `0 { 1 data: [ 2 { 3`.
#[derive(Debug, Default)]
struct Reader {
    top: Resource,
    page: Page,
    has_data: bool,
    listing: bool,
    member: Member,
}

impl Sink for Reader {
    type Error = ResourceError;

    fn event(&mut self, position: Position, event: Event<'_>) -> Result<(), ResourceError> {
        let at = usize::try_from(position.at).unwrap_or(usize::MAX);
        match (position.depth, event) {
            (0, Event::ObjectStart) => self.top.span = at..at,
            (0, Event::ObjectEnd) => self.top.span.end = at + 1,
            (0, _) => return Err(ResourceError::Shape),
            (1, event) => self.top_member(&event),
            (2, Event::ObjectStart) if self.listing => {
                self.page.items.push(Resource { span: at..at, ..Resource::default() });
            }
            (2, Event::ObjectEnd) if self.listing => {
                if let Some(item) = self.page.items.last_mut() {
                    item.span.end = at + 1;
                }
            }
            (3, Event::Key(name)) if self.listing => self.member = Member::of(&name),
            (3, Event::String(text)) if self.listing => {
                if let Some(item) = self.page.items.last_mut() {
                    item.take(self.member, &text);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    fn top_member(&mut self, event: &Event<'_>) {
        match event {
            Event::Key(name) => self.member = Member::of(name),
            Event::ArrayStart => {
                self.listing = self.member == Member::Data;
                if self.listing {
                    self.has_data = true;
                    self.page.items.clear();
                }
            }
            Event::ArrayEnd => self.listing = false,
            Event::Bool(value) => self.page.has_more |= self.member == Member::HasMore && *value,
            Event::String(text) => {
                self.top.take(self.member, text);
                self.page.take(self.member, text);
            }
            Event::ObjectStart | Event::ObjectEnd | Event::Number(_) | Event::Null => {}
        }
    }
}

impl Page {
    fn take(&mut self, member: Member, text: &Text<'_>) {
        let kept = || text.text().ok().flatten().map(Box::from);
        match member {
            Member::FirstId => self.first_id = kept(),
            Member::LastId => self.last_id = kept(),
            Member::NextPage => self.next_page = kept(),
            Member::Other
            | Member::Id
            | Member::Kind
            | Member::Status
            | Member::ResultsUrl
            | Member::Data
            | Member::HasMore => {}
        }
    }
}

impl Resource {
    fn take(&mut self, member: Member, text: &Text<'_>) {
        // What no store can keep is no id.
        let kept = || text.text().ok().flatten().filter(|word| !word.contains('\0')).map(Box::from);
        match member {
            Member::Id => self.id = kept(),
            Member::Kind => self.kind = kept(),
            Member::Status => self.processing_status = kept(),
            Member::ResultsUrl => {
                let span = text.span();
                self.results_url =
                    usize::try_from(span.start).ok().zip(usize::try_from(span.end).ok()).map(|(s, e)| s..e);
            }
            Member::Other
            | Member::Data
            | Member::HasMore
            | Member::FirstId
            | Member::LastId
            | Member::NextPage => {}
        }
    }
}

impl Member {
    fn of(name: &Text<'_>) -> Self {
        let Ok(Some(name)) = name.text() else { return Self::Other };
        match &*name {
            "id" => Self::Id,
            "type" => Self::Kind,
            "processing_status" => Self::Status,
            "results_url" => Self::ResultsUrl,
            "data" => Self::Data,
            "has_more" => Self::HasMore,
            "first_id" => Self::FirstId,
            "last_id" => Self::LastId,
            "next_page" => Self::NextPage,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
