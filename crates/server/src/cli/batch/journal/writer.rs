//! The thread that writes: whatever waits is written and synced together.

use std::{
    fs::File,
    io::{self, Write},
    thread,
};

use tokio::sync::{mpsc, oneshot};

/// Bytes that are written together at most, unless one has more.
const TOGETHER: usize = 8 << 20;

struct Wish {
    lines: Vec<u8>,
    /// Where they begin, once they are on disk; else why they may not be there.
    done: oneshot::Sender<Result<u64, io::Error>>,
}

pub struct Writer {
    wishes: mpsc::Sender<Wish>,
    /// After the wishes: once nobody can wish any more, what was wished is waited for.
    _thread: Joined,
}

/// A thread that is waited for, so that it has let go of its file when this is gone.
struct Joined(Option<thread::JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // It has told whoever asked, if anything went wrong.
            drop(thread.join());
        }
    }
}

impl Writer {
    /// Writes from `at` on. `room`: how many may wait.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(file: File, at: u64, room: usize) -> io::Result<Self> {
        let (wishes, inbox) = mpsc::channel(room.max(1));
        let thread =
            thread::Builder::new().name("journal".to_owned()).spawn(move || write(file, at, inbox))?;
        Ok(Self { wishes, _thread: Joined(Some(thread)) })
    }

    /// Writes lines and waits until they are on disk; where they begin.
    ///
    /// # Errors
    /// Why they may not be there; `None`: nothing is written any more.
    pub async fn append(&self, lines: Vec<u8>) -> Result<u64, Option<io::Error>> {
        let (done, answer) = oneshot::channel();
        self.wishes.send(Wish { lines, done }).await.map_err(|_| None)?;
        answer.await.map_err(|_| None)?.map_err(Some)
    }

    /// The same, outside any runtime.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn append_now(&self, lines: Vec<u8>) -> Result<u64, Option<io::Error>> {
        let (done, answer) = oneshot::channel();
        self.wishes.blocking_send(Wish { lines, done }).map_err(|_| None)?;
        answer.blocking_recv().map_err(|_| None)?.map_err(Some)
    }
}

fn write(mut file: File, mut at: u64, mut inbox: mpsc::Receiver<Wish>) {
    while let Some(first) = inbox.blocking_recv() {
        let mut bytes = first.lines;
        let mut waiting = vec![(at, first.done)];
        while bytes.len() < TOGETHER
            && let Ok(next) = inbox.try_recv()
        {
            waiting.push((at + bytes.len() as u64, next.done));
            bytes.extend_from_slice(&next.lines);
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        let failed = written.err();
        for (place, done) in waiting {
            let said =
                failed.as_ref().map_or(Ok(place), |why| Err(io::Error::new(why.kind(), why.to_string())));
            // Whoever asked may have gone.
            drop(done.send(said));
        }
        if failed.is_some() {
            // After half a line nothing can follow.
            return;
        }
        at += bytes.len() as u64;
    }
}
