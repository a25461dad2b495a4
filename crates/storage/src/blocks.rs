//! Blocks of budgets: what nodes that share the database may spend without asking. A block grows only under the lock of its
//! budget's row, and what it may grow by is read in one statement, that is, in one state of the database: what a group
//! commit moves from a block to the totals meanwhile is seen in one of the two.

use claviger_domain::{
    budget::{
        BlockWish, Charge, Ground,
        blocks::{Answer, Held},
    },
    clock::{MICROS_PER_SEC, Timestamp},
    id::{BudgetId, NodeId},
    money::PICO_PER_USD,
    ports::StoreError,
};

use crate::{
    chains,
    commit::unfolded,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
    feed, nodes,
};

/// Beyond this a block's debt is no longer counted, so that the column cannot overflow.
const MOST_DEBT: i64 = -4_000_000_000_000_000_000;
/// A demand is heard for so long, in microseconds.
const DEMAND_US: i64 = 3 * MICROS_PER_SEC;
/// What node leases are called when one is lost.
pub(crate) const LEASE: &str = "node lease";

statements! {
    /// Others wait for this row; whoever has it reads what all have committed.
    LOCK = "UPDATE budgets SET version = version WHERE id = $1 AND dropped_us IS NULL";
    GROUND = "SELECT 'budget' AS id, limit_pusd AS a, hard AS b, CAST(0 AS BIGINT) AS c, CAST(0 AS BIGINT) AS d, \
              CAST(0 AS BIGINT) AS e, CAST(0 AS BIGINT) AS f, '' AS body FROM budgets \
              WHERE id = $1 AND dropped_us IS NULL \
              UNION ALL SELECT 'total', cost_usd, cost_rest_pusd, 0, 0, 0, 0, '' FROM budget_totals \
              WHERE budget_id = $1 AND window_us = $2 \
              UNION ALL SELECT 'block', amount_pusd, reserved_pusd, beyond_pusd, idle_pusd, op, delta_pusd, node \
              FROM budget_blocks WHERE budget_id = $1 AND window_us = $2 \
              UNION ALL SELECT 'batch', h.held_pusd, h.spent_usd, h.spent_rest_pusd, 0, 0, 0, h.charges \
              FROM batch_holds h JOIN resources r ON r.id = h.batch WHERE r.billed_us IS NULL \
              UNION ALL SELECT 'nodes', COUNT(*), 0, 0, 0, 0, 0, '' FROM node_leases";
    ANSWER = "INSERT INTO budget_blocks (budget_id, window_us, node, amount_pusd, reserved_pusd, beyond_pusd, \
              idle_pusd, wanted_us, op, delta_pusd) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $4) \
              ON CONFLICT (budget_id, window_us, node) DO UPDATE SET \
              amount_pusd = budget_blocks.amount_pusd + excluded.amount_pusd, \
              reserved_pusd = excluded.reserved_pusd, beyond_pusd = excluded.beyond_pusd, \
              idle_pusd = excluded.idle_pusd, wanted_us = excluded.wanted_us, op = excluded.op, \
              delta_pusd = excluded.delta_pusd";
    MOVE = "INSERT INTO budget_blocks (budget_id, window_us, node, amount_pusd, reserved_pusd, beyond_pusd, \
            idle_pusd, wanted_us, op, delta_pusd) VALUES ($1, $2, $3, $4, 0, 0, 0, 0, 0, 0) \
            ON CONFLICT (budget_id, window_us, node) DO UPDATE SET amount_pusd = CASE \
            WHEN budget_blocks.amount_pusd + excluded.amount_pusd < $5 THEN $5 \
            ELSE budget_blocks.amount_pusd + excluded.amount_pusd END";
    OF_NODE = "SELECT budget_id AS id, window_us, amount_pusd FROM budget_blocks WHERE node = $1 \
               ORDER BY budget_id, window_us";
    DEMANDS = "SELECT DISTINCT budget_id AS id, window_us FROM budget_blocks WHERE node <> $1 AND wanted_us >= $2";
    FORGET = "DELETE FROM budget_blocks WHERE budget_id = $1 AND window_us = $2 AND node = $3";
    FORGET_NODE = "DELETE FROM budget_blocks WHERE node = $1";
    FORGET_DROPPED = "DELETE FROM budget_blocks WHERE node = $1 \
                      AND budget_id IN (SELECT id FROM budgets WHERE dropped_us IS NOT NULL)";
}

/// What calls have cost, or is held back for a batch, leaves the node's blocks. Where nodes have none, nothing is done.
pub(crate) async fn leave<'a>(
    tx: &mut Tx,
    node: &NodeId,
    parts: impl Iterator<Item = (&'a BudgetId, Timestamp, i128)> + Send,
) -> Result<(), Failure> {
    if !tx.is_shared() {
        return Ok(());
    }
    for (budget, window, cost) in parts {
        shift(tx, node, (budget, window), -cost).await?;
    }
    Ok(())
}

async fn shift(
    tx: &mut Tx,
    node: &NodeId,
    (budget, window): (&BudgetId, Timestamp),
    by: i128,
) -> Result<(), Failure> {
    let by = i64::try_from(by).unwrap_or(if by < 0 { MOST_DEBT } else { i64::MAX });
    tx.execute(MOVE, args![budget.as_str(), window, node.as_str(), by, MOST_DEBT]).await.map(drop)
}

/// One node's answer, once.
pub(crate) async fn ask(
    db: &Db,
    node: &NodeId,
    charge: &Charge,
    wish: BlockWish,
) -> Result<Answer, StoreError> {
    let mut tx = db.begin().await?;
    if !nodes::hold(&mut tx, node).await? {
        return Err(StoreError::Conflict { what: LEASE });
    }
    if tx.execute(LOCK, args![charge.budget.as_str()]).await? != 1 {
        return Err(StoreError::Conflict { what: "budget" });
    }
    let mut ground = ground(&mut tx, node, charge).await?;
    if ground.own.op == wish.op {
        let delta = ground.own.delta;
        return Ok(Answer { ground, delta });
    }
    let delta = ground.answer(&wish);
    let wanted = if wish.lacks > 0 && delta + wish.gives < wish.lacks {
        tx.now().await?
    } else {
        Timestamp::from_micros(0)
    };
    let small = |amount: i128| i64::try_from(amount).unwrap_or(i64::MAX);
    let values = args![
        charge.budget.as_str(),
        charge.window,
        node.as_str(),
        small(delta),
        small(wish.reserved),
        small(wish.beyond),
        small(wish.idle),
        wanted,
        wish.op,
    ];
    tx.execute(ANSWER, values).await?;
    tx.commit().await?;
    ground.own.amount += delta;
    (ground.own.op, ground.own.delta) = (wish.op, delta);
    (ground.own.reserved, ground.own.beyond, ground.own.idle) = (wish.reserved, wish.beyond, wish.idle);
    Ok(Answer { ground, delta })
}

async fn ground(tx: &mut Tx, node: &NodeId, charge: &Charge) -> Result<Ground, Failure> {
    let mut ground = Ground::default();
    for row in tx.rows(GROUND, args![charge.budget.as_str(), charge.window]).await? {
        read("budget_blocks", &row, |row| add(&mut ground, row, node, charge))?;
    }
    Ok(ground)
}

fn add(ground: &mut Ground, row: &Row, node: &NodeId, charge: &Charge) -> Result<(), Unreadable> {
    let int = |column| row.int(column).map(i128::from);
    let money = |usd: i128, rest: i128| usd * i128::from(PICO_PER_USD) + rest;
    match row.text("id")? {
        "budget" => (ground.limit, ground.hard) = (int("a")?, int("b")? != 0),
        "total" => ground.settled = money(int("a")?, int("b")?),
        "nodes" => ground.nodes = u32::try_from(row.int("a")?).unwrap_or(u32::MAX),
        "batch" => {
            let charges: Vec<Charge> =
                serde_json::from_str(row.text("body")?).map_err(|_| Unreadable("charges"))?;
            if charges.contains(charge) {
                ground.batches += (int("a")? - money(int("b")?, int("c")?)).max(0);
            }
        }
        _ => {
            let held = Held {
                amount: int("a")?,
                reserved: int("b")?,
                beyond: int("c")?,
                idle: int("d")?,
                op: row.int("e")?,
                delta: int("f")?,
            };
            if row.text("body")? == node.as_str() {
                ground.own = held;
            } else {
                ground.others.push(held);
            }
        }
    }
    Ok(())
}

/// How periods stand, with the rows that are in no total yet.
pub(crate) async fn grounds(db: &Db, node: &NodeId, charges: &[Charge]) -> Result<Vec<Ground>, StoreError> {
    let mut tx = db.snapshot().await?;
    let mut rest = Vec::new();
    for chain in chains::rows(&mut tx, chains::UNFOLDED).await? {
        let pending = unfolded(&mut tx, &chain).await?;
        rest.push((chain.chain, pending.charged));
    }
    let mut grounds = Vec::with_capacity(charges.len());
    for charge in charges {
        let mut ground = Ground::default();
        for row in tx.rows(GROUND, args![charge.budget.as_str(), charge.window]).await? {
            let mut of_row = Ground::default();
            read("budget_blocks", &row, |row| add(&mut of_row, row, node, charge))?;
            let whose = row.text("body").unwrap_or_default().to_owned();
            let spent = |(chain, charged): &(NodeId, crate::budgets::Charged)| {
                let of = |(budget, window, cost): (&BudgetId, Timestamp, i128)| {
                    (*budget == charge.budget && window == charge.window).then_some(cost)
                };
                let sum: i128 = charged.periods().filter_map(of).sum();
                (chain.as_str() == whose).then_some(sum)
            };
            let spent: i128 = rest.iter().filter_map(spent).sum();
            of_row.own.amount -=
                if row.text("id") == Ok("block") && whose == node.as_str() { spent } else { 0 };
            of_row.others.iter_mut().for_each(|held| held.amount -= spent);
            ground = ground.with(of_row);
        }
        let all = rest.iter().flat_map(|(_, charged)| charged.periods());
        let ours = all.filter(|(budget, window, _)| **budget == charge.budget && *window == charge.window);
        ground.settled += ours.map(|(_, _, cost)| cost).sum::<i128>();
        grounds.push(ground);
    }
    Ok(grounds)
}

fn charge(row: &Row) -> Result<Charge, Unreadable> {
    Ok(Charge { budget: row.parsed("id", |t| BudgetId::parse(t).ok())?, window: row.time("window_us")? })
}

fn block(row: &Row) -> Result<(Charge, i128), Unreadable> {
    Ok((charge(row)?, i128::from(row.int("amount_pusd")?)))
}

pub(crate) async fn of_node(db: &Db, node: &NodeId) -> Result<Vec<(Charge, i128)>, StoreError> {
    let rows = db.rows(OF_NODE, args![node.as_str()]).await?;
    rows.iter().map(|row| read("budget_blocks", row, block)).collect()
}

pub(crate) async fn demands(db: &Db, node: &NodeId) -> Result<Vec<Charge>, StoreError> {
    let since = feed::clock(db).await?.plus_micros(-DEMAND_US);
    let rows = db.rows(DEMANDS, args![node.as_str(), since]).await?;
    rows.iter().map(|row| read("budget_blocks", row, charge)).collect()
}

pub(crate) async fn forget(db: &Db, node: &NodeId, charges: &[Charge]) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    for Charge { budget, window } in charges {
        tx.execute(FORGET, args![budget.as_str(), *window, node.as_str()]).await?;
    }
    tx.execute(FORGET_DROPPED, args![node.as_str()]).await?;
    Ok(tx.commit().await?)
}

/// Makes the blocks of a node that died another's. What it spent beyond its blocks is in the totals.
pub(crate) async fn inherit(
    tx: &mut Tx,
    own: &NodeId,
    dead: &NodeId,
) -> Result<Vec<(Charge, i128)>, Failure> {
    let rows = tx.rows(OF_NODE, args![dead.as_str()]).await?;
    let mut blocks: Vec<(Charge, i128)> =
        rows.iter().map(|row| read("budget_blocks", row, block)).collect::<Result<_, _>>()?;
    blocks.retain(|(_, amount)| *amount > 0);
    for (Charge { budget, window }, amount) in &blocks {
        shift(tx, own, (budget, *window), *amount).await?;
    }
    tx.execute(FORGET_NODE, args![dead.as_str()]).await?;
    Ok(blocks)
}
