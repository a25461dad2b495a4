//! The Claude API as it looks on the wire: request heads and batches read from bytes without building a
//! tree, server-sent events metered as they pass, usage and prices, the error envelope, header names.
//! Pure: no IO, no clock, nothing of ours imported, so every reader here also runs inside a fuzz target.

pub mod answers;
pub mod batch;
pub mod content;
pub mod error;
pub mod exposure;
pub mod head;
pub mod headers;
pub mod json;
pub mod laws;
pub mod price;
pub mod question;
pub mod resource;
pub mod results;
pub mod sse;
pub mod usage;
