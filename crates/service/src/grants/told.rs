//! What answers say to callers whose key is on its way out: a successor waits, or the key is deprecated and will be
//! revoked. Made once when a grant enters the table, not for each answer.

use claviger_domain::{clock::Timestamp, grant::Grant};

/// Our own header while a successor waits and the key is not yet deprecated.
pub const ROTATION: &str = "x-claviger-rotation";
/// Our own header once the key is deprecated.
pub const DEPRECATION: &str = "x-claviger-deprecation";
/// Since when it is deprecated (RFC 9745).
pub const DEPRECATION_DATE: &str = "deprecation";
/// When it stops working (RFC 8594).
pub const SUNSET: &str = "sunset";

/// Headers for every answer to a key's callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told(Vec<(&'static str, String)>);

impl Told {
    /// What is to be told of a key; `None`: nothing.
    #[must_use]
    pub fn of(grant: &Grant) -> Option<Self> {
        let succession = grant.succession.as_ref();
        if let Some(deprecation) = grant.key.deprecation {
            // It can expire before the ladder's end.
            let ladder_end = deprecation.revoked_at();
            let end = grant.key.expires_at.map_or(ladder_end, |at| at.min(ladder_end));
            let successor = succession.map_or_else(String::new, |s| format!("; successor={}", s.successor));
            let stage = deprecation.stage.as_str();
            return Some(Self(vec![
                (DEPRECATION, format!("{stage}{successor}; revoked-at={}", secs(end))),
                (DEPRECATION_DATE, format!("@{}", deprecation.since.as_secs())),
                (SUNSET, http_date(end)),
            ]));
        }
        let deadline = succession?.deadline;
        Some(Self(vec![(ROTATION, format!("successor available; deadline={}", secs(deadline)))]))
    }

    /// Names and values.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value))
    }
}

/// RFC 3339 with whole seconds.
fn secs(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_secs()).to_rfc3339().replace(".000000", "")
}

/// A date of HTTP (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(at: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // The first day of the epoch was a Thursday.
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let text = secs(at);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let named = |names: &[&'static str], n: i64| {
        usize::try_from(n).ok().and_then(|n| names.get(n)).copied().unwrap_or_default()
    };
    let day = named(&DAYS, at.utc_day().rem_euclid(7));
    let month = named(&MONTHS, part(5, 7).parse().unwrap_or(1_i64) - 1);
    format!("{day}, {} {month} {} {} GMT", part(8, 10), part(0, 4), part(11, 19))
}

#[cfg(test)]
mod tests {
    use claviger_domain::clock::MICROS_PER_SEC;

    use super::*;

    #[test]
    fn a_date_of_http_is_that_of_the_standard() {
        assert_eq!(http_date(Timestamp::from_secs(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        let late = Timestamp::from_secs(1_772_452_800).plus_micros(MICROS_PER_SEC - 1);
        assert_eq!(
            (http_date(late), secs(late)),
            ("Mon, 02 Mar 2026 12:00:00 GMT".into(), "2026-03-02T12:00:00Z".into())
        );
    }
}
