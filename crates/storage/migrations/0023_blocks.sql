-- Which incarnations of nodes live, where several share the database: until when each need not be heard of. Who lapses is
-- taken over by another one, which takes the row away; a node without one can write no record any more.
CREATE TABLE node_leases (
    node TEXT PRIMARY KEY,
    until_us {int} NOT NULL
) {strict};

-- Who settles the calls of a chain whose node died.
ALTER TABLE data_chains ADD COLUMN heir TEXT;

-- What nodes may spend of a period of a budget without asking: what they were given, less what they gave back and what is
-- in the totals. What calls in flight hold back of it, can cost beyond that, and what is not in use is as the node said
-- last. A question is answered once: its number and what came of it stay.
CREATE TABLE budget_blocks (
    budget_id TEXT NOT NULL,
    window_us {int} NOT NULL,
    node TEXT NOT NULL,
    amount_pusd {int} NOT NULL,
    reserved_pusd {int} NOT NULL,
    beyond_pusd {int} NOT NULL,
    idle_pusd {int} NOT NULL,
    wanted_us {int} NOT NULL,
    op {int} NOT NULL,
    delta_pusd {int} NOT NULL,
    PRIMARY KEY (budget_id, window_us, node)
) {strict};
CREATE INDEX budget_blocks_node ON budget_blocks (node);

-- Calls that were open when their node was taken over, and are charged by its heir: should the node come back, what its own
-- spool says of them is not booked again.
CREATE TABLE taken_intents (
    intent TEXT PRIMARY KEY
) {strict};
