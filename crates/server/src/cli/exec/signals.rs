//! Signals, passed on to the command.

use std::io;

use rustix::{
    process::{Pid, Signal as Sent, getpgrp, kill_process},
    termios::tcgetpgrp,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is passed on. Those that stop and continue need no help: they reach the whole group.
pub struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// From now on they do not end this process: it must outlive the command, to end its key.
    ///
    /// # Errors
    /// As the system says.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Sent {
        tokio::select! {
            _ = self.interrupt.recv() => Sent::INT,
            _ = self.quit.recv() => Sent::QUIT,
            _ = self.terminate.recv() => Sent::TERM,
            _ = self.hangup.recv() => Sent::HUP,
            _ = self.user1.recv() => Sent::USR1,
            _ = self.user2.recv() => Sent::USR2,
        }
    }
}

/// Passes a signal on. What a terminal's keys send, it sends to the command itself, too: a second one would not be
/// meant.
pub fn pass_on(signal: Sent, to: Pid) {
    let by_key = signal == Sent::INT || signal == Sent::QUIT;
    if by_key && tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp()) {
        return;
    }
    // It may have ended meanwhile.
    let _ = kill_process(to, signal);
}
