//! `claviger key import`

use std::{fs, path::PathBuf};

use clap::Args;
use claviger_control::api::keys::import::{ImportKey, ImportKeys};
use serde_json::{Value, json};

use super::{
    Context,
    output::{CliError, Columns},
};
use crate::csv;

/// Keys that are asked for at a time.
const BATCH: usize = 200;
/// The largest table, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// `key import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// A table with a first row of names: name, owner, workspace, models, allow_ip, expires_in, require, sign (true or
    /// false); lists are separated by spaces, commas or semicolons
    file: PathBuf,
    /// Hand each key over wrapped: print tokens that open them, once, with `claviger unwrap`
    #[arg(long)]
    wrapped: bool,
}

const COLUMNS: Columns = &[
    ("ROW", "row"),
    ("NAME", "name"),
    ("OWNER", "owner"),
    ("ID", "id"),
    ("KEY", "key"),
    ("WRAPPING TOKEN", "wrapping_token"),
    ("SIGNING SECRET", "signing_secret"),
    ("PROBLEM", "why"),
];

/// Makes a key for each row of a table; rows that are refused leave nothing and are told.
///
/// # Errors
/// [`CliError`]; 4 when some were refused.
pub fn run(context: &Context, args: &ImportArgs) -> Result<(), CliError> {
    let name = args.file.display();
    let size = fs::metadata(&args.file).map_err(|e| CliError::usage(format!("{name}: {e}")))?.len();
    if size > MAX_FILE {
        return Err(CliError::usage(format!("{name}: larger than {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(&args.file).map_err(|e| CliError::usage(format!("{name}: {e}")))?;
    let keys = table(&text).map_err(|why| CliError::usage(format!("{name}: {why}")))?;
    let client = context.client()?;
    let (mut rows, mut refused) = (Vec::new(), 0);
    for (batch, keys) in keys.chunks(BATCH).enumerate() {
        let body = ImportKeys { workspace: None, wrapped: args.wrapped, keys: keys.to_vec() };
        let answer = match client.post("/admin/v1/keys/import", &body) {
            Ok(answer) => answer,
            // What was made before is shown, or nobody would ever see it.
            Err(error) if rows.is_empty() => return Err(error),
            Err(error) => {
                print(context, &rows, keys.len() as u64 + refused);
                return Err(error);
            }
        };
        refused += answer["refused"].as_u64().unwrap_or_default();
        for row in answer["rows"].as_array().into_iter().flatten() {
            rows.push(numbered(row, batch * BATCH));
        }
    }
    print(context, &rows, refused);
    if refused == 0 { Ok(()) } else { Err(CliError::refused(format!("{refused} rows were refused"))) }
}

fn print(context: &Context, rows: &[Value], refused: u64) {
    let made = rows.iter().filter(|row| !row["id"].is_null()).count();
    if context.out.json {
        context.out.value(&json!({ "made": made, "refused": refused, "rows": rows }));
    } else {
        context.out.rows(COLUMNS, &Value::Array(rows.to_vec()));
    }
}

/// A row of the answer with its place in the whole table.
fn numbered(row: &Value, before: usize) -> Value {
    let mut row = row.clone();
    row["row"] = (row["row"].as_u64().unwrap_or_default() + before as u64).into();
    row["why"] = row["problem"]["detail"].clone();
    row
}

fn table(text: &str) -> Result<Vec<ImportKey>, String> {
    let rows = csv::read(text).map_err(|e| e.to_string())?;
    let Some((head, rows)) = rows.split_first() else { return Err("no rows".to_owned()) };
    if !head.fields.iter().any(|name| name == "name") {
        return Err("line 1: expected a row of names with `name` in it".to_owned());
    }
    rows.iter().map(|row| key(&head.fields, row)).collect()
}

fn key(head: &[String], row: &csv::Row) -> Result<ImportKey, String> {
    if row.fields.len() > head.len() {
        return Err(format!("line {}: more fields than the first row has names", row.line));
    }
    let mut key = ImportKey::default();
    for (name, field) in head.iter().zip(&row.fields).filter(|(_, field)| !field.is_empty()) {
        let text = Some(field.clone());
        let list = || Some(words(field));
        match name.as_str() {
            "name" => key.name.clone_from(field),
            "owner" => key.owner = text,
            "workspace" => key.workspace = text,
            "models" => key.models = list(),
            "allow_ip" => key.allow_ip = list(),
            "expires_in" => key.expires_in = text,
            "require" => key.require = list(),
            "sign" => {
                key.sign = field
                    .parse()
                    .map_err(|_| format!("line {}: `sign` is `{field}`: expected true or false", row.line))?;
            }
            other => {
                let names = "name, owner, workspace, models, allow_ip, expires_in, require, sign";
                return Err(format!("line 1: no such column `{other}`: expected {names}"));
            }
        }
    }
    if key.name.is_empty() { Err(format!("line {}: it has no name", row.line)) } else { Ok(key) }
}

fn words(field: &str) -> Vec<String> {
    field.split([' ', ',', ';']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_its_names() {
        let keys =
            table("owner,name,models,allow_ip\nann,app,\"claude-*,gpt\",10.0.0.0/8 ::1\nbob,job\n").unwrap();
        assert_eq!((keys[0].name.as_str(), keys[0].owner.as_deref()), ("app", Some("ann")));
        assert_eq!(keys[0].models.as_deref(), Some(&["claude-*".to_owned(), "gpt".to_owned()][..]));
        assert_eq!(keys[0].allow_ip.as_ref().map(Vec::len), Some(2));
        assert_eq!((keys[1].name.as_str(), keys[1].models.is_none()), ("job", true));
        let keys = table("name,require,sign\na,\"token,signature\",true\nb,,false\nc,dpop,\n").unwrap();
        let demands = |n: usize| (keys[n].require.clone().unwrap_or_default().join(" "), keys[n].sign);
        assert_eq!(demands(0), ("token signature".to_owned(), true));
        assert_eq!((demands(1), demands(2)), ((String::new(), false), ("dpop".to_owned(), false)));
    }

    #[test]
    fn what_a_table_lacks_is_named() {
        for (text, why) in [
            ("", "no rows"),
            ("owner\nann\n", "line 1"),
            ("name,colour\na,red\n", "colour"),
            ("name,owner\n,ann\n", "line 2"),
            ("name\na,b\n", "line 2"),
            ("name,sign\na,yes\n", "line 2: `sign` is `yes`"),
        ] {
            let said = table(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
