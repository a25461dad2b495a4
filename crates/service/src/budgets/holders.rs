//! What whoever holds a key may know of the budgets that its calls count against.

use claviger_domain::budget::{BudgetSubject, Standing};

use super::Budgets;
use crate::{ServiceError, grants::LiveGrant};

impl Budgets {
    /// How every budget that calls of a holder count against stands, over all nodes: those of its key's line first, then
    /// those of the line above a child, of its owner, of its workspace and of everything.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`] when several nodes share a store that does not answer.
    pub async fn standings_of_holder(&self, holder: &LiveGrant) -> Result<Vec<Standing>, ServiceError> {
        if !self.any() {
            return Ok(Vec::new());
        }
        let key = &holder.grant.key;
        let parent = holder.parent.as_ref().map(|parent| parent.grant.key.lineage.clone());
        let lines = [Some(key.lineage.clone()), parent].into_iter().flatten().map(BudgetSubject::Key);
        let subjects = lines.chain([
            BudgetSubject::Owner(key.owner.clone()),
            BudgetSubject::Workspace(key.workspace.clone()),
            BudgetSubject::All,
        ]);
        let mut standings = Vec::new();
        for subject in subjects {
            standings.extend(self.standings_of_all(Some(&subject)).await?);
        }
        Ok(standings)
    }
}
