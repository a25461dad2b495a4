//! Documentation that can be checked: links lead somewhere, both READMEs say the same, the example configuration and
//! the reference list the same settings, and the kept document of the admin API is what the program prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::args::Arguments;
use crate::openapi;
use crate::output;
use crate::steps::Outcome;
use crate::workspace::Workspace;

const ROOT_PAGES: [&str; 6] =
    ["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

pub fn run(workspace: &Workspace, arguments: Arguments) -> anyhow::Result<ExitCode> {
    arguments.finish()?;
    Ok(match step(workspace)? {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed(_) | Outcome::Skipped(_) => ExitCode::FAILURE,
    })
}

/// All checks as a step of a longer run.
pub fn step(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let mut problems = problems(workspace.root())?;
    problems.extend(openapi::problems(workspace)?);
    for problem in &problems {
        output::line(problem);
    }
    Ok(match problems.len() {
        0 => Outcome::Passed,
        count => Outcome::Failed(format!("{count} problem(s)")),
    })
}

fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages: Vec<PathBuf> = ROOT_PAGES.iter().map(|page| root.join(page)).collect();
    for folder in ["docs", "docs/src", "docs/decisions"] {
        let entries = fs::read_dir(root.join(folder)).with_context(|| format!("list {folder}"))?;
        let files = entries.flatten().map(|entry| entry.path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    let mut problems = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let shown = page.strip_prefix(root).unwrap_or(page).display();
        let broken = broken_links(page, &text);
        problems.extend(broken.map(|link| format!("{shown}: link to {link}, which is not there")));
    }
    let unlisted = unlisted_pages(root)?;
    problems.extend(unlisted.into_iter().map(|page| format!("docs/src/SUMMARY.md: {page} is missing")));
    let english = fs::read_to_string(root.join("README.md"))?;
    let chinese = fs::read_to_string(root.join("README.zh-CN.md"))?;
    problems.extend(differences(&english, &chinese));
    let example = fs::read_to_string(root.join("deploy/claviger.toml"))?;
    let reference = fs::read_to_string(root.join("docs/src/configuration.md"))?;
    for name in example_settings(&example)?.symmetric_difference(&reference_settings(&reference)) {
        problems
            .push(format!("{name}: deploy/claviger.toml and docs/src/configuration.md do not both name it"));
    }
    Ok(problems)
}

/// Targets of relative links that do not exist.
fn broken_links<'a>(page: &'a Path, text: &'a str) -> impl Iterator<Item = &'a str> {
    let folder = page.parent().unwrap_or(Path::new(""));
    links(text).filter(move |link| {
        let file = link.split('#').next().unwrap_or_default();
        let elsewhere = link.contains("://") || link.starts_with("mailto:");
        !elsewhere && !file.is_empty() && !folder.join(file).exists()
    })
}

/// The targets of `[text](target)`, code blocks left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split([')', ' ']).next())
}

/// Pages of the book that its table of contents leaves out.
fn unlisted_pages(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("docs/src");
    let summary = fs::read_to_string(folder.join("SUMMARY.md")).context("read docs/src/SUMMARY.md")?;
    let listed: BTreeSet<&str> = links(&summary).collect();
    let mut missing = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "SUMMARY.md" && !listed.contains(name.as_str()) {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// What a translation must have in common with its original: code blocks, links, number of headings.
fn differences(english: &str, chinese: &str) -> Vec<String> {
    let mut found = Vec::new();
    let targets = |text| -> BTreeSet<String> {
        links(text).filter(|link| !link.starts_with("README")).map(str::to_owned).collect()
    };
    for link in targets(english).symmetric_difference(&targets(chinese)) {
        found.push(format!("README.zh-CN.md: only one of the two READMEs links to {link}"));
    }
    let headings = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    if headings(english) != headings(chinese) {
        found.push("README.zh-CN.md: another number of headings than README.md".to_owned());
    }
    if blocks(english) != blocks(chinese) {
        found.push("README.zh-CN.md: its code blocks differ from README.md's".to_owned());
    }
    found
}

/// Code blocks without their trailing comments, which are translated.
fn blocks(text: &str) -> Vec<Vec<&str>> {
    text.split("```").skip(1).step_by(2).map(|block| block.lines().map(without_comment).collect()).collect()
}

fn without_comment(line: &str) -> &str {
    line.split("     # ").next().unwrap_or(line).trim_end()
}

/// The settings of the example, its comment signs taken off: `section.name`.
fn example_settings(example: &str) -> anyhow::Result<BTreeSet<String>> {
    let lines = example.lines().map(|line| line.trim_start_matches("# "));
    let lines = lines.filter(|line| line.starts_with('[') || is_setting(line));
    let table: toml::Table =
        toml::from_str(&lines.collect::<Vec<_>>().join("\n")).context("deploy/claviger.toml")?;
    let mut names = BTreeSet::new();
    for (name, value) in &table {
        match value.as_table() {
            Some(section) => names.extend(section.keys().map(|key| format!("{name}.{key}"))),
            None => {
                names.insert(name.clone());
            }
        }
    }
    Ok(names)
}

/// `name = …`, and not a sentence with an equals sign in it.
fn is_setting(line: &str) -> bool {
    let name = line.split_once(" = ").map(|(name, _)| name);
    name.is_some_and(|name| {
        name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
    })
}

/// The names in the first column of the reference's table.
fn reference_settings(reference: &str) -> BTreeSet<String> {
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_from_both_places_alike() {
        let example = "# A sentence, x = y.\n# listen = \"x\"\n[tls]\n# cert = \"c\"\n# key = \"k\"\n";
        let reference =
            "| file | flag |\n|---|---|\n| `listen` | `--listen` |\n| `tls.cert`, `tls.key` | |\n";
        assert_eq!(example_settings(example).unwrap(), reference_settings(reference));
    }

    #[test]
    fn links_are_found_outside_code_only() {
        let text = "[a](x.md) and [b](y.md#part)\n```\n[c](z.md)\n```\n[d](w.md)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["x.md", "y.md#part", "w.md"]);
    }

    #[test]
    fn a_link_to_nowhere_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("there.md"), "").unwrap();
        let page = folder.path().join("page.md");
        let text = "[a](there.md#x) [b](gone.md) [c](https://example.com/x) [d](#here)";
        assert_eq!(broken_links(&page, text).collect::<Vec<_>>(), ["gone.md"]);
    }

    #[test]
    fn a_translation_that_fell_behind_is_noticed() {
        let english = "# A\n[x](x.md)\n```sh\nrun it     # now\n```\n";
        assert!(differences(english, "# 甲\n[某](x.md)\n```sh\nrun it     # 现在\n```\n").is_empty());
        assert_eq!(differences(english, "# 甲\n```sh\nrun that\n```\n").len(), 2);
    }
}
