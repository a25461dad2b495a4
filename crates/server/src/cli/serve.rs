//! `claviger serve`

use super::{
    Context,
    output::{CliError, Output},
};
use crate::{
    config::{Config, ServeArgs},
    telemetry::{self, scrub::Scrubber},
    wiring,
};

/// Checks the configuration and runs until told to stop.
///
/// # Errors
/// [`CliError`]: nothing was started, or something that cannot be gone on without failed.
pub fn run(context: &Context, args: &ServeArgs) -> Result<(), CliError> {
    let config = Config::resolve(context.data.clone(), args).map_err(|e| CliError::refused(e.to_string()))?;
    wiring::check(&config).map_err(|e| CliError::refused(format!("{e:#}")))?;
    if args.check_config {
        context.out.line("the configuration is good");
        return Ok(());
    }
    harden();
    let scrubber = Scrubber::new(config.brand);
    let level =
        telemetry::start(&config.log, scrubber.clone()).map_err(|e| CliError::refused(e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|e| CliError::failed(e.to_string()))?;
    let start = wiring::Start {
        args: args.clone(),
        data: context.data.clone(),
        config,
        level,
        scrubber,
        out: Output::new(false),
    };
    let done = runtime.block_on(wiring::run(start));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done.map_err(|e| CliError::failed(format!("{e:#}")))
}

/// Secrets live in this process: no core dump holds them, and no other process of this user may look in.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let core = setrlimit(Resource::Core, none);
    let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if core.is_err() || dumpable.is_err() {
        tracing::warn!("core dumps could not be switched off");
    }
}
