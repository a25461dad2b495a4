-- Prepaid credit. An account binds calls as one more budget of its subject, for life.
ALTER TABLE budgets ADD COLUMN credit_account TEXT NOT NULL DEFAULT '';
DROP INDEX budgets_living;
CREATE UNIQUE INDEX budgets_living ON budgets (subject_kind, subject_id, period, credit_account)
    WHERE dropped_us IS NULL;

-- Accounts, and what their entries come to: decimal strings of pico-dollars, as they have no bound.
CREATE TABLE credit_accounts (
    id TEXT PRIMARY KEY,
    subject_kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    budget_id TEXT NOT NULL UNIQUE,
    opened_us {int} NOT NULL,
    entries {int} NOT NULL,
    cash TEXT NOT NULL,
    available TEXT NOT NULL,
    held TEXT NOT NULL,
    usage TEXT NOT NULL,
    captured TEXT NOT NULL,
    adjustments TEXT NOT NULL,
    UNIQUE (subject_kind, subject_id)
) {strict};

-- The book. Each entry takes its amount from one place and gives it to another: none can be out of balance.
CREATE TABLE credit_entries (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES credit_accounts (id),
    number {int} NOT NULL,
    kind TEXT NOT NULL,
    taken_from TEXT NOT NULL,
    given_to TEXT NOT NULL,
    amount_pusd {int} NOT NULL CHECK (amount_pusd > 0),
    at_us {int} NOT NULL,
    reference TEXT UNIQUE,
    hold_id TEXT REFERENCES credit_entries (id),
    note TEXT NOT NULL,
    UNIQUE (account_id, number),
    CHECK (taken_from <> given_to)
) {strict};
CREATE INDEX credit_entries_of_hold ON credit_entries (hold_id) WHERE hold_id IS NOT NULL;

-- Entries are only ever added.
{credit_entries_stay}
