//! `claviger serve`

use super::{
    Context,
    output::{CliError, Output},
};
use crate::{
    config::{Config, ServeArgs},
    process,
    telemetry::{self, scrub::Scrubber},
    wiring,
};

/// Checks the configuration and runs until told to stop.
///
/// # Errors
/// [`CliError`]: nothing was started, or something that cannot be gone on without failed.
pub fn run(context: &Context, args: &ServeArgs) -> Result<(), CliError> {
    let config = Config::resolve(context.data.clone(), args).map_err(|e| CliError::refused(e.to_string()))?;
    wiring::check(&config, args).map_err(|e| CliError::refused(e.to_string()))?;
    if args.check_config {
        context.out.line("the configuration is good");
        return Ok(());
    }
    let scrubber = Scrubber::new(config.brand);
    scrubber.know_settings(wiring::payments::secrets(&config));
    telemetry::guard_panics(scrubber.clone());
    let level =
        telemetry::start(&config.log, scrubber.clone()).map_err(|e| CliError::refused(e.to_string()))?;
    if !process::forbid_dumps() {
        tracing::warn!("core dumps could not be switched off");
    }
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
        scrubber: scrubber.clone(),
        out: Output::new(false),
    };
    let done = runtime.block_on(wiring::run(start));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done.map_err(|e| CliError::failed(scrubber.text(&format!("{e:#}"))))
}
