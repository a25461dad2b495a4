//! How old an answer out of the response cache may be that a key is given.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::MICROS_PER_SEC;

/// A span of time from one second to seven days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct CacheTtl(u32);

/// A text, or a number of seconds, that is no such span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a span of time from 1s to 7d such as 300s, 5m or 1h; `on` (5m) or `off`")]
pub struct CacheTtlError;

impl CacheTtl {
    /// What `on` means: five minutes.
    pub const USUAL: Self = Self(300);
    /// The longest, in seconds: seven days.
    pub const MAX_SECS: u32 = 7 * 86_400;

    /// So many seconds.
    ///
    /// # Errors
    /// [`CacheTtlError`] for none, or more than seven days.
    pub fn from_secs(secs: u64) -> Result<Self, CacheTtlError> {
        let fits = u32::try_from(secs).ok().filter(|secs| (1..=Self::MAX_SECS).contains(secs));
        fits.map(Self).ok_or(CacheTtlError)
    }

    /// As an operator writes it; `None`: `off`.
    ///
    /// # Errors
    /// [`CacheTtlError`].
    pub fn parse(text: &str) -> Result<Option<Self>, CacheTtlError> {
        match text {
            "off" => return Ok(None),
            "on" => return Ok(Some(Self::USUAL)),
            _ => {}
        }
        // A number alone is seconds, as of every time to live.
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit: u64 = match unit {
            "s" | "" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(CacheTtlError),
        };
        let secs = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or(CacheTtlError)?;
        Self::from_secs(secs).map(Some)
    }

    /// In seconds.
    #[must_use]
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// In microseconds.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0 as u64 * MICROS_PER_SEC.unsigned_abs()
    }
}

impl TryFrom<u64> for CacheTtl {
    type Error = CacheTtlError;

    fn try_from(secs: u64) -> Result<Self, CacheTtlError> {
        Self::from_secs(secs)
    }
}

impl From<CacheTtl> for u64 {
    fn from(ttl: CacheTtl) -> Self {
        Self::from(ttl.0)
    }
}

/// As [`CacheTtl::parse`] reads it.
impl fmt::Display for CacheTtl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_on_and_off_are_read_and_nothing_else() {
        let secs = |text| CacheTtl::parse(text).map(|ttl| ttl.map(CacheTtl::secs));
        assert_eq!(
            ["on", "off", "300s", "300", "5m", "1h", "7d", "1s"].map(secs),
            [Some(300), None, Some(300), Some(300), Some(300), Some(3_600), Some(604_800), Some(1)].map(Ok)
        );
        for bad in [
            "",
            "0",
            "604801",
            "0s",
            "8d",
            "604801s",
            "5 m",
            "-1s",
            "1w",
            "s",
            "99999999999999999999s",
            "ON",
            "1é",
        ] {
            assert_eq!(CacheTtl::parse(bad), Err(CacheTtlError), "{bad}");
        }
    }

    #[test]
    fn it_is_kept_as_seconds_and_printed_as_it_is_read() {
        let hour = CacheTtl::parse("1h").unwrap().unwrap();
        assert_eq!(serde_json::to_string(&hour).unwrap(), "3600");
        assert_eq!(serde_json::from_str::<CacheTtl>("3600").unwrap(), hour);
        assert!(serde_json::from_str::<CacheTtl>("0").is_err());
        assert_eq!(CacheTtl::parse(&hour.to_string()), Ok(Some(hour)));
        assert_eq!(hour.micros(), 3_600_000_000);
    }
}
