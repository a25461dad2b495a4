//! Carries notices out of the house: e-mail and signed webhooks. What to say and when is decided elsewhere.

mod dial;
mod post;
pub mod signature;
mod smtp;
mod tls;
mod webhook;

pub use dial::{Lookup, SystemLookup};
pub use post::Post;
pub use tls::RootsError;
