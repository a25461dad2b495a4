//! The rules of Claviger: values and decisions, with no IO, no async runtime, no ambient time and no
//! ambient randomness. Read in this order.

pub mod clock;
pub mod id;
pub mod secret;
pub mod token;
pub mod mac;
pub mod money;
pub mod permission;
pub mod address;
pub mod limit;
pub mod key;
pub mod grant;
pub mod tenancy;
pub mod upstream;
pub mod ledger;
pub mod audit;
pub mod ports;
