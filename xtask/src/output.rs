//! The only place of `xtask` that prints.

use std::io::Write;

#[expect(clippy::print_stdout, reason = "xtask talks to a person or to CI through here")]
pub fn line(text: &str) {
    println!("{text}");
    // Children write to the same stream: without the flush their lines overtake ours in a CI log.
    let _ = std::io::stdout().flush();
}

#[expect(clippy::print_stderr, reason = "xtask talks to a person or to CI through here")]
pub fn problem(text: &str) {
    eprintln!("{text}");
}
