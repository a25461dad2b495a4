-- What was learned of the calls of each key to each model, as JSON: what budgets in expected mode hold back for the next.
CREATE TABLE learned_costs (
    key_id TEXT NOT NULL,
    model TEXT NOT NULL,
    known TEXT NOT NULL,
    learned_us {int} NOT NULL,
    PRIMARY KEY (key_id, model)
) {strict};
