//! SQL text lives in `storage`.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::source::{Role, Source, is_test, item_attributes};
use super::{Rule, Violation};

/// Words that make a string a statement when all of one row occur in this order.
const STATEMENTS: [&[&str]; 8] = [
    &["SELECT ", " FROM "],
    &["INSERT INTO "],
    &["UPDATE ", " SET "],
    &["DELETE FROM "],
    &["CREATE TABLE "],
    &["ALTER TABLE "],
    &["DROP TABLE "],
    &["PRAGMA "],
];

pub fn check(source: &Source) -> Vec<Violation> {
    let elsewhere = source.crate_name().is_some_and(|name| name != "storage");
    if source.role == Role::Test || !elsewhere {
        return Vec::new();
    }
    let mut visitor = Strings { source, found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

fn is_statement(text: &str) -> bool {
    STATEMENTS.iter().any(|words| {
        let mut rest = text;
        words.iter().all(|word| match rest.split_once(word) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

struct Strings<'a> {
    source: &'a Source,
    found: Vec<Violation>,
}

impl Strings<'_> {
    fn text(&mut self, text: &str, line: usize) {
        // Whether words are parted by blanks or by line ends does not matter.
        let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if is_statement(&format!("{spaced} ")) {
            let what = "SQL text belongs to `storage`, as a named constant".to_owned();
            self.found.push(Violation { rule: Rule::Sql, path: self.source.path.clone(), line, what });
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    self.text(&literal.to_string(), literal.span().start().line);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Strings<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {
        // Documentation may quote what it likes.
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.text(&literal.value(), literal.span().start().line);
        visit::visit_lit_str(self, literal);
    }

    fn visit_macro(&mut self, macro_call: &'ast syn::Macro) {
        self.tokens(macro_call.tokens.clone());
    }
}
