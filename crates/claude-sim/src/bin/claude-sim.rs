//! The simulated Claude API as a server.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use claviger_claude_sim::{KeyRing, LogConfig, SimConfig, Simulator, WallClock, bind_shared};

/// A simulated Claude API for tests and measurements.
///
/// Behaviour on demand: the header `x-sim-fault`, `metadata.user_id` or a phrase `[[sim: … ]]` in the prompt, such as
/// `[[sim: status=529; first=2]]`, `[[sim: cut=5]]`, `[[sim: usage={"output_tokens":7}]]`.
#[derive(Debug, Parser)]
#[command(name = "claude-sim")]
struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Worker threads, each with its own event loop.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Append the request log to this file.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Lines of the log kept in memory for `GET /__sim/log`; 0 turns it off.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    log_lines: usize,
    /// Accept only this key, optionally with its workspace; may be given several times.
    #[arg(long, value_name = "KEY[=WORKSPACE]")]
    require_key: Vec<String>,
    /// Accept only this Admin key; may be given several times. Default: any `sk-ant-admin…`.
    #[arg(long, value_name = "KEY")]
    admin_key: Vec<String>,
    /// Wait before each answer.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Wait between events of a stream.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    gap_ms: u64,
    /// Text deltas of an answer.
    #[arg(long, default_value_t = 20, value_name = "N")]
    deltas: usize,
    /// Let events share packets instead of sending each alone.
    #[arg(long)]
    coalesce: bool,
    /// Compress answers when the client accepts gzip.
    #[arg(long)]
    gzip: bool,
    /// Leave the edge's transport headers out.
    #[arg(long)]
    no_noise: bool,
    /// Time a batch takes.
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    batch_delay_ms: u64,
    /// Origin of `results_url`; default: http and the request's Host.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A model id that exists beside the catalogue; may be given several times.
    #[arg(long, value_name = "ID")]
    extra_model: Vec<String>,
    /// Answer 429 above this many requests a minute and workspace.
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Directives for every request, as in `x-sim-fault`.
    #[arg(long, value_name = "LIST")]
    fault: Option<String>,
    /// Seed of the ids; default: the time of start.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this cannot be written.
            let _ = writeln!(io::stderr(), "claude-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let simulator = Simulator::new(config(options))?;
    if let Some(list) = &options.fault {
        simulator.set_standing(None, list)?;
    }
    let first = bind_shared(options.listen)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..options.threads {
        listeners.push(bind_shared(address)?);
    }
    let workers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let simulator = simulator.clone();
            thread::spawn(move || work(&simulator, listener))
        })
        .collect();
    let mut out = io::stdout().lock();
    writeln!(out, "listening http://{address}")?;
    out.flush()?;
    drop(out);
    for worker in workers {
        worker.join().map_err(|_| "a worker thread panicked")??;
    }
    Ok(())
}

/// One event loop, until the process is told to stop.
fn work(simulator: &Simulator, listener: std::net::TcpListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        simulator.serve(listener, std::future::pending()).await;
        Ok(())
    })
}

fn config(options: &Options) -> SimConfig {
    let clock = WallClock::new(system_now_ms);
    let keys = if options.require_key.is_empty() {
        KeyRing::Any
    } else {
        let pair = |text: &String| match text.split_once('=') {
            Some((key, workspace)) => (key.to_owned(), workspace.to_owned()),
            None => (text.clone(), text.clone()),
        };
        KeyRing::Only(options.require_key.iter().map(pair).collect::<HashMap<_, _>>())
    };
    SimConfig {
        keys,
        admin_keys: options.admin_key.clone(),
        seed: options.seed.unwrap_or_else(|| clock.now_ms() ^ u64::from(std::process::id()) << 44),
        log: LogConfig { memory_lines: options.log_lines, file: options.log.clone() },
        latency: Duration::from_millis(options.latency_ms),
        event_gap: Duration::from_millis(options.gap_ms),
        flush_each_event: !options.coalesce,
        gzip: options.gzip,
        noise_headers: !options.no_noise,
        batch_delay: Duration::from_millis(options.batch_delay_ms),
        public_url: options.public_url.clone(),
        extra_models: options.extra_model.clone(),
        requests_per_minute: options.rpm,
        deltas: options.deltas,
        ..SimConfig::stand_alone(clock)
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-alone program: this is its only clock")]
fn system_now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
