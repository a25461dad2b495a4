//! Values with units as people write them: `30s`, `64KB`, `10.0.0.0/8`.

use std::{fmt, str::FromStr, time::Duration};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer};

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What a committed ledger row survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The loss of power.
    Fsync,
    /// The end of the process only.
    Process,
}

/// Whether callers must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthWord {
    /// They may.
    #[default]
    Optional,
    /// Without one there is no connection.
    Required,
}

/// Who remembers signed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NonceWord {
    /// This process.
    #[default]
    Memory,
    /// Redis or Valkey.
    Redis,
    /// The database.
    Database,
}

/// A span of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A size in bytes: a whole number and nothing, `B`, `KB`, `MB` or `GB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A value could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a span of time.
    #[error("`{0}` is not a span of time: expected a number and a unit, such as 500ms, 30s, 10m, 12h or 90d")]
    Span(String),
    /// Not a size.
    #[error("`{0}` is not a size: expected a number and a unit, such as 64KB, 32MB or 1GB")]
    Size(String),
}

impl Span {
    /// In whole seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.0.as_secs()
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text.get(..at)?.parse().ok()?, text.get(at..)?.trim()))
}

impl FromStr for Span {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::Span(text.to_owned());
        let (number, unit) = split_unit(text.trim()).ok_or_else(bad)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        number.checked_mul(millis).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(bad)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl FromStr for Size {
    type Err = ValueError;
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || ValueError::Size(text.to_owned());
        let (number, unit) = split_unit(text.trim()).ok_or_else(bad)?;
        let factor = match unit {
            "" | "B" => 1,
            "KB" => 1 << 10,
            "MB" => 1 << 20,
            "GB" => 1 << 30,
            _ => return Err(bad()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(bad)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_need_a_unit_that_exists() {
        assert_eq!("90d".parse::<Span>().unwrap().0, Duration::from_secs(90 * 86_400));
        assert_eq!("1500ms".parse::<Span>().unwrap().0, Duration::from_millis(1_500));
        for bad in ["", "5", "s", "-1s", "5 weeks", "99999999999999999999s", "1.5h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert_eq!("64KB".parse::<Size>().unwrap().0, 65_536);
        assert!("64XB".parse::<Size>().is_err());
    }
}
