use proptest::prelude::*;

use super::*;
use crate::{
    budget::{Ask, BudgetMode, BudgetSubject, Calendar, Holds, Period},
    id::{BudgetId, KeyId, OwnerId, WorkspaceId},
    ledger::Party,
    money::PicoUsd,
    token::KeyClass,
};

const LIMIT: i128 = 1_000;

fn record(hard: bool) -> BudgetRecord {
    BudgetRecord {
        id: BudgetId::parse("bdg_a").unwrap(),
        subject: BudgetSubject::All,
        calendar: Calendar::new(Period::Life, "UTC").unwrap(),
        limit: PicoUsd::new(LIMIT).unwrap(),
        hard,
        mode: BudgetMode::Strict,
        created_at: Timestamp::from_micros(0),
        dropped_at: None,
        credit: None,
        version: 1,
    }
}

fn party() -> Party {
    Party {
        key: KeyId::parse("key_a").unwrap(),
        workspace: WorkspaceId::parse("ws_a").unwrap(),
        owner: OwnerId::parse("own_a").unwrap(),
        class: KeyClass::Live,
    }
}

fn charge() -> Charge {
    Charge { budget: BudgetId::parse("bdg_a").unwrap(), window: Timestamp::from_micros(0) }
}

/// A node: its book, its calls in flight, and what its record says that no total holds yet.
struct Node {
    book: Book,
    calls: Vec<(Holds, i128)>,
    unfolded: i128,
    /// A question whose answer was lost.
    lost: Option<BlockWish>,
}

impl Node {
    fn new(now: Timestamp, settled: i128) -> Self {
        let mut book = Book::shared();
        book.put(record(true), now, settled);
        Self { book, calls: Vec::new(), unfolded: 0, lost: None }
    }
}

/// Nodes and the store that they share.
struct World {
    now: Timestamp,
    settled: i128,
    batches: Vec<i128>,
    blocks: Vec<Held>,
    nodes: Vec<Node>,
    /// All that calls have cost.
    cost: i128,
}

impl World {
    fn new(nodes: usize) -> Self {
        let now = Timestamp::from_secs(1);
        let nodes: Vec<Node> = (0..nodes).map(|_| Node::new(now, 0)).collect();
        let blocks = vec![Held::default(); nodes.len()];
        Self { now, settled: 0, batches: Vec::new(), blocks, nodes, cost: 0 }
    }

    fn ground(&self, own: usize) -> Ground {
        Ground {
            limit: LIMIT,
            hard: true,
            settled: self.settled,
            batches: self.batches.iter().sum(),
            own: self.blocks[own],
            others: self
                .blocks
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != own)
                .map(|(_, held)| *held)
                .collect(),
            nodes: u32::try_from(self.nodes.len()).unwrap(),
        }
    }

    /// One question, as the store answers it.
    fn ask(&mut self, n: usize, lacks: i128, loses_answer: bool) {
        self.now = self.now.plus_micros(1);
        let Some(wish) = self.nodes[n].book.wish(&charge(), lacks, self.now) else { return };
        let ground = self.ground(n);
        let delta = if ground.own.op == wish.op { ground.own.delta } else { ground.answer(&wish) };
        if ground.own.op != wish.op {
            let held = &mut self.blocks[n];
            held.amount += delta;
            (held.reserved, held.beyond, held.idle) = (wish.reserved, wish.beyond, wish.idle);
            (held.op, held.delta) = (wish.op, delta);
        }
        if loses_answer {
            self.nodes[n].lost = Some(wish);
        } else {
            self.nodes[n].lost = None;
            let answer = Answer { ground: self.ground(n), delta };
            self.nodes[n].book.answered(&charge(), &wish, &answer);
        }
    }

    fn reserve(&mut self, n: usize, worst: i128) -> bool {
        let ask = Ask::at_most(PicoUsd::new(worst).unwrap());
        match self.nodes[n].book.reserve(&party(), None, ask, self.now) {
            Ok(holds) => {
                self.nodes[n].calls.push((holds, worst));
                true
            }
            Err(_) => false,
        }
    }

    fn settle(&mut self, n: usize, percent: i128) {
        let Some((holds, worst)) = self.nodes[n].calls.pop() else { return };
        let cost = worst * percent / 100;
        self.nodes[n].book.settle(holds, PicoUsd::new(cost).unwrap());
        self.nodes[n].unfolded += cost;
        self.cost += cost;
    }

    fn make_batch(&mut self, n: usize) {
        let Some((holds, worst)) = self.nodes[n].calls.pop() else { return };
        self.nodes[n].book.hand_over(holds);
        self.blocks[n].amount -= worst;
        self.batches.push(worst);
    }

    fn bill_batch(&mut self, percent: i128) {
        let Some(held) = self.batches.pop() else { return };
        self.settled += held * percent / 100;
        self.cost += held * percent / 100;
    }

    fn fold(&mut self, n: usize) {
        let cost = std::mem::take(&mut self.nodes[n].unfolded);
        self.settled += cost;
        self.blocks[n].amount -= cost;
    }

    /// It dies and begins anew; another one takes it over and charges its calls at what they held back.
    fn crash(&mut self, n: usize, heir: usize) {
        if n == heir {
            return;
        }
        self.fold(n);
        let dead = std::mem::replace(&mut self.nodes[n], Node::new(self.now, self.settled));
        let left = std::mem::take(&mut self.blocks[n]).amount.max(0);
        self.blocks[heir].amount += left;
        let heir = &mut self.nodes[heir];
        heir.book.adopt(&charge(), left);
        for (_, worst) in dead.calls {
            heir.book.charge(&[charge()], PicoUsd::new(worst).unwrap());
            heir.unfolded += worst;
            self.cost += worst;
        }
    }

    fn reserved(&self) -> i128 {
        self.nodes.iter().flat_map(|node| &node.calls).map(|(_, worst)| worst).sum()
    }

    fn check(&self) {
        let held: i128 = self.batches.iter().sum();
        assert!(self.cost + held + self.reserved() <= LIMIT, "passed");
        let blocks: i128 = self.blocks.iter().map(|held| held.amount.max(0)).sum();
        assert!(self.settled + held + blocks <= LIMIT, "blocks pass the limit");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Reserve { node: usize, worst: i128, asks: bool, loses: bool },
    Settle { node: usize, percent: i128 },
    Ask { node: usize, loses: bool },
    Fold { node: usize },
    GiveBack { node: usize, demanded: bool },
    Wait,
    Batch { node: usize },
    Bill { percent: i128 },
    Crash { node: usize, heir: usize },
}

const NODES: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        6 => (node(), 0_i128..400, any::<bool>(), any::<bool>())
            .prop_map(|(node, worst, asks, loses)| Step::Reserve { node, worst, asks, loses: loses && worst % 4 == 0 }),
        4 => (node(), 0_i128..=100).prop_map(|(node, percent)| Step::Settle { node, percent }),
        3 => (node(), any::<bool>()).prop_map(|(node, loses)| Step::Ask { node, loses }),
        3 => node().prop_map(|node| Step::Fold { node }),
        3 => (node(), any::<bool>()).prop_map(|(node, demanded)| Step::GiveBack { node, demanded }),
        1 => Just(Step::Wait),
        1 => node().prop_map(|node| Step::Batch { node }),
        1 => (0_i128..=100).prop_map(|percent| Step::Bill { percent }),
        1 => (node(), node()).prop_map(|(node, heir)| Step::Crash { node, heir }),
    ];
    prop::collection::vec(step, 1..120)
}

fn act(world: &mut World, step: &Step) {
    match *step {
        Step::Reserve { node, worst, asks, loses } => {
            if !world.reserve(node, worst) && asks {
                for (_, lacks) in world.nodes[node].book.take_wanted() {
                    world.ask(node, lacks, loses);
                }
                world.reserve(node, worst);
            }
        }
        Step::Settle { node, percent } => world.settle(node, percent),
        Step::Ask { node, loses } => world.ask(node, 0, loses),
        Step::Fold { node } => world.fold(node),
        Step::GiveBack { node, demanded } => {
            let demands = if demanded { vec![charge()] } else { Vec::new() };
            let now = world.now;
            for _ in world.nodes[node].book.give_back(&demands, now) {
                world.ask(node, 0, false);
            }
        }
        Step::Wait => world.now = world.now.plus_micros(IDLE_US),
        Step::Batch { node } => world.make_batch(node),
        Step::Bill { percent } => world.bill_batch(percent),
        Step::Crash { node, heir } => world.crash(node, heir),
    }
}

proptest! {
    /// Whatever is leased, spent, given back, lost and taken over, in any order.
    #[test]
    fn nodes_together_never_pass_a_ceiling_and_nothing_leaks(steps in steps()) {
        let mut world = World::new(NODES);
        for step in &steps {
            act(&mut world, step);
            world.check();
        }
        while !world.batches.is_empty() {
            world.bill_batch(50);
        }
        for n in 0..NODES {
            while !world.nodes[n].calls.is_empty() {
                world.settle(n, 70);
            }
            world.fold(n);
            // An answer that was lost is asked for again.
            world.ask(n, 0, false);
            world.nodes[n].book.give_all_back();
            world.ask(n, 0, false);
            world.nodes[n].book.give_all_back();
            world.ask(n, 0, false);
            world.check();
        }
        prop_assert!(world.blocks.iter().all(|held| held.amount == 0), "{:?}", world.blocks);
        prop_assert_eq!(world.settled, world.cost);
    }

    /// With nobody else about, all that is left can be spent: no refusal while money is left.
    #[test]
    fn what_is_left_is_given_to_whoever_needs_it(costs in prop::collection::vec(1_i128..300, 1..20)) {
        let mut world = World::new(NODES);
        for (n, worst) in costs.into_iter().enumerate() {
            let node = n % NODES;
            if !world.reserve(node, worst) {
                for other in (0..NODES).filter(|other| *other != node) {
                    let now = world.now;
                    for _ in world.nodes[other].book.give_back(&[charge()], now) {
                        world.ask(other, 0, false);
                    }
                }
                for (_, lacks) in world.nodes[node].book.take_wanted() {
                    world.ask(node, lacks, false);
                }
                let fits = world.cost + world.reserved() + worst <= LIMIT;
                prop_assert_eq!(world.reserve(node, worst), fits);
                // Nobody waits any more.
                world.nodes[node].book.take_wanted();
            }
            world.settle(node, 100);
            world.fold(node);
        }
    }
}

#[test]
fn the_first_block_is_a_share_and_the_last_is_just_what_a_call_needs() {
    let ground = |settled| Ground { limit: LIMIT, hard: true, settled, nodes: 2, ..Ground::default() };
    let wish = |lacks| BlockWish { op: 1, lacks, ahead: true, ..BlockWish::default() };
    assert_eq!(ground(0).answer(&wish(10)), 250);
    assert_eq!(ground(900).answer(&wish(30)), 30);
    assert_eq!(ground(900).answer(&wish(101)), 0);
    assert_eq!(ground(900).answer(&wish(0)), 25);
}

#[test]
fn a_debt_is_covered_before_more_is_spent() {
    let own = Held { amount: -50, ..Held::default() };
    let ground = Ground { limit: LIMIT, hard: true, settled: 900, own, nodes: 9, ..Ground::default() };
    let wish = BlockWish { op: 1, lacks: 150, ..BlockWish::default() };
    assert_eq!(ground.answer(&wish), 150);
    assert_eq!(ground.answer(&BlockWish { lacks: 151, ..wish }), 0);
}

#[test]
fn waiting_is_hopeless_once_not_even_what_others_do_not_use_is_enough() {
    let other = Held { amount: 80, idle: 60, reserved: 20, ..Held::default() };
    let ground =
        Ground { limit: 100, hard: true, settled: 10, others: vec![other], nodes: 2, ..Ground::default() };
    let answer = Answer { ground, delta: 0 };
    assert!(!answer.is_hopeless(70));
    assert!(answer.is_hopeless(71));
    assert_eq!(answer.left(), 10);
}

#[test]
fn a_lowered_limit_takes_back_what_is_not_in_use() {
    let mut world = World::new(1);
    assert!(!world.reserve(0, 100));
    world.nodes[0].book.take_wanted();
    world.ask(0, 100, false);
    assert!(world.reserve(0, 100));
    let lowered = BudgetRecord { limit: PicoUsd::new(200).unwrap(), ..record(true) };
    world.nodes[0].book.put(lowered, world.now, 0);
    assert!(!world.reserve(0, 1));
    assert_eq!(world.nodes[0].book.give_back(&[], world.now), [charge()]);
    world.ask(0, 0, false);
    assert_eq!(world.blocks[0].amount, 100);
}
