//! Time of each stage, or of those that are named: nanoseconds of one turn, the least over some rounds, one line each.

use std::time::Instant;

use claviger_instructions::{Scene, Work};

const ROUNDS: usize = 100;
const TURNS: usize = 500;

fn main() {
    let named: Vec<String> = std::env::args().skip(1).collect();
    for work in Work::ALL {
        if !(named.is_empty() || named.iter().any(|name| name == work.name())) {
            continue;
        }
        // Tokens are sold with a commit each, and remembered up to a bound.
        let turns = if work == Work::NewToken { TURNS / 50 } else { TURNS };
        let mut scene = Scene::new(work, ROUNDS * turns);
        let least = (0..ROUNDS).map(|_| {
            scene.receive(turns);
            let began = Instant::now();
            scene.turns(turns);
            began.elapsed().as_nanos() as f64 / turns as f64
        });
        println!("{} {:.0}", work.name(), least.fold(f64::INFINITY, f64::min));
    }
}
