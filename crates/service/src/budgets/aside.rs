//! What is taken out of a budget other than by calls.

use claviger_domain::{
    budget::aside::{Aside, NotLeft},
    id::BudgetId,
    money::PicoUsd,
};
use tokio::time::{Instant, sleep};

use super::{
    Budgets,
    blocks::{AGAIN, PATIENCE},
};
use crate::{ServiceError, lock::lock};

/// What no call gets. It ends when this is dropped.
#[must_use = "what is set aside ends when this is dropped"]
pub(crate) struct SetAside {
    budgets: Budgets,
    aside: Option<Aside>,
}

impl Drop for SetAside {
    fn drop(&mut self) {
        if let Some(aside) = self.aside.take() {
            lock(&self.budgets.0.book).end_aside(aside);
            if let Some(blocks) = &self.budgets.0.blocks {
                blocks.wake();
            }
        }
    }
}

impl Budgets {
    fn try_set_aside(&self, id: &BudgetId, amount: PicoUsd) -> Result<SetAside, NotLeft> {
        let aside = lock(&self.0.book).set_aside(id, amount, self.0.deps.clock.now())?;
        Ok(SetAside { budgets: self.clone(), aside: Some(aside) })
    }

    /// Sets an amount aside from one budget alone; on one of several nodes, waits for a larger block as calls do. What is
    /// left, in pico-dollars, when that is not enough.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub(crate) async fn set_aside(
        &self,
        id: &BudgetId,
        amount: PicoUsd,
    ) -> Result<Result<SetAside, i128>, ServiceError> {
        let mut short = match self.try_set_aside(id, amount) {
            Ok(aside) => return Ok(Ok(aside)),
            Err(short) => short,
        };
        let Some((_, blocks)) = self.0.sharing() else { return Ok(Err(short.left)) };
        let away =
            || ServiceError::Unavailable("the store, which knows what is left, does not answer".to_owned());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let round = blocks.next_round(deadline).await.ok_or_else(away)?;
            short = match self.try_set_aside(id, amount) {
                Ok(aside) => return Ok(Ok(aside)),
                Err(short) => short,
            };
            if round.is_away {
                return Err(away());
            }
            let lacks = i128::from(amount.as_pico()) - short.left;
            let answer = short.charge.as_ref().and_then(|charge| round.answers.get(charge));
            if let Some(answer) =
                answer.filter(|a| a.is_hopeless(lacks) || Instant::now() + AGAIN >= deadline)
            {
                return Ok(Err(short.left.max(0) + answer.left()));
            }
            if Instant::now() + AGAIN >= deadline {
                return Ok(Err(short.left.max(0)));
            }
            sleep(AGAIN).await;
        }
    }
}
