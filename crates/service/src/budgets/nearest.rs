//! Which ceiling a caller is nearest to, as its answers say.

use claviger_domain::budget::Nearest;

use super::Held;
use crate::lock::lock;

impl Held {
    /// Of the hard budgets that the call counts against, the one of which the largest part is spent.
    #[must_use]
    pub fn nearest(&self) -> Option<Nearest> {
        let holds = self.holds.as_ref().filter(|holds| holds.bind())?;
        lock(&self.budgets.0.book).nearest(holds)
    }
}
