//! Limits as flags, of keys, owners and workspaces alike.

use clap::Args;
use claviger_control::api::limits::LimitsPatch;

/// Limits; what is not given stays.
#[derive(Debug, Default, Args)]
pub struct LimitArgs {
    /// Requests a second; 0 lifts the limit
    #[arg(long, value_name = "N")]
    rps: Option<u32>,
    /// Requests a minute [default of a key: 60]; 0 lifts the limit
    #[arg(long, value_name = "N")]
    rpm: Option<u32>,
    /// Requests an hour; 0 lifts the limit
    #[arg(long, value_name = "N")]
    rph: Option<u32>,
    /// Requests a day [default of a key: 10000]; 0 lifts the limit
    #[arg(long, value_name = "N")]
    rpd: Option<u32>,
    /// Input tokens a second; 0 lifts the limit
    #[arg(long, value_name = "N")]
    itps: Option<u64>,
    /// Input tokens a minute; what is read from the cache is not counted; 0 lifts the limit
    #[arg(long, value_name = "N")]
    itpm: Option<u64>,
    /// Input tokens an hour; 0 lifts the limit
    #[arg(long, value_name = "N")]
    itph: Option<u64>,
    /// Input tokens a day; 0 lifts the limit
    #[arg(long, value_name = "N")]
    itpd: Option<u64>,
    /// Output tokens a second; 0 lifts the limit
    #[arg(long, value_name = "N")]
    otps: Option<u64>,
    /// Output tokens a minute; 0 lifts the limit
    #[arg(long, value_name = "N")]
    otpm: Option<u64>,
    /// Output tokens an hour; 0 lifts the limit
    #[arg(long, value_name = "N")]
    otph: Option<u64>,
    /// Output tokens a day; 0 lifts the limit
    #[arg(long, value_name = "N")]
    otpd: Option<u64>,
    /// Tokens of both directions a second; 0 lifts the limit
    #[arg(long, value_name = "N")]
    tps: Option<u64>,
    /// Tokens of both directions a minute; 0 lifts the limit
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Tokens of both directions an hour; 0 lifts the limit
    #[arg(long, value_name = "N")]
    tph: Option<u64>,
    /// Tokens of both directions a day; 0 lifts the limit
    #[arg(long, value_name = "N")]
    tpd: Option<u64>,
    /// Requests in flight at once; 0 lifts the limit
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
}

impl LimitArgs {
    /// As they are sent.
    #[must_use]
    pub const fn patch(&self) -> LimitsPatch {
        LimitsPatch {
            rps: self.rps,
            rpm: self.rpm,
            rph: self.rph,
            rpd: self.rpd,
            itps: self.itps,
            itpm: self.itpm,
            itph: self.itph,
            itpd: self.itpd,
            otps: self.otps,
            otpm: self.otpm,
            otph: self.otph,
            otpd: self.otpd,
            tps: self.tps,
            tpm: self.tpm,
            tph: self.tph,
            tpd: self.tpd,
            concurrency: self.concurrency,
        }
    }
}
