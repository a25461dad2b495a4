//! Budgets in expected mode over thousands of simulated conversations: calls overlap, prompts grow, caches hit and miss,
//! answers are as long as they come out, streams are cut where the money ends. Next to nobody is refused while the money
//! for the call is still there, and no budget is ever passed by more than is printed.
#![expect(clippy::unwrap_used, reason = "a test that fails shall stop where it stands and say so")]

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use claviger_domain::{
    budget::{Ask, Book, BudgetMode, BudgetRecord, BudgetSubject, Calendar, Holds, Period},
    clock::Timestamp,
    estimate::{Content, Estimator, Terms},
    id::{BudgetId, KeyId, OwnerId, WorkspaceId},
    ledger::Party,
    money::PicoUsd,
    token::KeyClass,
};

const CONVERSATIONS: usize = 10_000;
const KEYS: u64 = 25;
const DAYS: i64 = 20;
const DAY_SECS: i64 = 86_400;
/// Pieces in which a stream comes.
const PIECES: u32 = 12;
/// Input and output, in pico-dollars a token: like Haiku, Sonnet and Opus.
const MODELS: [(i128, i128); 3] = [(1_000_000, 5_000_000), (3_000_000, 15_000_000), (5_000_000, 25_000_000)];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share()
    }

    fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// Half are below `middle`; `spread` is the standard deviation of the logarithm.
    fn skewed(&mut self, middle: f64, spread: f64) -> f64 {
        let (a, b) = (self.share().max(1e-12), self.share());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        middle * (normal * spread).exp()
    }
}

/// How the calls of one key are.
struct Habits {
    party: Party,
    budget: BudgetId,
    model: usize,
    /// Tokens that a byte of its texts takes; of other scripts.
    plain: f64,
    wide: f64,
    wide_share: f64,
    tool_bytes: u64,
    answer: f64,
    answer_spread: f64,
    /// Characters of a token of its answers.
    characters: f64,
    max_output: u64,
    caches: bool,
    streams: f64,
}

/// One call, as it will really be.
struct Call {
    content: Content,
    terms: Terms,
    tokens: u64,
    input_pico: i128,
    output: u64,
    characters: f64,
    streams: bool,
    secs: f64,
}

impl Call {
    fn cost(&self, output: u64) -> i128 {
        self.input_pico + i128::from(output) * self.terms.output_pico
    }
}

struct Conversation {
    key: usize,
    turns: u32,
    /// Bytes of the prompt so far, and what of it the cache has.
    bytes: f64,
    cached: f64,
}

struct Flight {
    call: Call,
    holds: Holds,
    conversation: usize,
    piece: u32,
}

#[derive(Default, Debug)]
struct Outcome {
    calls: u32,
    refused: u32,
    refused_with_money: u32,
    cut: u32,
    cut_with_money: u32,
    /// By how much budgets were passed, as a share of their limit; and what was printed at most.
    passed: Vec<(f64, f64)>,
}

struct World {
    dice: Dice,
    book: Book,
    habits: Vec<Habits>,
    known: HashMap<usize, Estimator>,
    conversations: Vec<Conversation>,
    flights: HashMap<usize, Flight>,
    /// What happens next: microseconds, a number to order by, and a conversation or a flight.
    due: BinaryHeap<Reverse<(i64, u64, Due)>>,
    number: u64,
    outcome: Outcome,
    /// By budget and day: the most that was printed, and what was settled last.
    days: HashMap<(usize, i64), (i128, i128)>,
    limits: Vec<i128>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Turn(usize),
    Piece(usize),
}

fn pico(amount: i128) -> PicoUsd {
    PicoUsd::saturating(amount)
}

impl World {
    fn new(seed: u64, conversations: usize) -> Self {
        let mut dice = Dice(seed);
        let mut world = Self {
            book: Book::default(),
            habits: Vec::new(),
            known: HashMap::new(),
            conversations: Vec::new(),
            flights: HashMap::new(),
            due: BinaryHeap::new(),
            number: 0,
            outcome: Outcome::default(),
            days: HashMap::new(),
            limits: Vec::new(),
            dice: Dice(dice.next()),
        };
        for key in 0..KEYS {
            world.key(key, &mut dice, conversations);
        }
        for conversation in 0..conversations {
            let key = usize::try_from(dice.next() % KEYS).unwrap();
            let bytes = dice.skewed(6_000.0, 0.8);
            let turns = 1 + u32::try_from(dice.next() % 11).unwrap();
            world.conversations.push(Conversation { key, turns, bytes, cached: 0.0 });
            let at = dice.between(0.0, (DAYS * DAY_SECS) as f64);
            world.plan((at * 1e6) as i64, Due::Turn(conversation));
        }
        world
    }

    /// A key with its habits, and a daily budget somewhere around what it would spend.
    fn key(&mut self, number: u64, dice: &mut Dice, conversations: usize) {
        let party = Party {
            key: KeyId::parse(&format!("key_{number:010}")).unwrap(),
            workspace: WorkspaceId::parse("ws_a").unwrap(),
            owner: OwnerId::parse("own_a").unwrap(),
            class: KeyClass::Live,
        };
        let habits = Habits {
            budget: BudgetId::parse(&format!("bdg_{number}")).unwrap(),
            model: usize::try_from(number % 3).unwrap(),
            plain: dice.between(0.22, 0.36),
            wide: dice.between(0.3, 0.5),
            wide_share: if dice.chance(0.3) { dice.between(0.2, 0.9) } else { 0.02 },
            tool_bytes: if dice.chance(0.5) { 9_000 } else { 0 },
            answer: dice.between(60.0, 900.0),
            answer_spread: dice.between(0.4, 1.1),
            characters: dice.between(1.5, 5.0),
            max_output: [4_096, 8_192, 32_000][usize::try_from(number % 3).unwrap()],
            caches: dice.chance(0.6),
            streams: if dice.chance(0.2) { 0.0 } else { 0.85 },
            party,
        };
        let (input, output) = MODELS[habits.model];
        let turn = 14_000.0 * 0.3 * (input as f64) * if habits.caches { 0.4 } else { 1.0 }
            + habits.answer * 1.3 * output as f64;
        let a_day = conversations as f64 / (KEYS as f64 * DAYS as f64) * 6.0 * turn;
        let limit = (a_day * dice.between(0.5, 2.0)) as i128;
        let record = BudgetRecord {
            id: habits.budget.clone(),
            subject: BudgetSubject::Key(habits.party.key.clone()),
            calendar: Calendar::new(Period::Day, "UTC").unwrap(),
            limit: pico(limit),
            hard: true,
            mode: BudgetMode::Expected,
            created_at: Timestamp::from_secs(0),
            dropped_at: None,
            credit: None,
            version: 1,
        };
        self.book.put(record, Timestamp::from_secs(0), 0);
        self.limits.push(limit);
        self.habits.push(habits);
    }

    fn plan(&mut self, at: i64, due: Due) {
        self.number += 1;
        self.due.push(Reverse((at, self.number, due)));
    }

    fn run(mut self) -> Outcome {
        while let Some(Reverse((at, _, due))) = self.due.pop() {
            let key = match due {
                Due::Turn(conversation) => {
                    self.turn(conversation, at);
                    self.conversations[conversation].key
                }
                Due::Piece(flight) => self.piece(flight, at),
            };
            self.look(key, at);
        }
        for ((key, _), (settled, printed)) in &self.days {
            let limit = self.limits[*key];
            assert!(settled - limit <= (*printed).max(0), "passed by more than was ever printed");
            if *settled > limit {
                let share = |amount: i128| amount as f64 / limit as f64;
                self.outcome.passed.push((share(settled - limit), share(*printed)));
            }
        }
        self.outcome
    }

    /// What is printed now holds for what has passed, and is kept for what is to come.
    fn look(&mut self, key: usize, at: i64) {
        let standing = self.book.standing(&self.habits[key].budget, Timestamp::from_micros(at)).unwrap();
        assert!(standing.settled - self.limits[key] <= standing.overshoot_bound);
        let day = standing.window.start.as_secs() / DAY_SECS;
        let (settled, printed) = self.days.entry((key, day)).or_default();
        *settled = standing.settled;
        *printed = (*printed).max(standing.overshoot_bound);
    }

    /// Makes the next call of a conversation up.
    fn call(&mut self, conversation: usize) -> Call {
        let Self { dice, conversations, habits, .. } = self;
        let talk = &mut conversations[conversation];
        let habits = &habits[talk.key];
        let wide = talk.bytes * habits.wide_share;
        let units = [(talk.bytes - wide) as u64, wide as u64, 0, habits.tool_bytes, 0, 0];
        let of_tools = habits.tool_bytes as f64 * 0.3 + if habits.tool_bytes > 0 { 346.0 } else { 0.0 };
        let tokens = (talk.bytes - wide) * habits.plain + wide * habits.wide + of_tools;
        let tokens = tokens * dice.between(0.95, 1.05);
        let (input_pico, output_pico) = MODELS[habits.model];
        let paid = if habits.caches {
            if dice.chance(0.05) {
                talk.cached = 0.0;
            }
            let read = talk.cached.min(tokens);
            talk.cached = tokens;
            read * 0.1 + (tokens - read) * 1.25
        } else {
            tokens
        };
        let output = dice.skewed(habits.answer, habits.answer_spread).max(1.0) as u64;
        let output = output.min(habits.max_output);
        let most = (units.iter().sum::<u64>() + 10_000) as f64 * 2.0 * input_pico as f64
            + (habits.max_output as f64) * output_pico as f64;
        let terms = Terms {
            input_pico,
            output_pico,
            max_output: habits.max_output,
            worst: pico((most * 1.1) as i128),
        };
        Call {
            content: Content { units },
            terms,
            tokens: tokens as u64,
            input_pico: (paid * input_pico as f64) as i128,
            output,
            characters: habits.characters,
            streams: dice.chance(habits.streams),
            secs: 1.0 + output as f64 / 60.0,
        }
    }

    fn turn(&mut self, conversation: usize, at: i64) {
        let call = self.call(conversation);
        let key = self.conversations[conversation].key;
        let ask: Ask = self.known.entry(key).or_default().ask(&call.content, &call.terms);
        let now = Timestamp::from_micros(at);
        self.outcome.calls += 1;
        let party = self.habits[key].party.clone();
        match self.book.reserve(&party, None, ask, now) {
            Ok(holds) => {
                let (number, step) = (self.number as usize, call.secs * 1e6 / f64::from(PIECES));
                self.flights.insert(number, Flight { call, holds, conversation, piece: 0 });
                self.plan(at + step as i64, Due::Piece(number));
            }
            Err(over) => {
                self.outcome.refused += 1;
                assert_eq!(over.record.id, self.habits[key].budget);
                let left = self.really_left(key, now);
                self.outcome.refused_with_money += u32::from(call.cost(call.output) <= left);
            }
        }
    }

    /// What will be left once all that are under way have ended.
    fn really_left(&mut self, key: usize, now: Timestamp) -> i128 {
        let settled = self.book.standing(&self.habits[key].budget, now).unwrap().settled;
        let flying = self.flights.values().filter(|f| self.conversations[f.conversation].key == key);
        let coming: i128 = flying.map(|flight| flight.call.cost(flight.call.output)).sum();
        self.limits[key] - settled - coming
    }

    /// The next piece of an answer; whose it is.
    fn piece(&mut self, number: usize, at: i64) -> usize {
        let mut flight = self.flights.remove(&number).unwrap();
        let Flight { call, holds, conversation, piece } = &mut flight;
        let key = self.conversations[*conversation].key;
        *piece += 1;
        let known = self.known.entry(key).or_default();
        if *piece == 1 {
            known.learn_input(&call.content, call.tokens, call.input_pico, &call.terms);
        }
        if *piece < PIECES {
            // The gateway counts characters: a token for four.
            let so_far = call.output as f64 * f64::from(*piece) / f64::from(PIECES);
            let floor = (so_far * call.characters / 4.0).ceil() as u64;
            let come_to = call.cost(floor.min(call.terms.max_output)).min(call.terms.worst.as_pico().into());
            let ahead = pico(256 * call.terms.output_pico);
            let over = call.streams
                && holds.room().is_some_and(|room| come_to > room)
                && self.book.stretch(holds, pico(come_to), ahead).is_err();
            if over {
                self.outcome.cut += 1;
                let left = self.really_left(key, Timestamp::from_micros(at));
                let Flight { call, .. } = &flight;
                self.outcome.cut_with_money += u32::from(call.cost(call.output) <= left);
                drop(self.book.settle(flight.holds, pico(come_to)));
                return key;
            }
            let step = (call.secs * 1e6 / f64::from(PIECES)) as i64;
            self.flights.insert(number, flight);
            self.plan(at + step, Due::Piece(number));
            return key;
        }
        known.learn_output(i128::from(call.output) * call.terms.output_pico, &call.terms);
        let settled = self.book.settle(flight.holds, pico(flight.call.cost(flight.call.output)));
        assert!(settled.beyond_worst <= 0, "{settled:?}");
        let more = flight.call.output as f64 * flight.call.characters + self.dice.skewed(400.0, 1.2);
        let talk = &mut self.conversations[flight.conversation];
        talk.bytes += more;
        talk.turns -= 1;
        if talk.turns > 0 {
            let pause = self.dice.skewed(20.0, 1.0) * 1e6;
            self.plan(at + pause as i64, Due::Turn(flight.conversation));
        }
        key
    }
}

#[test]
fn hardly_anybody_is_refused_while_money_is_left_and_what_is_printed_is_never_passed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("CLAVIGER_TEST_ROUNDS").unwrap_or(1);
    let seed = number("CLAVIGER_TEST_SEED").unwrap_or(1);
    for seed in seed..seed + rounds {
        let outcome = World::new(seed, CONVERSATIONS).run();
        let Outcome { calls, refused, refused_with_money, cut, cut_with_money, ref passed } = outcome;
        let mut shares: Vec<f64> = passed.iter().map(|(share, _)| *share).collect();
        shares.sort_by(f64::total_cmp);
        let most = shares.last().copied().unwrap_or_default();
        let middle = shares.get(shares.len() / 2).copied().unwrap_or_default();
        println!(
            "seed {seed}: {CONVERSATIONS} conversations, {calls} calls, {refused} refused, {refused_with_money} of them while \
             the money was there, {cut} streams cut, {cut_with_money} of them likewise; {} days of budgets passed, by {:.2} % of the limit in the middle and \
             {:.2} % at most",
            passed.len(),
            middle * 100.0,
            most * 100.0,
        );
        assert!(refused > 300 && cut > 10, "the budgets were reached: {outcome:?}");
        assert!(
            u64::from(refused_with_money + cut_with_money) * 100 < CONVERSATIONS as u64,
            "{refused_with_money}"
        );
        assert!(passed.iter().all(|(passed, printed)| passed <= printed));
    }
}
