//! A program that prints a credential, as `claviger token` does.

use std::{process::Stdio, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{io::AsyncReadExt, process::Command};

use super::{KeySource, tidy};
use crate::{
    error::KeyError,
    secret::{self, Secret},
};

const LIMIT: Duration = Duration::from_secs(30);

/// Runs a program (no shell) and takes the one line that it prints. Its standard error goes to ours; its time is
/// 30 s. Wrap it in [`super::Kept`].
#[derive(Debug, Clone)]
pub struct CommandKey {
    program: String,
    arguments: Vec<String>,
}

impl CommandKey {
    /// By its name and arguments.
    #[must_use]
    pub fn new(program: impl Into<String>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { program: program.into(), arguments }
    }

    async fn run(&self) -> Option<String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().ok()?;
        let mut printed = Vec::new();
        let most = secret::MOST_BYTES as u64;
        child.stdout.take()?.take(most + 1).read_to_end(&mut printed).await.ok()?;
        if printed.len() as u64 > most {
            return None;
        }
        let status = child.wait().await.ok()?;
        status.success().then(|| String::from_utf8(printed).ok())?
    }
}

impl KeySource for CommandKey {
    fn key(&self) -> BoxFuture<'_, Result<Secret, KeyError>> {
        Box::pin(async {
            // Nothing that was printed is repeated in an error.
            let ran = tokio::time::timeout(LIMIT, self.run()).await.ok().flatten();
            let printed = ran.ok_or_else(|| KeyError::Command(self.program.clone()))?;
            tidy(&printed, &self.program)
        })
    }
}
