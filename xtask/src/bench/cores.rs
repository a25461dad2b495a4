//! Which cores do what: the proxy under test has one for itself, everything around it has the others.

use anyhow::{Context, bail};
use rustix::thread::CpuSet;

#[derive(Debug, Clone)]
pub struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// The cores that this process may use; at least two.
    pub fn available() -> anyhow::Result<Self> {
        let set = rustix::thread::sched_getaffinity(None).context("read the affinity mask")?;
        let all: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
        if all.len() < 2 {
            bail!("the benchmark needs two cores: one for the proxy, one for the load generator");
        }
        Ok(Self { all })
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Moves the calling thread, and what it starts from now on, to the proxy's core.
    pub fn take_proxy_side(&self) -> anyhow::Result<()> {
        pin(self.all.get(..1).unwrap_or_default())
    }

    /// Moves the calling thread, and what it starts from now on, to the other cores.
    pub fn take_load_side(&self) -> anyhow::Result<()> {
        pin(self.all.get(1..).unwrap_or_default())
    }
}

fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    rustix::thread::sched_setaffinity(None, &set).context("set the affinity mask")
}
