//! `claviger settings …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context,
    output::{CliError, Columns},
};

/// What can be done with the settings.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Show the settings in force, by their names in the file; secrets are left out
    Show,
}

const COLUMNS: Columns = &[("SETTING", "name"), ("VALUE", "value")];

/// Runs `claviger settings …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: &SettingsCommand) -> Result<(), CliError> {
    let SettingsCommand::Show = command;
    let view = context.client()?.get("/admin/v1/settings")?;
    if context.out.json {
        context.out.value(&view);
        return Ok(());
    }
    context.out.rows(COLUMNS, &lines(&view["settings"]));
    match view["file"].as_str() {
        Some(file) => context.out.note(&format!("Read from {file}, the environment and flags.")),
        None => context.out.note("Read from the environment and flags; no file was given."),
    }
    Ok(())
}

/// One line for each setting, `section.key`.
fn lines(settings: &Value) -> Value {
    let line = |name: String, value: &Value| json!({"name": name, "value": value});
    let sections = settings.as_object().into_iter().flatten();
    let lines = sections.flat_map(|(name, value)| match value.as_object() {
        Some(section) => section.iter().map(|(key, value)| line(format!("{name}.{key}"), value)).collect(),
        None => vec![line(name.clone(), value)],
    });
    lines.collect()
}
