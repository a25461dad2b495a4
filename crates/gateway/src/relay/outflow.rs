//! Frames on their way to the client. What is there at once leaves at once, in one piece: many small frames would
//! cost more in their framing than in their bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// More than this is not put together (32 KB).
const PIECE: usize = 32 * 1024;

/// Frames that may go.
#[derive(Debug, Default)]
pub struct Outflow {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Outflow {
    /// One more frame.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// All frames of a queue.
    pub fn append(&mut self, frames: &mut VecDeque<Bytes>) {
        self.bytes += frames.iter().map(Bytes::len).sum::<usize>();
        self.frames.append(frames);
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether there is enough for one piece.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= PIECE
    }

    /// Throws all away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next piece: all frames together, if they are small.
    pub fn take(&mut self) -> Option<Bytes> {
        let first = self.frames.pop_front()?;
        if self.frames.is_empty() || first.len() >= PIECE {
            self.bytes -= first.len();
            return Some(first);
        }
        let mut piece = BytesMut::with_capacity(self.bytes.min(2 * PIECE));
        piece.extend_from_slice(&first);
        while let Some(next) = self.frames.pop_front_if(|next| piece.len() + next.len() <= 2 * PIECE) {
            piece.extend_from_slice(&next);
        }
        self.bytes -= piece.len();
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_together_in_their_order_and_large_ones_uncopied() {
        let mut out = Outflow::default();
        out.push(Bytes::from_static(b"a"));
        out.append(&mut VecDeque::from([Bytes::from_static(b"bc"), Bytes::from_static(b"d")]));
        assert_eq!(out.take().unwrap(), "abcd");
        assert!(out.take().is_none() && out.is_empty());
        let large = Bytes::from(vec![7; 3 * PIECE]);
        out.push(large.clone());
        out.push(Bytes::from_static(b"e"));
        assert!(out.is_full());
        assert_eq!(out.take().unwrap().as_ptr(), large.as_ptr());
        out.push(large.clone());
        assert_eq!(out.take().unwrap(), "e");
        assert_eq!(out.take().unwrap().len(), large.len());
        assert!(!out.is_full());
    }
}
