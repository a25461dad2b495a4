//! The machine, as far as it explains a figure.

use std::fs;
use std::path::Path;

use super::cores::Cores;
use super::server::{claviger, nginx};

/// Lines of the report.
pub fn describe(cores: &Cores, binary: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // What follows the version proper names the place where it was built.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory: u64 =
        memory.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(0);
    let claviger = binary.map_or(Ok("no claviger".to_owned()), claviger::version)?;
    Ok(vec![
        format!("{}, {} cores, {} GB, Linux {kernel}", field("model name"), cores.count(), memory >> 20),
        format!("{claviger} (profile `dist`), {}", nginx::version()?),
    ])
}
