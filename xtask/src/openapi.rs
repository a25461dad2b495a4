//! `cargo xtask openapi`: writes the document of the admin API, as the program prints it, and the table of operations in
//! `docs/API.md`.

use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use crate::args::Arguments;
use crate::process;
use crate::workspace::Workspace;

/// Where the document is kept, for those who read it without a running program.
const FILE: &str = "docs/openapi.json";
/// Where people read of the API; its table of operations stands between these marks.
const PAGE: &str = "docs/API.md";
const MARKS: [&str; 2] = ["<!-- operations -->\n", "<!-- /operations -->"];

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    for (file, text) in current(workspace)? {
        fs::write(workspace.root().join(file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Which of the kept files are not what the program says.
pub fn problems(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let kept = |file: &str| fs::read_to_string(workspace.root().join(file)).unwrap_or_default();
    let stale = current(workspace)?.into_iter().filter(|(file, text)| kept(file) != *text);
    Ok(stale
        .map(|(file, _)| format!("{file}: not what the program says; run `cargo xtask openapi`"))
        .collect())
}

/// The files as they should be.
fn current(workspace: &Workspace) -> anyhow::Result<[(&'static str, String); 2]> {
    let mut command = workspace.cargo();
    command.args(["run", "--quiet", "--package", "claviger-server", "--bin", "claviger", "--", "openapi"]);
    let document = process::capture(&mut command)?;
    let page = fs::read_to_string(workspace.root().join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let page = with_table(&page, &table(&document)?)?;
    Ok([(FILE, document.trim_end().to_owned() + "\n"), (PAGE, page)])
}

/// The operations, one a row, in the order of the document.
fn table(document: &str) -> anyhow::Result<String> {
    let document: Value = serde_json::from_str(document).context("what `claviger openapi` printed")?;
    let mut table = "| operation | method | path | |\n|---|---|---|---|\n".to_owned();
    let paths = document["paths"].as_object().context("a document without paths")?;
    for (path, methods) in paths {
        let path = path.strip_prefix("/admin/v1").unwrap_or(path);
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let word = |name: &str| operation[name].as_str().unwrap_or_default();
            let method = method.to_ascii_uppercase();
            table.push_str(&format!(
                "| `{}` | {method} | `{path}` | {} |\n",
                word("operationId"),
                word("summary")
            ));
        }
    }
    Ok(table)
}

/// The page with another table.
fn with_table(page: &str, table: &str) -> anyhow::Result<String> {
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin).with_context(|| format!("{PAGE} has no {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("{PAGE} has no {end}"))?;
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_the_one_before() {
        let document =
            r#"{"paths":{"/admin/v1/keys":{"get":{"operationId":"key.list","summary":"List keys"}}}}"#;
        let page = "a\n<!-- operations -->\nold\n<!-- /operations -->\nb\n";
        let new = with_table(page, &table(document).unwrap()).unwrap();
        assert!(new.starts_with("a\n") && new.ends_with("\nb\n") && !new.contains("old"));
        assert!(new.contains("| `key.list` | GET | `/keys` | List keys |"));
        assert!(with_table("no marks", "").is_err());
    }
}
