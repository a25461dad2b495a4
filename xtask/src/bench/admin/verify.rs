//! Whether many keys make verifying slower: what a request costs with few keys stored and hot, and with many. Each request
//! is whole (verified, limited, answered by the simulator, committed to the ledger), and each is another key's.

use std::net::SocketAddr;
use std::path::Path;

use super::super::process_usage::Usage;
use super::super::statistic::Spread;
use super::caller::Caller;
use super::engine::Running;

/// Who calls at once.
const CALLERS: usize = 4;
const PATH: &str = "/v1/messages/count_tokens";
const BODY: &str = r#"{"model":"claude-opus-5-5","messages":[{"role":"user","content":"hi"}]}"#;

/// Test keys without limits, by many callers.
pub fn make_keys(socket: &Path, count: usize) -> anyhow::Result<Vec<String>> {
    let made = in_parts(count, |part| {
        let mut caller = Caller::connect(socket)?;
        let one = |n: usize| {
            let body = format!(
                r#"{{"name":"hot","test":true,"owner":"bench {}","limits":{{"rpm":0,"rpd":0,"rps":0,"rph":0}}}}"#,
                n % super::OWNERS
            );
            let key = caller.post("/admin/v1/keys", &body)?;
            anyhow::Ok(key["key"].as_str().unwrap_or_default().to_owned())
        };
        part.map(one).collect::<anyhow::Result<Vec<String>>>()
    })?;
    Ok(made.concat())
}

/// Microseconds of CPU that one request costs the node, each key in its turn.
pub fn cost(running: &Running, keys: &[String], requests: usize) -> anyhow::Result<f64> {
    let before = running.usage()?;
    let gateway = running.gateway;
    in_parts(requests, |part| call(gateway, keys, part))?;
    let after = running.usage()?;
    Ok((after.cpu_us - before.cpu_us) as f64 / requests as f64)
}

fn call(gateway: SocketAddr, keys: &[String], part: std::ops::Range<usize>) -> anyhow::Result<()> {
    let mut caller = Caller::call(gateway)?;
    for n in part {
        // Far apart, so that no cache of the processor holds the next one.
        let key = &keys[n.wrapping_mul(7_919) % keys.len()];
        caller.post_as(key, PATH, BODY)?;
    }
    Ok(())
}

fn in_parts<T: Send>(
    count: usize,
    run: impl Fn(std::ops::Range<usize>) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let each = count.div_ceil(CALLERS);
    std::thread::scope(|scope| {
        let parts = (0..CALLERS).map(|n| (n * each).min(count)..((n + 1) * each).min(count));
        let running: Vec<_> = parts.map(|part| scope.spawn(|| run(part))).collect();
        let ended =
            running.into_iter().map(|one| one.join().map_err(|_| anyhow::anyhow!("a caller died"))?);
        ended.collect()
    })
}

/// What was found.
pub struct Found {
    /// With few keys stored, all of them hot.
    pub few: Spread,
    /// With many stored and hot.
    pub many: Spread,
    /// Memory before any key was hot, and with all of them.
    pub memory: (Usage, Usage),
    pub hot: usize,
}

impl Found {
    pub fn ratio(&self) -> f64 {
        self.many.median / self.few.median
    }

    pub fn bytes_a_key(&self) -> f64 {
        let grown = self.memory.1.resident.saturating_sub(self.memory.0.resident);
        grown as f64 / self.hot as f64
    }
}
