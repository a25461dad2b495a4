//! Amounts in other currencies, exactly.

use std::fmt;

use crate::money::{MoneyError, PicoUsd};

/// A decimal number that is not less than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// Without its point.
    digits: i128,
    /// How many digits stand after the point.
    scale: u32,
}

/// Not such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a plain decimal with at most {before} digits before the point and {after} after it, such as 0.14"
)]
pub struct DecimalError {
    before: usize,
    after: usize,
}

impl Decimal {
    /// An amount of money: at most 12 digits before the point and 6 after it.
    ///
    /// # Errors
    /// [`DecimalError`].
    pub fn amount(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text, 12, 6)
    }

    /// What one unit of a currency is in dollars: at most 6 digits before the point and 12 after it.
    ///
    /// # Errors
    /// [`DecimalError`].
    pub fn rate(text: &str) -> Result<Self, DecimalError> {
        Self::parse(text, 6, 12)
    }

    /// A whole number of hundredths, such as fen.
    #[must_use]
    pub fn hundredths(count: u32) -> Self {
        Self { digits: i128::from(count), scale: 2 }
    }

    fn parse(text: &str, before: usize, after: usize) -> Result<Self, DecimalError> {
        let wrong = DecimalError { before, after };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let plain =
            |s: &str, most: usize| (1..=most).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole, before) || !plain(part, after) {
            return Err(wrong);
        }
        let digits = format!("{whole}{part}").parse().map_err(|_| wrong)?;
        Ok(Self { digits, scale: u32::try_from(part.len()).map_err(|_| wrong)? })
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// So many units at this rate, in dollars; what is less than a pico-dollar is left out.
    ///
    /// # Errors
    /// [`MoneyError::TooLarge`].
    pub fn at(self, rate: Self) -> Result<PicoUsd, MoneyError> {
        // At most 18 digits each, and no more than 18 before the point: this stays below 10³⁶.
        let product = self.digits.checked_mul(rate.digits).ok_or(MoneyError::TooLarge)?;
        let scale = self.scale + rate.scale;
        let pico = match scale.checked_sub(12) {
            Some(over) => product / 10_i128.pow(over),
            None => product.checked_mul(10_i128.pow(12 - scale)).ok_or(MoneyError::TooLarge)?,
        };
        PicoUsd::new(pico)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_i128.pow(self.scale);
        let width = usize::try_from(self.scale).unwrap_or(0);
        write!(f, "{}.{:0width$}", self.digits / unit, self.digits % unit)
    }
}
