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

/// One of the provider's own keys that is used past us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectUseEntry {
    /// The upstream whose account it belongs to.
    pub upstream: String,
    /// Its name at the provider.
    pub name: String,
    /// Its two ends.
    pub hint: String,
    /// The sealed credential that holds it, or `unknown`.
    pub credential: String,
    /// Tokens that went in past us.
    pub input_tokens: u64,
    /// Tokens that came out past us.
    pub output_tokens: u64,
    /// The last UTC day on which that happened.
    pub last_day: String,
}

/// Who uses the provider's own keys past us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DirectUseSection {
    /// The account told.
    Known {
        /// How many keys.
        count: u64,
        /// The first of them.
        keys: Vec<DirectUseEntry>,
    },
    /// It did not.
    Unknown {
        /// Why.
        why: String,
    },
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
    /// The provider's own keys that are still used past us; `None`: no account can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_use: Option<DirectUseSection>,
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
        text + &self.direct_use.as_ref().map_or_else(String::new, DirectUseSection::markdown)
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
        body.push_str(&self.direct_use.as_ref().map_or_else(String::new, DirectUseSection::html));
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Weekly rotation report</title></head>\n<body>\n<h1>Weekly rotation report</h1>\n{body}</body></html>\n"
        )
    }
}

impl DirectUseSection {
    const HEADINGS: [&'static str; 6] = ["Key", "Hint", "Sealed as", "Tokens in", "Tokens out", "Last day"];

    fn title(&self) -> String {
        match self {
            Self::Known { count: 0, .. } => "No provider key is used past Claviger".to_owned(),
            Self::Known { count, .. } => format!("Provider keys still used past Claviger ({count})"),
            Self::Unknown { .. } => "Provider keys used past Claviger: unknown".to_owned(),
        }
    }

    fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n", self.title());
        match self {
            Self::Known { count: 0, .. } => {}
            Self::Known { keys, .. } => {
                let _ = write!(text, "\n| {} |\n|---|---|---|---|---|---|\n", Self::HEADINGS.join(" | "));
                for key in keys {
                    let _ = writeln!(text, "| {} |", key.cells().map(|cell| plain(&cell)).join(" | "));
                }
            }
            Self::Unknown { why } => {
                let _ = writeln!(text, "\n{}", plain(why));
            }
        }
        text
    }

    fn html(&self) -> String {
        let mut body = format!("<h2>{}</h2>\n", escape(&self.title()));
        match self {
            Self::Known { count: 0, .. } => {}
            Self::Known { keys, .. } => {
                let _ = writeln!(body, "<table>\n<tr><th>{}</th></tr>", Self::HEADINGS.join("</th><th>"));
                for key in keys {
                    let cells = key.cells().map(|cell| escape(&cell)).join("</td><td>");
                    let _ = writeln!(body, "<tr><td>{cells}</td></tr>");
                }
                body.push_str("</table>\n");
            }
            Self::Unknown { why } => {
                let _ = writeln!(body, "<p>{}</p>", escape(why));
            }
        }
        body
    }
}

impl DirectUseEntry {
    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            self.hint.clone(),
            self.credential.clone(),
            self.input_tokens.to_string(),
            self.output_tokens.to_string(),
            self.last_day.clone(),
        ]
    }
}

fn rest(list: &List) -> String {
    let more = list.count.saturating_sub(list.keys.len() as u64);
    if more == 0 { String::new() } else { format!("\nand {more} more\n") }
}

/// Names come from people: nothing in them may break a table or make a link.
pub(crate) fn plain(cell: &str) -> String {
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
    fn keys_that_pass_us_by_stand_at_the_end() {
        let key = DirectUseEntry {
            upstream: "anthropic".to_owned(),
            name: "laptop <old>".to_owned(),
            hint: "sk-ant-api03-R2D...igAA".to_owned(),
            credential: "unknown".to_owned(),
            input_tokens: 12,
            output_tokens: 34,
            last_day: "2026-03-01".to_owned(),
        };
        let with = |section| RotationReport { direct_use: Some(section), ..report(0) };
        let known = with(DirectUseSection::Known { count: 1, keys: vec![key] });
        assert!(known.markdown().ends_with(
            "\n## Provider keys still used past Claviger (1)\n\n\
             | Key | Hint | Sealed as | Tokens in | Tokens out | Last day |\n|---|---|---|---|---|---|\n\
             | laptop \\<old\\> | sk-ant-api03-R2D...igAA | unknown | 12 | 34 | 2026-03-01 |\n"
        ));
        assert!(known.html().contains("<td>laptop &lt;old&gt;</td><td>sk-ant-api03-R2D...igAA</td>"));
        let nobody = with(DirectUseSection::Known { count: 0, keys: vec![] });
        assert!(nobody.markdown().ends_with("## No provider key is used past Claviger\n"));
        let unknown = with(DirectUseSection::Unknown { why: "it answered 500".to_owned() });
        assert!(unknown.markdown().ends_with("unknown\n\nit answered 500\n"), "{}", unknown.markdown());
        assert!(unknown.html().contains("<p>it answered 500</p>"));
    }

    #[test]
    fn a_long_list_is_counted_and_not_printed() {
        let report = report(MAX_ENTRIES + 5);
        assert_eq!((report.due.count, report.due.keys.len()), (105, MAX_ENTRIES));
        assert!(report.markdown().contains("and 5 more") && report.html().contains("and 5 more"));
    }
}
