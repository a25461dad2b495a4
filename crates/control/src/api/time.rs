//! Times in the admin API: RFC 3339 going out; coming in also spans such as `90d` from now.

use claviger_domain::clock::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

/// A moment as RFC 3339 text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

/// Not a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time: expected RFC 3339, such as 2026-12-31T23:59:59Z, or a day, such as 2026-12-31")]
pub struct MomentError(String);

impl std::str::FromStr for Moment {
    type Err = MomentError;
    fn from_str(text: &str) -> Result<Self, MomentError> {
        let whole = text.parse::<jiff::Timestamp>().ok();
        let day = || {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
        };
        let at = whole.or_else(day).ok_or_else(|| MomentError(text.to_owned()))?;
        Ok(Self(Timestamp::from_micros(at.as_microsecond())))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Moment {}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_or_days_in_utc() {
        let m: Moment = "2026-12-31".parse().unwrap();
        assert_eq!(serde_json::to_string(&m).unwrap(), "\"2026-12-31T00:00:00.000000Z\"");
        assert!("tomorrow".parse::<Moment>().is_err());
    }
}
