//! One budget of memory for all bodies that are held whole.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bytes that may be held at once, over all workers.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<State>);

#[derive(Debug)]
struct State {
    size: usize,
    taken: AtomicUsize,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub struct BudgetShare {
    state: Arc<State>,
    bytes: usize,
}

impl BodyBudget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self(Arc::new(State { size, taken: AtomicUsize::new(0) }))
    }

    /// Takes a share, or nothing when there is not enough left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<BudgetShare> {
        self.0.take(bytes).then(|| BudgetShare { state: Arc::clone(&self.0), bytes })
    }

    /// Whether so much could be taken now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.taken().checked_add(bytes).is_some_and(|sum| sum <= self.0.size)
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl State {
    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.size);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl BudgetShare {
    /// Makes the share at least so large, doubling so that this is rare; `false` when the budget is spent.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            return true;
        }
        let wanted = [self.bytes.saturating_mul(2).max(bytes), bytes];
        let Some(size) = wanted.into_iter().find(|w| self.state.take(w - self.bytes)) else { return false };
        self.bytes = size;
        true
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.state.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn_and_comes_back() {
        let budget = BodyBudget::new(100);
        let mut a = budget.take(60).unwrap();
        assert!(budget.take(41).is_none());
        let b = budget.take(40).unwrap();
        assert!(!a.grow_to(61));
        drop(b);
        assert!(a.grow_to(61));
        assert!(a.grow_to(100));
        assert!(!a.grow_to(101));
        drop(a);
        assert_eq!(budget.taken(), 0);
    }
}
