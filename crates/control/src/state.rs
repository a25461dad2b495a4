//! What the control plane's operations are given.

use std::{future::Future, path::PathBuf, pin::Pin, sync::Arc};

use claviger_domain::{
    clock::{Clock, Entropy},
    price::Prices,
    upstream::UpstreamRecord,
};
use claviger_service::Services;
use serde_json::Value;

use crate::{payments::Providers, problem::Problem};

/// A future behind a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What only the binary can do, because it alone sees every part.
pub trait Process: Send + Sync + 'static {
    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
    /// Asks an upstream whether it answers and takes its credential.
    fn probe<'a>(&'a self, upstream: &'a UpstreamRecord) -> Boxed<'a, Value>;
    /// Copies the database and what opens it into a new folder.
    fn backup(&self, to: PathBuf) -> Boxed<'_, Result<Value, Problem>>;
    /// Whether the address may be used as an upstream under the settings in force; else what is wrong with it.
    ///
    /// # Errors
    /// The reason, for the operator.
    fn check_upstream(&self, base_url: &str) -> Result<(), String>;
    /// The settings in force, by their names in the file and without secrets, and the file that they were read from.
    fn settings(&self) -> Value;
    /// The price table in force.
    fn prices(&self) -> Arc<dyn Prices>;
    /// Version, addresses, start time: what `status` shows beside the parts.
    fn describe(&self) -> Value;
}

/// Shared by all operations; cheap to clone.
#[derive(Clone)]
pub struct ControlState {
    /// The use cases.
    pub services: Services,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids.
    pub entropy: Arc<dyn Entropy>,
    /// The binary's own doings.
    pub process: Arc<dyn Process>,
    /// Whose payment notices are taken.
    pub payments: Providers,
}
