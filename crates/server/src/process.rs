//! What the control plane asks of the process as a whole.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use claviger_control::{
    problem::Problem,
    state::{Boxed, Process},
};
use claviger_domain::{
    clock::{Clock, Timestamp},
    price::Prices,
    upstream::UpstreamRecord,
};
use claviger_gateway::Gateway;
use claviger_service::Services;
use claviger_storage::Database;
use claviger_upstream::{Probe, ProviderKey, Target, Transport, probe};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    config::Config,
    wiring::{prices::PriceBoard, vault},
};

/// The longest that one step of a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

/// The file of the newest checkpoint in a backup.
const CHECKPOINT: &str = "checkpoint.json";

/// The running process.
pub struct Running {
    /// The database.
    pub database: Arc<Database>,
    /// The use cases.
    pub services: Services,
    /// The data plane.
    pub gateway: Gateway,
    /// The settings in force at the start.
    pub config: Config,
    /// Those in force now.
    pub in_force: watch::Receiver<Config>,
    /// The price table.
    pub prices: Arc<PriceBoard>,
    /// The way to upstreams.
    pub transport: Arc<Transport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where clients call.
    pub gateway_url: String,
    /// Where the control plane is.
    pub control_url: String,
    /// Since when it runs.
    pub started_at: Timestamp,
}

impl Process for Running {
    fn metrics(&self) -> String {
        self.gateway.metrics_text()
    }

    fn probe<'a>(&'a self, upstream: &'a UpstreamRecord) -> Boxed<'a, Value> {
        Box::pin(self.probe_upstream(upstream))
    }

    fn backup(&self, to: PathBuf) -> Boxed<'_, Result<Value, Problem>> {
        Box::pin(async move { self.copy_to(&to).await })
    }

    fn check_upstream(&self, base_url: &str) -> Result<(), String> {
        Target::parse(base_url, self.config.insecure_plaintext).map(|_| ()).map_err(|e| e.to_string())
    }

    fn settings(&self) -> Value {
        let config = self.in_force.borrow().clone();
        json!({"file": config.file, "settings": config.in_force()})
    }

    fn prices(&self) -> Arc<dyn Prices> {
        Arc::clone(&self.prices) as _
    }

    fn describe(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "gateway": self.gateway_url,
            "control": self.control_url,
            "data": self.config.data,
            "database": if self.config.database.is_some() { "postgresql" } else { "sqlite" },
            "started_at": self.started_at.to_rfc3339(),
            "uptime_secs": self.clock.now().micros_since(self.started_at) / 1_000_000,
        })
    }
}

impl Running {
    async fn probe_upstream(&self, upstream: &UpstreamRecord) -> Value {
        let target = match Target::parse(&upstream.base_url, self.config.insecure_plaintext) {
            Ok(target) => target,
            Err(error) => return json!({"ok": false, "error": error.to_string()}),
        };
        let table = self.services.routes.snapshot();
        let entry = table.credentials.iter().find(|e| e.upstream.id == upstream.id);
        let key = entry.and_then(|e| ProviderKey::new(e.secret.clone()).ok());
        let asked =
            Probe { target: &target, key: key.as_ref(), timeout: PROBE_TIMEOUT, now: self.clock.now() };
        let report = probe(&self.transport, asked).await;
        let ok = report.status.is_some_and(|s| s < 400 || (key.is_none() && s == 401));
        let mut value = serde_json::to_value(&report).unwrap_or_default();
        value["ok"] = json!(ok);
        value["with_credential"] = json!(key.is_some());
        value
    }

    async fn copy_to(&self, to: &Path) -> Result<Value, Problem> {
        if !to.is_absolute() {
            return Err(Problem::invalid("to", "expected an absolute path"));
        }
        let failed = |e: &dyn std::fmt::Display| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "backup_failed", e.to_string())
        };
        empty_folder(to).map_err(|e| Problem::invalid("to", format!("{}: {e}", to.display())))?;
        // Read before the copy is made: a newer one would speak of records that the copy does not have.
        let checkpoint = self.services.audit.last_checkpoint().await.map_err(Problem::from)?;
        let database = to.join(vault::DATABASE);
        self.database.backup_to(&database).await.map_err(|e| failed(&e))?;
        let master = std::fs::read(self.config.data.join(vault::MASTER_KEY)).map_err(|e| failed(&e))?;
        private_file(&to.join(vault::MASTER_KEY), &master).map_err(|e| failed(&e))?;
        let mut files = vec![vault::DATABASE, vault::MASTER_KEY];
        // In its first second a store has none.
        if let Some(checkpoint) = checkpoint {
            let text = serde_json::to_vec(&checkpoint).map_err(|e| failed(&e))?;
            private_file(&to.join(CHECKPOINT), &text).map_err(|e| failed(&e))?;
            files.push(CHECKPOINT);
        }
        Ok(json!({
            "to": to,
            "holds": ["the database: keys, sealed provider keys, pepper, ledger, audit log", "the master key that opens it", "the newest signed checkpoint"],
            "files": files,
        }))
    }
}

/// A folder that is ours alone: made, or found empty.
fn empty_folder(path: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            if std::fs::read_dir(path)?.next().is_some() {
                return Err(std::io::Error::other("the folder is not empty"));
            }
            Ok(())
        }
        made => made,
    }
}

fn private_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Nobody but root may look into this process, and it leaves no core dump. Programs that it starts are not concerned.
/// Whether the system agreed.
pub fn hide_memory() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// No core dump of this process or of one that it starts, whatever handler the system has for them.
/// Whether the system agreed.
pub fn forbid_dumps() -> bool {
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_ok()
}
