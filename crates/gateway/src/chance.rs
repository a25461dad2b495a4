//! Randomness in small portions: ids are made for every request, the system's generator is asked for a page.

use std::sync::{Arc, Mutex, PoisonError};

use claviger_domain::clock::{Entropy, EntropyError};
use zeroize::Zeroize;

const PAGE: usize = 4096;

/// One worker's buffer in front of the shared source. Bytes are handed out once and wiped.
pub struct Chance {
    source: Arc<dyn Entropy>,
    page: Mutex<Page>,
}

struct Page {
    bytes: Box<[u8; PAGE]>,
    left: usize,
}

impl Chance {
    /// An empty buffer before `source`.
    #[must_use]
    pub fn new(source: Arc<dyn Entropy>) -> Self {
        Self { source, page: Mutex::new(Page { bytes: Box::new([0; PAGE]), left: 0 }) }
    }

    /// A random number; 0 when there is no randomness, which spreads nothing but harms nothing.
    #[must_use]
    pub fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(EntropyError) => 0,
        }
    }
}

impl Entropy for Chance {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        if out.len() > PAGE {
            return self.source.fill(out);
        }
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if page.left < out.len() {
            page.left = 0;
            self.source.fill(page.bytes.as_mut_slice())?;
            page.left = PAGE;
        }
        let from = page.left - out.len();
        let end = page.left;
        let portion = &mut page.bytes[from..end];
        out.copy_from_slice(portion);
        portion.zeroize();
        page.left = from;
        Ok(())
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    #[derive(Default)]
    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            let page = self.0.fetch_add(1, Ordering::Relaxed);
            out.iter_mut().enumerate().for_each(|(i, b)| *b = page ^ (i % 251) as u8);
            Ok(())
        }
    }

    #[test]
    fn no_byte_is_handed_out_twice_and_the_source_is_asked_by_the_page() {
        let source = Arc::new(Counting::default());
        let chance = Chance::new(source.clone());
        let mut seen = Vec::new();
        for _ in 0..PAGE / 16 {
            let mut out = [0; 16];
            chance.fill(&mut out).unwrap();
            seen.push(out);
        }
        assert_eq!(source.0.load(Ordering::Relaxed), 1);
        assert!(chance.page.lock().unwrap().bytes.iter().all(|b| *b == 0));
        let _ = chance.number();
        assert_eq!(source.0.load(Ordering::Relaxed), 2);
    }
}
