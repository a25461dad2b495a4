//! The hash of a body that comes in any number of pieces.

use aws_lc_rs::digest::{Algorithm, Context, Digest, digest};

/// A hash under way. A body that comes in one piece, as most do, is hashed without a context.
pub(super) struct BodyHash {
    algorithm: &'static Algorithm,
    context: Option<Context>,
}

impl BodyHash {
    pub(super) const fn new(algorithm: &'static Algorithm) -> Self {
        Self { algorithm, context: None }
    }

    /// The next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.context.get_or_insert_with(|| Context::new(self.algorithm)).update(bytes);
    }

    /// The last bytes, and the hash of all.
    pub(super) fn finish(self, last: &[u8]) -> Digest {
        match self.context {
            None => digest(self.algorithm, last),
            Some(mut context) => {
                context.update(last);
                context.finish()
            }
        }
    }
}
