//! How deep blocks stand in each other.
//!
//! The body of a function is depth 0; a branch, a loop, a `match`, a closure or a bare block adds one.
//! `else if` and the braces of a match arm add nothing. Macro bodies are invisible.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::source::{Role, Source, is_test, item_attributes};
use super::{Rule, Violation};

pub const DEPTH: usize = 4;

pub fn check(source: &Source) -> Vec<Violation> {
    if source.role == Role::Test {
        return Vec::new();
    }
    let mut visitor = Nesting { source, depth: 0, deepest: (0, 0), found: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.found
}

struct Nesting<'a> {
    source: &'a Source,
    depth: usize,
    /// Depth and line of the deepest block of the function at hand.
    deepest: (usize, usize),
    found: Vec<Violation>,
}

impl<'ast> Nesting<'_> {
    fn function(&mut self, name: &syn::Ident, body: &'ast syn::Block) {
        let outer = (std::mem::take(&mut self.depth), std::mem::take(&mut self.deepest));
        self.visit_block(body);
        let (depth, line) = self.deepest;
        if depth > DEPTH {
            let what = format!("`{name}` nests {depth} deep, {DEPTH} at most");
            self.found.push(Violation { rule: Rule::Nesting, path: self.source.path.clone(), line, what });
        }
        (self.depth, self.deepest) = outer;
    }

    fn nested(&mut self, line: usize, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        if self.depth > self.deepest.0 {
            self.deepest = (self.depth, line);
        }
        visit(self);
        self.depth -= 1;
    }

    fn block(&mut self, block: &'ast syn::Block) {
        self.nested(block.span().start().line, |inner| inner.visit_block(block));
    }

    fn branch(&mut self, branch: &'ast syn::ExprIf) {
        self.visit_expr(&branch.cond);
        self.block(&branch.then_branch);
        match branch.else_branch.as_ref().map(|(_, other)| other.as_ref()) {
            Some(syn::Expr::If(next)) => self.branch(next),
            Some(syn::Expr::Block(last)) => self.block(&last.block),
            Some(other) => self.visit_expr(other),
            None => {}
        }
    }

    fn arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.visit_expr(guard);
        }
        self.body(&arm.body);
    }

    /// An expression whose own braces are not a level of their own.
    #[expect(clippy::wildcard_enum_match_arm, reason = "syn's enums are non-exhaustive")]
    fn body(&mut self, body: &'ast syn::Expr) {
        match body {
            syn::Expr::Block(braces) if braces.label.is_none() => self.visit_block(&braces.block),
            other => self.visit_expr(other),
        }
    }

    fn arms(&mut self, expression: &'ast syn::ExprMatch) {
        self.visit_expr(&expression.expr);
        self.nested(expression.span().start().line, |inner| {
            for arm in &expression.arms {
                inner.arm(arm);
            }
        });
    }
}

impl<'ast> Visit<'ast> for Nesting<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig.ident, &item.block);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig.ident, body);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let Some(init) = &local.init else { return };
        self.visit_expr(&init.expr);
        if let Some((_, other)) = &init.diverge {
            self.nested(other.span().start().line, |inner| inner.body(other));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "syn's enums are non-exhaustive")]
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        match expression {
            syn::Expr::If(branch) => self.branch(branch),
            syn::Expr::Match(arms) => self.arms(arms),
            syn::Expr::Loop(looped) => self.block(&looped.body),
            syn::Expr::While(looped) => {
                self.visit_expr(&looped.cond);
                self.block(&looped.body);
            }
            syn::Expr::ForLoop(looped) => {
                self.visit_expr(&looped.expr);
                self.block(&looped.body);
            }
            syn::Expr::Block(braces) => self.block(&braces.block),
            syn::Expr::Async(braces) => self.block(&braces.block),
            syn::Expr::Closure(closure) if matches!(*closure.body, syn::Expr::Block(_)) => {
                self.nested(closure.span().start().line, |inner| inner.body(&closure.body));
            }
            other => visit::visit_expr(self, other),
        }
    }
}
