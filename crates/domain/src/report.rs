//! The weekly rotation report: what became of keys, what is under way, and what must be done, as Markdown, HTML and
//! JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::notice::message::escape;

/// Entries of each list that are named; the rest is counted.
pub const MAX_ENTRIES: usize = 100;

/// A key in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its id.
    pub key_id: String,
    /// Its name.
    pub name: String,
    /// Its owner's name.
    pub owner: String,
    /// Its workspace's name.
    pub workspace: String,
    /// The moment that matters in this list (RFC 3339).
    pub at: String,
    /// What else matters.
    pub note: String,
}

/// Keys of which the same can be said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct List {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub keys: Vec<Entry>,
}

impl List {
    /// Counts a key, and names it while there is room.
    pub fn add(&mut self, entry: impl FnOnce() -> Entry) {
        self.count += 1;
        if self.keys.len() < MAX_ENTRIES {
            self.keys.push(entry());
        }
    }
}

/// One week.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RotationReport {
    /// From here on,
    pub from: String,
    /// and before this.
    pub until: String,
    /// Keys that work.
    pub live: u64,
    /// Keys that were made.
    pub created: u64,
    /// Successors that were made.
    pub rotated: List,
    /// Keys that were revoked.
    pub revoked: List,
    /// Rotations that have not ended.
    pub under_way: List,
    /// Keys older than their policy wants.
    pub due: List,
    /// Keys that run out within two weeks.
    pub expiring: List,
    /// Deliveries that were given up.
    pub undelivered: u64,
}

impl RotationReport {
    /// One sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} keys live; {} rotated, {} revoked this week; {} rotations under way, {} due, {} keys expire soon.",
            self.live,
            self.rotated.count,
            self.revoked.count,
            self.under_way.count,
            self.due.count,
            self.expiring.count
        )
    }

    fn lists(&self) -> [(&'static str, &'static str, &List); 5] {
        [
            ("Due for rotation", "Due since", &self.due),
            ("Expiring soon", "Expires", &self.expiring),
            ("Rotations under way", "Ends", &self.under_way),
            ("Rotated", "When", &self.rotated),
            ("Revoked", "When", &self.revoked),
        ]
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text =
            format!("# Weekly rotation report\n\n{} to {}\n\n{}\n", self.from, self.until, self.summary());
        if self.undelivered > 0 {
            let _ = write!(
                text,
                "\n{} notices could not be delivered: `claviger notice list --dead`\n",
                self.undelivered
            );
        }
        for (title, when, list) in self.lists().into_iter().filter(|(_, _, list)| list.count > 0) {
            let _ = write!(
                text,
                "\n## {title} ({})\n\n| Key | Name | Owner | Workspace | {when} | Note |\n|---|---|---|---|---|---|\n",
                list.count
            );
            for e in &list.keys {
                let cells = [&e.key_id, &e.name, &e.owner, &e.workspace, &e.at, &e.note];
                let cells: Vec<String> = cells.map(|cell| plain(cell)).to_vec();
                let _ = writeln!(text, "| {} |", cells.join(" | "));
            }
            text.push_str(&rest(list));
        }
        text
    }

    /// As a whole HTML page without scripts, pictures or links.
    #[must_use]
    pub fn html(&self) -> String {
        let mut body = format!(
            "<p>{} to {}</p>\n<p>{}</p>\n",
            escape(&self.from),
            escape(&self.until),
            escape(&self.summary())
        );
        if self.undelivered > 0 {
            let _ = writeln!(body, "<p>{} notices could not be delivered.</p>", self.undelivered);
        }
        for (title, when, list) in self.lists().into_iter().filter(|(_, _, list)| list.count > 0) {
            let _ = write!(
                body,
                "<h2>{title} ({})</h2>\n<table>\n<tr><th>Key</th><th>Name</th><th>Owner</th><th>Workspace</th><th>{when}</th><th>Note</th></tr>\n",
                list.count
            );
            for e in &list.keys {
                let cells = [&e.key_id, &e.name, &e.owner, &e.workspace, &e.at, &e.note];
                let cells: String = cells.map(|cell| format!("<td>{}</td>", escape(cell))).concat();
                let _ = writeln!(body, "<tr>{cells}</tr>");
            }
            let _ = writeln!(body, "</table>\n<p>{}</p>", escape(rest(list).trim()));
        }
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Weekly rotation report</title></head>\n<body>\n<h1>Weekly rotation report</h1>\n{body}</body></html>\n"
        )
    }
}

fn rest(list: &List) -> String {
    let more = list.count.saturating_sub(list.keys.len() as u64);
    if more == 0 { String::new() } else { format!("\nand {more} more\n") }
}

/// Names come from people: nothing in them may break a table or make a link.
fn plain(cell: &str) -> String {
    let mut safe = String::with_capacity(cell.len());
    for c in cell.chars() {
        if c.is_control() {
            safe.push(' ');
            continue;
        }
        if "\\`*[]<>|!#".contains(c) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize) -> Entry {
        Entry {
            key_id: format!("key_{n}"),
            name: "a|b <i> [x](y)".to_owned(),
            owner: "default".to_owned(),
            workspace: "prod".to_owned(),
            at: "2026-03-02T09:00:00Z".to_owned(),
            note: String::new(),
        }
    }

    fn report(keys: usize) -> RotationReport {
        let mut due = List::default();
        (0..keys).for_each(|n| due.add(|| entry(n)));
        RotationReport {
            from: "2026-02-23T09:00:00Z".to_owned(),
            until: "2026-03-02T09:00:00Z".to_owned(),
            live: 7,
            due,
            undelivered: 1,
            ..RotationReport::default()
        }
    }

    #[test]
    fn what_the_report_looks_like() {
        let report = report(1);
        let json = serde_json::to_string_pretty(&report).unwrap();
        insta::assert_snapshot!(format!("{}\n=====\n{}\n=====\n{json}", report.markdown(), report.html()));
    }

    #[test]
    fn a_long_list_is_counted_and_not_printed() {
        let report = report(MAX_ENTRIES + 5);
        assert_eq!((report.due.count, report.due.keys.len()), (105, MAX_ENTRIES));
        assert!(report.markdown().contains("and 5 more") && report.html().contains("and 5 more"));
    }
}
