//! `#[expect(lint, reason = "…")]`, never `#[allow]`.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::Source;
use super::{Rule, Violation};

pub fn check(source: &Source) -> Vec<Violation> {
    let mut visitor = Attributes { source, found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

struct Attributes<'a> {
    source: &'a Source,
    found: Vec<Violation>,
}

impl<'ast> Visit<'ast> for Attributes<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if allows(attribute) {
            self.found.push(Violation {
                rule: Rule::Allow,
                path: self.source.path.clone(),
                line: attribute.span().start().line,
                what: "write #[expect(lint, reason = \"…\")]: it complains when it is no longer needed"
                    .to_owned(),
            });
        }
        visit::visit_attribute(self, attribute);
    }
}

fn allows(attribute: &syn::Attribute) -> bool {
    if attribute.path().is_ident("allow") {
        return true;
    }
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let words = list.tokens.to_string();
    list.path.is_ident("cfg_attr")
        && words.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == "allow")
}
