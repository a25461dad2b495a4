//! File and folder names that say what is inside.

use super::source::Source;
use super::{Rule, Violation};

/// Drawers: whatever is put there could be anywhere.
const BANNED: [&str; 9] =
    ["common", "helper", "helpers", "manager", "misc", "types", "util", "utilities", "utils"];

pub fn check(source: &Source) -> Vec<Violation> {
    let violation = |what: String| Violation { rule: Rule::Name, path: source.path.clone(), line: 0, what };
    let mut found = Vec::new();
    for part in source.path.split('/') {
        let name = part.trim_end_matches(".rs");
        if part == "mod.rs" {
            found.push(violation("`foo.rs` beside `foo/`, never `mod.rs`".to_owned()));
        } else if BANNED.contains(&name) {
            found.push(violation(format!("{name:?} says nothing: name the idea")));
        }
    }
    found
}
