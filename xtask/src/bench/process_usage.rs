//! What the kernel says that a process has used: CPU time and memory.

use std::fs;

use anyhow::Context;

/// CPU time and memory of a process and its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// utime + stime in microseconds, of all threads and of children alive.
    pub cpu_us: u64,
    /// Memory in use (VmRSS), in bytes.
    pub resident: u64,
    /// The most that it ever was (VmHWM), in bytes.
    pub peak: u64,
}

/// Reads the usage of `pid` and everything below it.
pub fn read(pid: u32) -> anyhow::Result<Usage> {
    let mut total = one(pid)?;
    for child in children(pid)? {
        let usage = read(child)?;
        total.cpu_us += usage.cpu_us;
        total.resident += usage.resident;
        total.peak += usage.peak;
    }
    Ok(total)
}

fn one(pid: u32) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("a measured process is gone")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let ticks = cpu_ticks(&stat).context("no CPU times in /proc/PID/stat")?;
    let cpu_us = ticks * 1_000_000 / rustix::param::clock_ticks_per_second();
    let memory = |name| memory(&status, name).with_context(|| format!("no {name} in /proc/PID/status"));
    Ok(Usage { cpu_us, resident: memory("VmRSS:")?, peak: memory("VmHWM:")? })
}

fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(found)
}

/// Fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn memory(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 1 0 100";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(memory("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n", "VmHWM:"), Some(2048 * 1024));
    }
}
