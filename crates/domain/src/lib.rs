//! The rules of Claviger: values and decisions, with no IO, no async runtime, no ambient time and no
//! ambient randomness. To be read in this order: [`clock`], [`id`], [`secret`], [`token`], [`mac`], [`money`],
//! [`permission`], [`address`], [`limit`], [`key`], [`grant`], [`tenancy`], [`upstream`], [`ledger`], [`audit`],
//! [`schedule`], [`notice`], [`ports`].

pub mod access_token;
pub mod address;
pub mod audit;
pub mod binding;
pub mod budget;
pub mod certificate;
pub mod clock;
pub mod direct_use;
pub mod dpop;
pub mod grant;
pub mod id;
pub mod jose;
pub mod key;
pub mod ledger;
pub mod limit;
pub mod mac;
pub mod money;
pub mod notice;
pub mod operator;
pub mod permission;
pub mod policy;
pub mod ports;
pub mod proof;
pub mod refresh;
pub mod report;
pub mod review;
pub mod rotation;
pub mod schedule;
pub mod secret;
pub mod signature;
pub mod tenancy;
pub mod token;
pub mod upstream;
pub mod workload;
pub mod wrapping;
