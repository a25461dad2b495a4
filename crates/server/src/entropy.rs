//! The only source of randomness: the operating system's, through the cryptography library.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use claviger_domain::clock::{Entropy, EntropyError};

/// The system's random source.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(out).map_err(|_| EntropyError)
    }
}
