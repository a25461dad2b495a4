//! The prompt cache of one workspace: prefixes by hash, each with its expiry.

use std::collections::{HashMap, VecDeque};

use crate::seed::combine;
use crate::usage::CacheCreation;

/// Prefixes kept for one workspace; the oldest is forgotten first.
const CAPACITY: usize = 4096;
/// How many blocks before a breakpoint are looked up, as in the API.
const LOOK_BACK: usize = 20;

/// Lifetime of a cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ttl {
    FiveMinutes,
    OneHour,
}

impl Ttl {
    fn millis(self) -> u64 {
        match self {
            Self::FiveMinutes => 5 * 60 * 1000,
            Self::OneHour => 60 * 60 * 1000,
        }
    }
}

/// One block of the prompt: tools, then system, then messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// Hash of the block alone, without its `cache_control`.
    pub(crate) hash: u64,
    pub(crate) bytes: usize,
    /// Set when the block ends a prefix to be cached.
    pub(crate) breakpoint: Option<Ttl>,
}

/// Input tokens of a prompt, split by what the cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub(crate) uncached: u64,
    pub(crate) read: u64,
    pub(crate) written: CacheCreation,
}

#[derive(Debug)]
struct Entry {
    expires_ms: u64,
    ttl: Ttl,
}

/// Prefixes by hash.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    entries: HashMap<u64, Entry>,
    order: VecDeque<u64>,
}

/// Four bytes are one token; a prompt has at least one.
pub(crate) fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes / 4).unwrap_or(u64::MAX).max(1)
}

impl PromptCache {
    /// Looks the prompt up and remembers its prefixes. `scope` keeps models apart.
    pub(crate) fn pass(&mut self, blocks: &[Block], scope: u64, now_ms: u64) -> Prompt {
        let mut prefixes = Vec::with_capacity(blocks.len());
        let (mut hash, mut bytes) = (scope, 0);
        for block in blocks {
            hash = combine(hash, block.hash);
            bytes += block.bytes;
            prefixes.push((hash, bytes));
        }
        let total = tokens(bytes);
        let found = self.longest_hit(blocks, &prefixes, now_ms);
        let read = found.map_or(0, |at| tokens(prefixes[at].1).min(total));
        let mut written = CacheCreation::default();
        let mut covered = read;
        for (at, block) in blocks.iter().enumerate().skip(found.map_or(0, |at| at + 1)) {
            let Some(ttl) = block.breakpoint else { continue };
            let upto = tokens(prefixes[at].1);
            let more = upto.saturating_sub(covered);
            match ttl {
                Ttl::FiveMinutes => written.ephemeral_5m_input_tokens += more,
                Ttl::OneHour => written.ephemeral_1h_input_tokens += more,
            }
            covered = covered.max(upto);
            self.remember(prefixes[at].0, ttl, now_ms);
        }
        Prompt { uncached: total - covered.min(total), read, written }
    }

    fn longest_hit(&mut self, blocks: &[Block], prefixes: &[(u64, usize)], now_ms: u64) -> Option<usize> {
        let breakpoints = blocks.iter().enumerate().rev().filter(|(_, block)| block.breakpoint.is_some());
        for (end, _) in breakpoints {
            for at in (end.saturating_sub(LOOK_BACK)..=end).rev() {
                let hit = self.entries.get_mut(&prefixes[at].0).filter(|entry| entry.expires_ms > now_ms);
                if let Some(entry) = hit {
                    entry.expires_ms = now_ms.saturating_add(entry.ttl.millis());
                    return Some(at);
                }
            }
        }
        None
    }

    fn remember(&mut self, hash: u64, ttl: Ttl, now_ms: u64) {
        let expires_ms = now_ms.saturating_add(ttl.millis());
        if self.entries.insert(hash, Entry { expires_ms, ttl }).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(hash: u64, bytes: usize, breakpoint: Option<Ttl>) -> Block {
        Block { hash, bytes, breakpoint }
    }

    #[test]
    fn a_written_prefix_is_read_until_it_expires() {
        let mut cache = PromptCache::default();
        let blocks =
            [block(1, 400, Some(Ttl::OneHour)), block(2, 200, Some(Ttl::FiveMinutes)), block(3, 40, None)];
        let first = cache.pass(&blocks, 0, 0);
        let split = CacheCreation { ephemeral_5m_input_tokens: 50, ephemeral_1h_input_tokens: 100 };
        assert_eq!(first, Prompt { uncached: 10, read: 0, written: split });
        let second = cache.pass(&blocks, 0, 1);
        assert_eq!(second, Prompt { uncached: 10, read: 150, written: CacheCreation::default() });
        let later = cache.pass(&blocks, 0, 10 * 60 * 1000);
        assert_eq!((later.read, later.written.ephemeral_5m_input_tokens), (100, 50));
        assert_eq!(cache.pass(&blocks, 9, 1).read, 0, "another model");
    }

    #[test]
    fn a_longer_conversation_reads_the_old_prefix() {
        let mut cache = PromptCache::default();
        cache.pass(&[block(1, 400, None), block(2, 400, Some(Ttl::FiveMinutes))], 0, 0);
        let grown = [block(1, 400, None), block(2, 400, None), block(3, 80, Some(Ttl::FiveMinutes))];
        let prompt = cache.pass(&grown, 0, 1);
        assert_eq!((prompt.read, prompt.written.ephemeral_5m_input_tokens, prompt.uncached), (200, 20, 0));
    }

    proptest! {
        #[test]
        fn every_token_is_counted_once(
            sizes in proptest::collection::vec((0usize..3000, 0u8..3), 1..30),
            rounds in 1u64..4,
        ) {
            let mut cache = PromptCache::default();
            let blocks: Vec<Block> = sizes.iter().enumerate().map(|(at, (bytes, mark))| {
                let ttl = match mark { 1 => Some(Ttl::FiveMinutes), 2 => Some(Ttl::OneHour), _ => None };
                block(at as u64, *bytes, ttl)
            }).collect();
            let total = tokens(sizes.iter().map(|(bytes, _)| bytes).sum());
            for round in 0..rounds {
                let p = cache.pass(&blocks, 0, round);
                let written = p.written.ephemeral_5m_input_tokens + p.written.ephemeral_1h_input_tokens;
                prop_assert_eq!(p.uncached + p.read + written, total);
            }
        }
    }
}
