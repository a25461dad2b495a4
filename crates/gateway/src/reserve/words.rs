//! What callers read of budgets.

use claviger_domain::{
    budget::{BudgetMode, BudgetSubject, OverBudget},
    clock::Timestamp,
    money::usd_text,
};

use crate::admit::wait_secs;

/// What a refused caller reads.
pub(super) fn over_text(over: &OverBudget, now: Timestamp) -> String {
    let (needed, left) = (usd_text(over.needed), usd_text(over.left.max(0)));
    let costs = match over.record.mode {
        BudgetMode::Strict => "can cost up to",
        BudgetMode::Expected => "will cost at least",
    };
    let (which, until) = (which_budget(over), until(over, now));
    format!("This request would exceed {which}: it {costs} ${needed}, and ${left} is left{until}.")
}

/// What a caller reads whose answer is ended.
pub(super) fn ended_text(over: &OverBudget, now: Timestamp) -> String {
    let (which, until) = (which_budget(over), until(over, now));
    format!("The answer was ended here, because it would exceed {which}: nothing is left{until}.")
}

fn which_budget(over: &OverBudget) -> String {
    let record = &over.record;
    if let Some(account) = &record.credit {
        let whose = match &record.subject {
            BudgetSubject::Key(_) => "your key",
            BudgetSubject::Owner(_) => "your key's owner",
            BudgetSubject::Workspace(_) => "your workspace",
            BudgetSubject::All => "this gateway",
        };
        return format!("the prepaid credit of {whose} ({account})");
    }
    let whose = match &record.subject {
        BudgetSubject::Key(_) => "your key's budget",
        BudgetSubject::Owner(_) => "the budget of your key's owner",
        BudgetSubject::Workspace(_) => "your workspace's budget",
        BudgetSubject::All => "the budget of this gateway",
    };
    let limit = usd_text(i128::from(record.limit.as_pico()));
    format!("{whose} of ${limit} per {}", record.calendar.period().as_str())
}

fn until(over: &OverBudget, now: Timestamp) -> String {
    match over.window.end {
        Some(end) => format!(" until it begins anew in {} s", wait_secs(now, end)),
        None if over.record.credit.is_some() => String::new(),
        None => " and it does not begin anew".to_owned(),
    }
}
