//! Notices on their way out of the house, to a real mail server and to receivers of webhooks.
#![expect(clippy::unwrap_used, reason = "a test that fails shall stop where it stands and say so")]

mod certificate;
mod letters;
mod mail;
mod mail_server;
mod webhooks;
