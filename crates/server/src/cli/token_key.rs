//! `claviger token-key …`

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context,
    output::{CliError, Columns},
};

/// What can be done with the keys that sign access tokens.
#[derive(Debug, Subcommand)]
pub enum TokenKeyCommand {
    /// List them
    List,
    /// Put them out of use at once: for a key that somebody else may have. Access tokens must be bought anew
    Rotate,
}

const COLUMNS: Columns = &[
    ("KID", "kid"),
    ("ALGORITHM", "algorithm"),
    ("STATE", "state"),
    ("PUBLISHED", "published_at"),
    ("ACTIVE", "active_at"),
    ("RETIRING", "retiring_at"),
];

/// Runs `claviger token-key …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: TokenKeyCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        TokenKeyCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/token-keys")?),
        TokenKeyCommand::Rotate => {
            let answer = client.post("/admin/v1/token-keys/rotate", &json!({}))?;
            if context.out.json {
                context.out.value(&answer);
            }
            let done = answer["done"].as_array().into_iter().flatten().filter_map(Value::as_str);
            done.for_each(|what| context.out.line(what));
        }
    }
    Ok(())
}
