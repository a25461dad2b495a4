//! Directives that break or delay an answer.

use std::time::Duration;

use super::{DirectiveError, Field};

/// For which requests of a series the faults hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trigger {
    pub(crate) first: Option<u32>,
    pub(crate) after: Option<u32>,
    pub(crate) token: Option<String>,
}

impl Trigger {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        match field.name {
            "first" => self.first = Some(field.number()?),
            "after" => self.after = Some(field.number()?),
            "token" => self.token = Some(field.value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True when requests must be counted.
    pub(crate) fn counts(&self) -> bool {
        self.first.is_some() || self.after.is_some()
    }

    /// Whether the faults hold for the `nth` request of the series (from 1).
    pub(crate) fn holds(&self, nth: u32) -> bool {
        self.first.is_none_or(|first| nth <= first) && self.after.is_none_or(|after| nth > after)
    }
}

/// An error answer instead of the real one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal {
    pub(crate) status: Option<u16>,
    pub(crate) hangup: bool,
    pub(crate) kind: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) retry_after_ms: Option<u64>,
    pub(crate) should_retry: Option<bool>,
    pub(crate) raw: Option<String>,
}

impl Refusal {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        let text = || Some(field.value.to_owned());
        match field.name {
            "status" => {
                let status: u16 = field.number()?;
                if !(200..=599).contains(&status) {
                    return Err(field.bad());
                }
                self.status = Some(status);
            }
            "hangup" => self.hangup = true,
            "type" => self.kind = text(),
            "message" => self.message = text(),
            "code" => self.code = text(),
            "retry-after" => self.retry_after = text(),
            "retry-after-ms" => self.retry_after_ms = Some(field.number()?),
            "should-retry" => self.should_retry = Some(field.value.parse().map_err(|_| field.bad())?),
            "raw" => self.raw = text(),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// How fast the bytes leave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    pub(crate) latency: Option<Duration>,
    pub(crate) gap: Option<Duration>,
    /// Piece size in bytes.
    pub(crate) split: Option<usize>,
    pub(crate) split_gap: Duration,
    /// Events before the silence.
    pub(crate) stall: Option<u32>,
    pub(crate) stall_for: Option<Duration>,
    pub(crate) gzip: Option<Gzip>,
}

/// When to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gzip {
    IfAccepted,
    Unasked,
}

impl Pace {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        match field.name {
            "latency" => self.latency = Some(field.millis()?),
            "gap" => self.gap = Some(field.millis()?),
            "split" => self.split = Some(field.number::<usize>()?.max(1)),
            "drip" => {
                let (bytes, millis) = field.value.split_once(':').ok_or_else(|| field.bad())?;
                self.split = Some(bytes.parse::<usize>().map_err(|_| field.bad())?.max(1));
                self.split_gap = Duration::from_millis(millis.parse().map_err(|_| field.bad())?);
            }
            "stall" => self.stall = Some(field.number()?),
            "stall-ms" => self.stall_for = Some(field.millis()?),
            "gzip" => {
                self.gzip = Some(match field.value {
                    "" => Gzip::IfAccepted,
                    "force" => Gzip::Unasked,
                    _ => return Err(field.bad()),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Where the answer breaks off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Break {
    pub(crate) cut: Option<u32>,
    pub(crate) cut_bytes: Option<u64>,
    pub(crate) end: Option<u32>,
    pub(crate) error: Option<u32>,
    pub(crate) error_kind: Option<String>,
}

impl Break {
    pub(super) fn set(&mut self, field: Field<'_>) -> Result<bool, DirectiveError> {
        match field.name {
            "cut" => self.cut = Some(field.number()?),
            "cut-bytes" => self.cut_bytes = Some(field.number()?),
            "end" => self.end = Some(field.number()?),
            "error" => self.error = Some(field.number()?),
            "error-type" => self.error_kind = Some(field.value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
