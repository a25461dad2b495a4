//! Who may do what, through the real router over a real store.
#![expect(clippy::unwrap_used, reason = "a test that fails shall stop where it stands and say so")]

mod approvals;
mod changes;
mod house;
mod matrix;
mod sessions;
mod workspaces;
