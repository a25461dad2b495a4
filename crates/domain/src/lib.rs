//! The rules of Claviger: values and decisions, with no IO, no async runtime, no ambient time and no
//! ambient randomness. To be read in this order:
//!
//! 1. the ground: [`clock`], [`id`], [`secret`], [`token`], [`mac`], [`money`];
//! 2. what a key is and may do: [`permission`], [`address`], [`limit`], [`proof`], [`key`], [`grant`], [`tenancy`],
//!    [`policy`], [`budget`], [`credit`];
//! 3. who calls: [`jose`], [`access_token`], [`refresh`], [`signature`], [`binding`], [`dpop`], [`workload`];
//! 4. where a call goes and what is kept of it: [`upstream`], [`direct_use`], [`ledger`], [`price`], [`savings`],
//!    [`reconcile`], [`performance`], [`audit`];
//! 5. a key's later life: [`schedule`], [`notice`], [`report`], [`review`], [`wrapping`], [`rotation`],
//!    [`certificate`], and who administers it: [`operator`];
//! 6. what all this asks of the outside: [`ports`].

pub mod access_token;
pub mod address;
pub mod audit;
pub mod binding;
pub mod budget;
pub mod certificate;
pub mod clock;
pub mod credit;
pub mod direct_use;
pub mod dpop;
pub mod estimate;
pub mod grant;
pub mod id;
pub mod jose;
pub mod key;
pub mod kms;
pub mod ledger;
pub mod limit;
pub mod mac;
pub mod money;
pub mod notice;
pub mod operator;
pub mod payment;
pub mod performance;
pub mod permission;
pub mod policy;
pub mod ports;
pub mod price;
pub mod proof;
pub mod recall;
pub mod reconcile;
pub mod refresh;
pub mod report;
pub mod review;
pub mod rotation;
pub mod savings;
pub mod schedule;
pub mod sealed_key;
pub mod secret;
pub mod signature;
pub mod tenancy;
pub mod token;
pub mod upstream;
pub mod workload;
pub mod wrapping;
