//! The report as Markdown and as a page.

use std::fmt::Write as _;

use super::{Figures, PerformanceReport, StageTime};
use crate::{notice::message::escape, report::plain};

const TITLE: &str = "Performance report";
const HEADINGS: [&str; 14] = [
    "Group",
    "Requests",
    "A minute",
    "Errors",
    "Retried",
    "Mean ms",
    "p50",
    "p95",
    "p99",
    "First byte ms",
    "p95",
    "Tokens/s",
    "Prompt cache",
    "Response cache",
];
const STAGE_HEADINGS: [&str; 3] = ["Stage", "Requests", "Mean ms"];

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Figures {
    fn cells(&self) -> [String; 14] {
        [
            self.group.clone(),
            self.requests.to_string(),
            format!("{:.2}", self.rpm),
            format!("{} ({})", self.errors, percent(self.error_rate)),
            self.retried.to_string(),
            format!("{:.0}", self.latency.mean_ms),
            format!("{:.0}", self.latency.p50_ms),
            format!("{:.0}", self.latency.p95_ms),
            format!("{:.0}", self.latency.p99_ms),
            format!("{:.0}", self.first_byte.mean_ms),
            format!("{:.0}", self.first_byte.p95_ms),
            self.tokens_per_second.map_or_else(String::new, |rate| format!("{rate:.0}")),
            percent(self.prompt_cache_hit_rate),
            percent(self.response_cache_hit_rate),
        ]
    }
}

impl StageTime {
    fn cells(&self) -> [String; 3] {
        [self.stage.clone(), self.count.to_string(), format!("{:.3}", self.mean_ms)]
    }
}

impl PerformanceReport {
    fn kept(&self) -> Option<String> {
        let from = self.kept_from.as_ref()?;
        Some(format!("Single calls are kept from {from} on: earlier ones are not in this report."))
    }

    fn rows(&self) -> impl Iterator<Item = [String; 14]> + '_ {
        self.groups.iter().chain([&self.total]).map(Figures::cells)
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# {TITLE}\n\n{} to {}, by {}\n", self.from, self.until, self.by);
        if let Some(kept) = self.kept() {
            let _ = writeln!(text, "\n{kept}");
        }
        let _ = writeln!(text, "\n## Advice\n");
        if self.advice.is_empty() {
            let _ = writeln!(text, "Nothing stands out.");
        }
        for advice in &self.advice {
            let _ = writeln!(text, "- **{}**: {}", plain(&advice.about), plain(&advice.text));
        }
        let _ = writeln!(text, "\n## Figures\n");
        markdown_table(&mut text, &HEADINGS, self.rows());
        if !self.stages.is_empty() {
            let _ = writeln!(text, "\n## Time in each stage, since this process began\n");
            markdown_table(&mut text, &STAGE_HEADINGS, self.stages.iter().map(StageTime::cells));
        }
        text
    }

    /// As a whole HTML page without scripts, pictures or links.
    #[must_use]
    pub fn html(&self) -> String {
        let mut body = format!("<p>{} to {}, by {}</p>\n", escape(&self.from), escape(&self.until), self.by);
        if let Some(kept) = self.kept() {
            let _ = writeln!(body, "<p>{}</p>", escape(&kept));
        }
        body.push_str("<h2>Advice</h2>\n");
        if self.advice.is_empty() {
            body.push_str("<p>Nothing stands out.</p>\n");
        } else {
            let item =
                |a: &super::Advice| format!("<li><b>{}</b>: {}</li>\n", escape(&a.about), escape(&a.text));
            let items: String = self.advice.iter().map(item).collect();
            let _ = writeln!(body, "<ul>\n{items}</ul>");
        }
        body.push_str("<h2>Figures</h2>\n");
        html_table(&mut body, &HEADINGS, self.rows());
        if !self.stages.is_empty() {
            body.push_str("<h2>Time in each stage, since this process began</h2>\n");
            html_table(&mut body, &STAGE_HEADINGS, self.stages.iter().map(StageTime::cells));
        }
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{TITLE}</title></head>\n\
             <body>\n<h1>{TITLE}</h1>\n{body}</body></html>\n"
        )
    }
}

fn markdown_table<const N: usize>(
    text: &mut String,
    headings: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let _ = writeln!(text, "| {} |\n|{}", headings.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.map(|cell| plain(&cell)).join(" | "));
    }
}

fn html_table<const N: usize>(
    body: &mut String,
    headings: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let _ = writeln!(body, "<table>\n<tr><th>{}</th></tr>", headings.join("</th><th>"));
    for row in rows {
        let _ = writeln!(body, "<tr><td>{}</td></tr>", row.map(|cell| escape(&cell)).join("</td><td>"));
    }
    body.push_str("</table>\n");
}
