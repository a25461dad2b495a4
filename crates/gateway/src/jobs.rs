//! What the gateway does besides serving requests.
//!
//! | job | how often | why |
//! |---|---|---|
//! | [`batches`] | 5 min | batches cost money even if nobody fetches their results |
//! | [`keys`] | 30 s | `claude_api_active_keys` |

mod batches;
mod keys;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::worker::Shared;

/// Runs all of them until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = batches::run(Arc::clone(&shared)) => {}
        () = keys::run(shared) => {}
    }
}
