//! A window over the hours of a week in a time zone, such as `Mon-Fri 08-18 Europe/Berlin`.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// The hours of the week in which a key may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HoursOfWeek {
    text: String,
}

/// The window could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a weekly window such as `Mon-Fri 08-18 Europe/Berlin`")]
pub struct HoursError(pub String);

impl HoursOfWeek {
    /// Whether the moment lies in the window.
    #[must_use]
    pub fn contains(&self, _now: Timestamp) -> bool {
        false
    }
}

impl TryFrom<String> for HoursOfWeek {
    type Error = HoursError;
    fn try_from(text: String) -> Result<Self, HoursError> {
        Err(HoursError(text))
    }
}

impl From<HoursOfWeek> for String {
    fn from(hours: HoursOfWeek) -> Self {
        hours.text
    }
}
