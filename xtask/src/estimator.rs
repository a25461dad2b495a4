//! `cargo xtask estimator`: prints how far estimates of input tokens are off, and writes it to `bench/estimator.md`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;

use crate::args::Arguments;
use crate::clients::{self, Client};
use crate::process::{self, Deadline};
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(30 * 60);

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    let deadline = Deadline::after(LIMIT);
    let modules = match clients::node(workspace, deadline)? {
        Client::Ready(modules) => modules,
        Client::Missing(why) => bail!("the stand-ins cannot be installed: {why}"),
    };
    let mut test = workspace.cargo();
    test.args(["test", "-p", "claviger-gateway", "--test", "estimator", "--", "--nocapture"]);
    test.env("CLAVIGER_TEST_NODE_MODULES", modules);
    test.env("CLAVIGER_TEST_REPORT", workspace.root().join("bench/estimator.md"));
    process::must(&mut test, deadline)?;
    Ok(ExitCode::SUCCESS)
}
