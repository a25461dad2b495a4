//! Money in integers: pico-dollars, 10⁻¹² of a US dollar, the unit in which every product of a price per
//! token, a batch discount and a geography surcharge is exact.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Pico-dollars in one dollar.
pub const PICO_PER_USD: i64 = 1_000_000_000_000;

/// An amount in pico-dollars, from −$9 M to $9 M. In JSON it is a decimal *string*, because a JSON
/// number loses digits beyond 2⁵³ in many readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PicoUsd(i64);

/// The amount does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Beyond ±$9 M.
    #[error("amount is beyond 9 million dollars")]
    TooLarge,
    /// Not dollars.
    #[error("expected dollars in plain decimal, such as 12.50")]
    NotDollars,
    /// Not a decimal integer.
    #[error("amount is not a whole number of pico-dollars")]
    NotANumber,
}

impl PicoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that one value may hold: $9 M.
    pub const MAX: Self = Self(9_000_000 * PICO_PER_USD);

    /// From a count of pico-dollars.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`] beyond ±$9 M.
    pub fn new(pico: i128) -> Result<Self, MoneyError> {
        match i64::try_from(pico) {
            Ok(p) if p.unsigned_abs() <= Self::MAX.0.unsigned_abs() => Ok(Self(p)),
            Ok(_) | Err(_) => Err(MoneyError::TooLarge),
        }
    }

    /// From dollars in plain decimal, such as `12.50`: at most 12 digits after the point.
    ///
    /// # Errors
    /// [`MoneyError::NotDollars`], [`MoneyError::TooLarge`].
    pub fn from_usd(text: &str) -> Result<Self, MoneyError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 12 || part.len() > 12 {
            return Err(MoneyError::NotDollars);
        }
        let number = |s: &str| s.parse::<i128>().map_err(|_| MoneyError::NotDollars);
        Self::new(number(whole)? * i128::from(PICO_PER_USD) + number(&format!("{part:0<12}"))?)
    }

    /// From a count of pico-dollars, held within ±$9 M.
    #[must_use]
    pub fn saturating(pico: i128) -> Self {
        let max = i128::from(Self::MAX.0);
        Self(i64::try_from(pico.clamp(-max, max)).unwrap_or(Self::MAX.0))
    }

    /// Pico-dollars as the integer that the stores keep.
    #[must_use]
    pub const fn as_pico(self) -> i64 {
        self.0
    }

    /// The sum of many amounts, folded in 128 bits so that no report can overflow.
    #[must_use]
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> i128 {
        amounts.into_iter().map(|a| i128::from(a.0)).sum()
    }
}

/// A total of pico-dollars as dollars in plain decimal, without trailing zeros: `0.0123`.
#[must_use]
pub fn usd_text(pico: i128) -> String {
    let unit = i128::from(PICO_PER_USD);
    let sign = if pico < 0 { "-" } else { "" };
    let (whole, part) = (pico.abs() / unit, pico.abs() % unit);
    if part == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{part:012}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::str::FromStr for PicoUsd {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        Self::new(text.parse::<i128>().map_err(|_| MoneyError::NotANumber)?)
    }
}

impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_written_without_loss() {
        assert_eq!(usd_text(0), "0");
        assert_eq!(usd_text(5_500), "0.0000000055");
        assert_eq!(usd_text(-1_500_000_000_000), "-1.5");
    }

    #[test]
    fn dollars_are_read_without_loss() {
        let pico = |text| PicoUsd::from_usd(text).map(PicoUsd::as_pico);
        assert_eq!(pico("12.50"), Ok(12_500_000_000_000));
        assert_eq!(pico("0.000000000001"), Ok(1));
        assert_eq!(pico("9000000"), Ok(PicoUsd::MAX.as_pico()));
        assert_eq!(pico("9000000.000000000001"), Err(MoneyError::TooLarge));
        for bad in ["", "-1", "+1", "1.", ".5", "1e3", "1_000", "$1", "0.0000000000001", "1,5"] {
            assert_eq!(pico(bad), Err(MoneyError::NotDollars), "{bad}");
        }
    }

    #[test]
    fn an_amount_beyond_nine_million_is_refused() {
        assert_eq!(PicoUsd::new(9_000_001 * i128::from(PICO_PER_USD)), Err(MoneyError::TooLarge));
        assert_eq!("x".parse::<PicoUsd>(), Err(MoneyError::NotANumber));
    }

    proptest! {
        #[test]
        fn json_is_a_string_and_comes_back_equal(p in -9_000_000_000_000_000_000_i64..=9_000_000_000_000_000_000) {
            let a = PicoUsd::new(i128::from(p)).unwrap();
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(&json, &format!("\"{p}\""));
            prop_assert_eq!(serde_json::from_str::<PicoUsd>(&json).unwrap(), a);
        }
    }
}
