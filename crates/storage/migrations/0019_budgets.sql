-- Ceilings on money. A subject has at most one living budget for each period.
CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    period TEXT NOT NULL,
    zone TEXT NOT NULL,
    limit_pusd {int} NOT NULL,
    hard {int} NOT NULL,
    mode TEXT NOT NULL,
    created_us {int} NOT NULL,
    dropped_us {int},
    version {int} NOT NULL
) {strict};
CREATE UNIQUE INDEX budgets_living ON budgets (subject_kind, subject_id, period) WHERE dropped_us IS NULL;

-- What each period of a budget has cost: whole dollars plus a rest in pico-dollars, so that neither can overflow.
CREATE TABLE budget_totals (
    budget_id TEXT NOT NULL,
    window_us {int} NOT NULL,
    cost_usd {int} NOT NULL,
    cost_rest_pusd {int} NOT NULL,
    PRIMARY KEY (budget_id, window_us)
) {strict};

-- What is held back for batches until their results are billed, and what of it is billed already.
CREATE TABLE batch_holds (
    batch TEXT PRIMARY KEY,
    held_pusd {int} NOT NULL,
    charges TEXT NOT NULL,
    spent_usd {int} NOT NULL,
    spent_rest_pusd {int} NOT NULL
) {strict};
