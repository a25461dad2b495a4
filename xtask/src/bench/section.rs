//! Parts of the results that are measured by themselves, each between its own marks.

use std::fs;

use anyhow::Context;

use crate::workspace::Workspace;

/// The names of all, in the order in which they stand.
const NAMES: [&str; 3] = ["admin", "stages", "callers"];

/// Where the results are kept.
pub fn file(workspace: &Workspace) -> std::path::PathBuf {
    workspace.root().join("bench/results.md")
}

/// Writes a part into the kept results, in its place, or at the end at first.
pub fn keep(workspace: &Workspace, name: &str, text: &str) -> anyhow::Result<()> {
    let file = file(workspace);
    let kept = fs::read_to_string(&file).unwrap_or_default();
    fs::write(&file, with(&kept, name, text)).with_context(|| format!("write {}", file.display()))
}

/// New results with all parts that the old ones had.
pub fn carried_over(old: &str, new: &str) -> String {
    let parts = NAMES.iter().filter_map(|name| Some((name, of(old, name)?)));
    parts.fold(new.to_owned(), |results, (name, text)| with(&results, name, text))
}

fn with(results: &str, name: &str, text: &str) -> String {
    let [begin, end] = marks(name);
    match results.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1))) {
        Some((before, after)) => format!("{before}{begin}{text}{end}{after}"),
        None => format!("{results}\n{begin}{text}{end}"),
    }
}

fn of<'a>(results: &'a str, name: &str) -> Option<&'a str> {
    let [begin, end] = marks(name);
    Some(results.split_once(&begin)?.1.split_once(&end)?.0)
}

fn marks(name: &str) -> [String; 2] {
    [format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_where_it_stands_and_survives_new_results() {
        let first = with("# Results\n", "admin", "one\n");
        let both = with(&first, "stages", "two\n");
        let again = with(&both, "admin", "three\n");
        assert_eq!(of(&again, "admin"), Some("three\n"));
        assert_eq!(of(&again, "stages"), Some("two\n"));
        assert_eq!(of(&again, "callers"), None);
        let anew = carried_over(&again, "# Newer\n");
        assert!(anew.starts_with("# Newer\n"));
        assert_eq!((of(&anew, "admin"), of(&anew, "stages")), (Some("three\n"), Some("two\n")));
    }
}
