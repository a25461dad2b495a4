//! A parsed source file, with its code lines and its tests told apart.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Folders with sources of ours.
const ROOTS: [&str; 3] = ["crates", "xtask", "fuzz"];
/// Folders below them that hold none.
const SKIPPED: [&str; 4] = ["target", "corpus", "artifacts", "node_modules"];

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Product,
    Test,
}

pub struct Source {
    /// Relative to the checkout, with `/`.
    pub path: String,
    pub role: Role,
    pub syntax: syn::File,
    /// Lines that hold code: no blanks, no comments, nothing under `cfg(test)`.
    pub code_lines: BTreeSet<usize>,
    /// Files that this one declares under `cfg(test)`.
    test_modules: Vec<String>,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> anyhow::Result<Self> {
        let syntax = syn::parse_file(text).with_context(|| format!("parse {path}"))?;
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("read {path}: {error}"))?;
        let mut tests = TestItems { path, ranges: Vec::new(), modules: Vec::new() };
        tests.visit_file(&syntax);
        let mut lines = BTreeSet::new();
        collect_lines(tokens, &mut lines);
        lines.retain(|line| !tests.ranges.iter().any(|range| range.contains(line)));
        let (role, test_modules) = (role_of(path), tests.modules);
        Ok(Self { path: path.to_owned(), role, syntax, code_lines: lines, test_modules })
    }

    /// The folder name of the crate under `crates/`, if it is one.
    pub fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Lines of code in a piece of this file.
    pub fn lines_in(&self, range: RangeInclusive<usize>) -> usize {
        self.code_lines.range(range).count()
    }
}

/// The lines that a piece of syntax spans.
pub fn lines_of(piece: &impl Spanned) -> RangeInclusive<usize> {
    let span = piece.span();
    span.start().line..=span.end().line
}

/// True for `#[cfg(test)]` and `#[test]`, also inside `all` and `any`.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("test") {
            return true;
        }
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words = list.tokens.to_string();
        let mut words = words.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        list.path.is_ident("cfg")
            && words.clone().any(|word| word == "test")
            && !words.any(|word| word == "not")
    })
}

/// Every `.rs` file of ours.
pub fn read_all(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    for folder in ROOTS {
        collect_files(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let relative = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        sources.push(Source::parse(&relative, &text)?);
    }
    let declared: BTreeSet<String> =
        sources.iter().flat_map(|source| source.test_modules.iter().cloned()).collect();
    for source in &mut sources {
        if declared.contains(&source.path) {
            source.role = Role::Test;
        }
    }
    Ok(sources)
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn role_of(path: &str) -> Role {
    let mut parts: Vec<&str> = path.split('/').collect();
    let file = parts.pop().unwrap_or_default();
    let in_test_folder = parts.iter().any(|part| matches!(*part, "tests" | "benches" | "fuzz"));
    if file == "tests.rs" || in_test_folder { Role::Test } else { Role::Product }
}

struct TestItems<'a> {
    path: &'a str,
    ranges: Vec<RangeInclusive<usize>>,
    modules: Vec<String>,
}

impl TestItems<'_> {
    /// Where `mod name;` in this file has its text.
    fn module_file(&self, name: &str) -> String {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", self.path));
        match file {
            "lib.rs" | "main.rs" => format!("{folder}/{name}.rs"),
            _ => format!("{folder}/{}/{name}.rs", file.trim_end_matches(".rs")),
        }
    }
}

impl<'ast> Visit<'ast> for TestItems<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test(item_attributes(item)) {
            self.ranges.push(lines_of(item));
            if let syn::Item::Mod(module) = item
                && module.content.is_none()
            {
                self.modules.push(self.module_file(&module.ident.to_string()));
            }
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_test(&item.attrs) {
            self.ranges.push(lines_of(item));
        } else {
            visit::visit_impl_item_fn(self, item);
        }
    }
}

/// The attributes of the items that are ever marked as tests.
#[expect(clippy::wildcard_enum_match_arm, reason = "syn's enums are non-exhaustive")]
pub fn item_attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Adds every line that holds a token, doc comments (which parse as attributes) left out.
fn collect_lines(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if is_hash(&token) && tokens.peek().is_some_and(is_bang) {
            tokens.next();
        }
        if is_hash(&token) && tokens.peek().is_some_and(is_doc) {
            tokens.next();
            continue;
        }
        let span = token.span();
        match token {
            TokenTree::Group(group) => {
                lines.extend(line_range(group.span_open()));
                lines.extend(line_range(group.span_close()));
                collect_lines(group.stream(), lines);
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                lines.extend(line_range(span));
            }
        }
    }
}

fn line_range(span: proc_macro2::Span) -> RangeInclusive<usize> {
    span.start().line..=span.end().line
}

fn is_hash(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '#')
}

fn is_bang(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '!')
}

fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(word)) if word == "doc")
}
