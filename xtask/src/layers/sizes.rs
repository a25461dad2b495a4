//! Sizes of files and functions, in lines of code.

use std::ops::RangeInclusive;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Role, Source, is_test, item_attributes, lines_of};
use super::{Rule, Violation};

pub const FILE_LINES: usize = 500;
pub const FUNCTION_LINES: usize = 80;
/// `self` counts.
pub const PARAMETERS: usize = 5;

pub fn check(source: &Source) -> Vec<Violation> {
    if source.role == Role::Test {
        return Vec::new();
    }
    let mut visitor = Functions { source, found: Vec::new() };
    let lines = source.code_lines.len();
    if lines > FILE_LINES {
        visitor.report(Rule::FileSize, 0, format!("{lines} lines of code, {FILE_LINES} at most"));
    }
    visitor.visit_file(&source.syntax);
    visitor.found
}

struct Functions<'a> {
    source: &'a Source,
    found: Vec<Violation>,
}

impl Functions<'_> {
    fn report(&mut self, rule: Rule, line: usize, what: String) {
        self.found.push(Violation { rule, path: self.source.path.clone(), line, what });
    }

    fn function(&mut self, signature: &syn::Signature, body: RangeInclusive<usize>) {
        let first = signature.span().start().line;
        let name = &signature.ident;
        let lines = self.source.lines_in(first..=*body.end());
        if lines > FUNCTION_LINES {
            let what = format!("`{name}` has {lines} lines of code, {FUNCTION_LINES} at most");
            self.report(Rule::FunctionSize, first, what);
        }
        let parameters = signature.inputs.len();
        if parameters > PARAMETERS {
            let what = format!("`{name}` takes {parameters} parameters, {PARAMETERS} at most");
            self.report(Rule::Parameters, first, what);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, lines_of(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, lines_of(&item.block));
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        let body = item.default.as_ref().map_or_else(|| lines_of(&item.sig), lines_of);
        self.function(&item.sig, body);
        visit::visit_trait_item_fn(self, item);
    }
}
