//! `claviger status`

use super::{Context, output::CliError};

/// Shows how the running process does.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context) -> Result<(), CliError> {
    context.out.object(&context.client()?.get("/admin/v1/status")?);
    Ok(())
}
