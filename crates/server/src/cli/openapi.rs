//! `claviger openapi`

use super::{Context, output::CliError};

/// Prints the document that describes the admin API, without asking anyone.
///
/// # Errors
/// None; a command's shape.
pub fn run(context: &Context) -> Result<(), CliError> {
    context.out.raw(&claviger_control::openapi::text());
    Ok(())
}
