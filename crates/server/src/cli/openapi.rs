//! `claviger openapi`

use std::io::Write;

use super::output::CliError;

/// Prints the document that describes the admin API, without asking anyone.
///
/// # Errors
/// [`CliError`] when standard output fails; a reader that has read enough is no failure.
pub fn run() -> Result<(), CliError> {
    let written = std::io::stdout().write_all(claviger_control::openapi::text().as_bytes());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(error.to_string()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
