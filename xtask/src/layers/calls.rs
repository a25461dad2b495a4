//! Calls that reach for ambient time, ambient randomness or a task without an owner.
//!
//! `clippy.toml` bans the first and the last too; this check also sees other clocks, generators and the
//! bodies of macros, and knows the listed places.

use std::collections::HashMap;

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Role, Source, is_test, item_attributes};
use super::{Rule, Violation};

pub fn check(source: &Source) -> Vec<Violation> {
    if source.role == Role::Test {
        return Vec::new();
    }
    let mut imports = Imports(HashMap::new());
    imports.visit_file(&source.syntax);
    let mut visitor = Calls { source, imports, found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

/// Local names and the full paths they stand for.
struct Imports(HashMap<String, Vec<String>>);

impl Imports {
    fn add(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let extended = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add(&path.tree, &extended(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                if let Some(last) = prefix.last() {
                    self.0.insert(last.clone(), prefix.to_vec());
                }
            }
            syn::UseTree::Name(name) => {
                self.0.insert(name.ident.to_string(), extended(&name.ident));
            }
            syn::UseTree::Rename(rename) => {
                self.0.insert(rename.rename.to_string(), extended(&rename.ident));
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.add(item, prefix);
                }
            }
            syn::UseTree::Glob(_) => {}
        }
    }

    fn resolve(&self, path: &[String]) -> Vec<String> {
        match path.split_first().and_then(|(first, rest)| Some((self.0.get(first)?, rest))) {
            Some((full, rest)) => [full.as_slice(), rest].concat(),
            None => path.to_vec(),
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add(&item.tree, &[]);
    }
}

/// What a call of this path breaks, if anything.
fn judge(path: &[String]) -> Option<(Rule, &'static str)> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    match words.as_slice() {
        // Timers need it, and tests can pause it.
        ["tokio", "time", "Instant", "now"] => None,
        [.., "SystemTime" | "Instant" | "Timestamp" | "Zoned" | "Utc" | "Local", "now"] => {
            Some((Rule::Clock, "time is an argument: take a domain::clock::Clock"))
        }
        ["tokio", "spawn"] | ["tokio", "task", "spawn"] => {
            Some((Rule::Spawn, "tasks have an owner: spawn through the tracker that was passed in"))
        }
        [.., "thread_rng"] | ["rand", "rng" | "random" | "random_range"] | ["getrandom", ..] => {
            Some((Rule::Randomness, "randomness is an argument: take a domain::clock::Entropy"))
        }
        _ => None,
    }
}

struct Calls<'a> {
    source: &'a Source,
    imports: Imports,
    found: Vec<Violation>,
}

impl Calls<'_> {
    fn path(&mut self, path: &[String], line: usize) {
        let path = self.imports.resolve(path);
        if let Some((rule, reason)) = judge(&path) {
            let what = format!("`{}`: {reason}", path.join("::"));
            self.found.push(Violation { rule, path: self.source.path.clone(), line, what });
        }
    }

    /// Paths in a macro's tokens: identifiers joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    if punct.spacing() == Spacing::Alone && colons != 2 {
                        path.clear();
                    }
                }
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        path.clear();
                    }
                    colons = 0;
                    path.push(word.to_string());
                    self.path(&path.clone(), word.span().start().line);
                }
                TokenTree::Group(group) => {
                    path.clear();
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    path.clear();
                    colons = 0;
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&words, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, macro_call: &'ast syn::Macro) {
        self.tokens(macro_call.tokens.clone());
    }
}
