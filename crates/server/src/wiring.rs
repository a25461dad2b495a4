//! Builds everything and runs it: the only place that knows all parts. Read [`run`] from top to bottom.

mod certificate;
pub mod offline;
mod outgoing;
pub(crate) mod payments;
pub mod prices;
mod settings;
mod sink;
mod takeover;
pub mod vault;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use claviger_control::{listen, state::ControlState};
use claviger_domain::{
    access_token::key_life::KeyPlan,
    clock::{Clock, Entropy},
    direct_use::NoAccount,
    ports::signing::NonceStore,
};
use claviger_gateway::Gateway;
use claviger_service::{Background, Deps, Services, Settings, jobs::LastWords};
use claviger_storage::{MemoryNonces, RedisNonces};
use claviger_upstream::{AdminApi, Documents};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use self::{certificate::Certificate, prices::PriceBoard};
use crate::{
    cli::output::Output,
    clock::SystemClock,
    config::{Config, ConfigError, NonceWord, ServeArgs},
    data_dir::{self, DataDir},
    entropy::SystemEntropy,
    first_start,
    process::Running,
    reload::Changes,
    simulator::TestKeys,
    tasks::Tasks,
    telemetry::{LogLevel, scrub::Scrubber},
    workers::{self, Workers},
};

/// What `serve` brings.
pub struct Start {
    /// The command line, to resolve settings again.
    pub args: ServeArgs,
    /// `--data`, as given.
    pub data: Option<std::path::PathBuf>,
    /// The settings in force.
    pub config: Config,
    /// The switch of the log level.
    pub level: LogLevel,
    /// The guard of the logs.
    pub scrubber: Scrubber,
    /// Where to print.
    pub out: Output,
}

/// Signed requests that are remembered at once, of all keys.
const MOST_NONCES: usize = 2_000_000;
/// How long background work may take to end once calls are drained.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Checks what a configuration names: files that must be readable, addresses that must make sense.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(config: &Config, args: &ServeArgs) -> Result<(), ConfigError> {
    let bad = |name| move |error: anyhow::Error| Config::unusable(name, format!("{error:#}"), args);
    settings::prices(config).map_err(bad("prices"))?;
    settings::transport(config).map_err(bad("upstream"))?;
    settings::tls(config).map_err(bad("tls"))?;
    settings::control_tls(config).map_err(bad("control_tls"))?;
    Ok(())
}

/// Runs until told to stop, then stops in order.
///
/// # Errors
/// When a part cannot be started. Parts that were are stopped again.
pub async fn run(start: Start) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::default());
    let data = DataDir::open(&start.config.data)?;
    data.drop_ballast();
    data.scratch(settings::BODIES).context("making the folder for large bodies")?;
    let vault = vault::open(&start.config, &data, clock.as_ref(), Arc::clone(&entropy)).await?;
    data.lay_ballast();

    let tasks = Tasks::default();
    tasks.start(vault::tend(Arc::clone(&vault.database), tasks.stop.clone()));
    let transport = settings::transport(&start.config)?;
    let prices = Arc::new(PriceBoard::new(settings::prices(&start.config)?));
    let deps = Deps {
        account: Arc::new(AdminApi::new(Arc::clone(&transport), start.config.insecure_plaintext)),
        prices: Arc::clone(&prices) as _,
        ..service_deps(&start.config, &data, &vault, (&clock, &entropy), &tasks)?
    };
    let (services, background) = Services::start(deps).await.context("starting the services")?;
    outgoing::configure_mail(&start.config, &services).await?;
    let beside = Beside::start(background, &tasks)?;
    tasks.start(guard_logs(services.clone(), start.scrubber.clone(), tasks.stop.clone()));

    let deps = claviger_gateway::Deps {
        services: services.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        prices: prices.table(),
        transport: Arc::clone(&transport),
        simulator: Arc::new(TestKeys::new(Arc::clone(&clock))?),
        tls: settings::tls(&start.config)?,
        tracker: tasks.tracker.clone(),
    };
    let gateway = Gateway::new(settings::gateway(&start.config), deps);
    let (jobs, stop) = (gateway.clone(), tasks.stop.clone());
    tasks.start(async move { jobs.run_jobs(stop).await });
    let workers = Workers::start(&start.config, &gateway)?;
    let control = TcpListener::bind(start.config.control)
        .await
        .with_context(|| format!("opening the control address {}", start.config.control))?;
    let gateway_url = url(start.config.tls.is_some(), &workers.address());
    gateway.set_origin(gateway_url.clone());
    let certificate = settings::control_tls(&start.config)?.map(Certificate::new);
    let control_url = url(certificate.is_some(), &control.local_addr()?);

    let (settings, in_force) = watch::channel(start.config.clone());
    let running = Arc::new(Running {
        database: Arc::clone(&vault.database),
        services: services.clone(),
        gateway: gateway.clone(),
        config: start.config.clone(),
        in_force,
        prices: Arc::clone(&prices),
        transport,
        clock: Arc::clone(&clock),
        gateway_url: gateway_url.clone(),
        control_url: control_url.clone(),
        started_at: clock.now(),
    });
    let (control_stop, payments) = (CancellationToken::new(), payments::load(&start.config)?);
    let state = ControlState { services: services.clone(), clock, entropy, process: running, payments };
    let door = Door { listener: control, tls: certificate.as_ref().map(Certificate::listener).transpose()? };
    serve_control(&tasks, door, &data, state, &control_stop)?;

    if first_start::is_due(&services, &data).await? {
        let import = start.args.import_env;
        let first = first_start::run(&services, &start.config, &data, import, start.out).await?;
        first_start::tell(&first, &data, &gateway_url, start.out)?;
    }
    start.out.line(&format!("ready gateway={gateway_url} control={control_url}"));
    notify_ready();

    let parts = Reloaded { gateway: &gateway, prices: &prices, certificate: certificate.as_ref() };
    let last = until_stopped(&start, &parts, &settings, &services).await?;
    tracing::info!(
        drain_secs = last.drain_timeout.as_secs(),
        "stopping: no new calls, those in flight may finish"
    );
    workers.stop(last.drain_timeout).await;
    beside.stop().await;
    control_stop.cancel();
    finish(&tasks).await;
    vault.database.close().await;
    ended_well(&services)
}

fn ended_well(services: &Services) -> anyhow::Result<()> {
    anyhow::ensure!(
        !services.health.is_fenced(),
        "another node held this one to be dead and has taken it over"
    );
    Ok(())
}

fn url(is_tls: bool, address: &SocketAddr) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

fn service_deps(
    config: &Config,
    data: &DataDir,
    vault: &vault::Vault,
    (clock, entropy): (&Arc<dyn Clock>, &Arc<dyn Entropy>),
    tasks: &Tasks,
) -> anyhow::Result<Deps> {
    Ok(Deps {
        store: Arc::clone(&vault.database) as _,
        ledger: Arc::clone(&vault.database) as _,
        sealer: Arc::clone(&vault.sealer),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        brand: config.brand,
        tracker: tasks.tracker.clone(),
        free_disk: free_disk(config),
        checkpoint_sink: Some(Arc::new(sink::FileSink::new(config.checkpoint_file.clone()))),
        courier: outgoing::courier(config)?,
        nonces: nonces(config, vault, clock.as_ref())?,
        account: Arc::new(NoAccount),
        key_fetcher: Arc::new(Documents::new(settings::transport(config)?)),
        prices: Arc::new(PriceBoard::new(settings::prices(config)?)),
        settings: service_settings(config, data),
    })
}

/// Who remembers signed requests. Whatever is chosen is asked when the first one comes: until it answers, signed
/// requests are refused and all others served.
fn nonces(config: &Config, vault: &vault::Vault, clock: &dyn Clock) -> anyhow::Result<Arc<dyn NonceStore>> {
    Ok(match config.nonces.store {
        NonceWord::Memory => Arc::new(MemoryNonces::new(clock.now(), MOST_NONCES)),
        NonceWord::Database => Arc::clone(&vault.database) as _,
        NonceWord::Redis => {
            let url = config.nonces.redis_url.as_deref().unwrap_or_default();
            Arc::new(RedisNonces::new(url).context("nonces.redis_url")?)
        }
    })
}

fn free_disk(config: &Config) -> claviger_service::services::FreeDisk {
    let folder = config.data.clone();
    Arc::new(move || data_dir::free_bytes(&folder))
}

fn service_settings(config: &Config, data: &DataDir) -> Settings {
    Settings {
        max_staleness_us: u64::try_from(config.max_staleness.as_micros()).unwrap_or(u64::MAX),
        spool_dir: Some(data.file("spool")),
        min_free_disk_bytes: data_dir::MIN_FREE_BYTES,
        schedules: config.jobs.schedules().ok(),
        nonces_per_key: config.nonces.per_key,
        cache_bytes: config.cache.memory,
        token_keys: KeyPlan { algorithm: config.token_algorithm, ..KeyPlan::default() },
        retention_days: u32::try_from(config.retention.as_secs() / 86_400).unwrap_or(u32::MAX).max(1),
        ..Settings::default()
    }
}

/// The group-commit writer on a thread of its own, and the jobs.
struct Beside {
    writer: workers::Thread,
    writer_stop: CancellationToken,
    jobs: tokio::task::JoinHandle<LastWords>,
    jobs_stop: CancellationToken,
}

impl Beside {
    fn start(background: Background, tasks: &Tasks) -> anyhow::Result<Self> {
        let writer_stop = CancellationToken::new();
        let stop = writer_stop.clone();
        let writer = background.writer;
        let writer = workers::Thread::start("ledger", move || async move { writer.run(stop).await })?;
        let jobs_stop = CancellationToken::new();
        let jobs = tasks.tracker.spawn(background.jobs.run(jobs_stop.clone()));
        Ok(Self { writer, writer_stop, jobs, jobs_stop })
    }

    /// The jobs end and write what they counted, then whatever is queued is committed and the chain closed, and then the
    /// last checkpoint is signed over all of it.
    async fn stop(self) {
        self.jobs_stop.cancel();
        let last = tokio::time::timeout(STOP_LIMIT, self.jobs).await;
        self.writer_stop.cancel();
        self.writer.join().await;
        match last {
            Ok(Ok(words)) => words.speak().await,
            Ok(Err(_)) | Err(_) => tracing::warn!("jobs did not end in time"),
        }
    }
}

/// The control plane's door on the network.
struct Door {
    listener: TcpListener,
    /// `None`: plain http.
    tls: Option<Arc<rustls::ServerConfig>>,
}

fn serve_control(
    tasks: &Tasks,
    door: Door,
    data: &DataDir,
    state: ControlState,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let path = data.file("control.sock");
    let socket = listen::socket(&path).with_context(|| format!("opening {}", path.display()))?;
    // What was approved and died with the process before is done now.
    tasks.start(claviger_control::approved::run(state.clone(), stop.clone()));
    let app = claviger_control::router(state);
    let (remote, local) = (app.clone(), app);
    let (stop_tcp, stop_socket) = (stop.clone(), stop.clone());
    tasks.start(async move {
        let Door { listener, tls } = door;
        let served = match tls {
            Some(tls) => listen::serve_tls(listener, tls, remote, stop_tcp).await,
            None => listen::serve_tcp(listener, remote, stop_tcp).await,
        };
        if let Err(error) = served {
            tracing::error!(%error, "the control listener ended");
        }
    });
    tasks.start(async move {
        if let Err(error) = listen::serve_socket(socket, local, stop_socket).await {
            tracing::error!(%error, "the control socket ended");
        }
    });
    Ok(())
}

/// Waits for what still runs in the background.
async fn finish(tasks: &Tasks) {
    tasks.stop.cancel();
    tasks.tracker.close();
    if tokio::time::timeout(STOP_LIMIT, tasks.tracker.wait()).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
}

/// Keeps the logs' guard informed of the provider keys that are in use.
async fn guard_logs(services: Services, scrubber: Scrubber, stop: CancellationToken) {
    let mut seen = None;
    loop {
        let table = services.routes.snapshot();
        if seen.as_ref().is_none_or(|old| !Arc::ptr_eq(old, &table)) {
            scrubber.know(table.credentials.iter().chain(&table.admins).map(|e| e.secret.clone()).collect());
            seen = Some(table);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

fn notify_ready() {
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// What takes new settings while it runs.
struct Reloaded<'a> {
    gateway: &'a Gateway,
    prices: &'a PriceBoard,
    certificate: Option<&'a Certificate>,
}

/// Waits for the word to stop; reads settings again when told to or when their files change. Returns the settings that
/// were in force last.
async fn until_stopped(
    start: &Start,
    parts: &Reloaded<'_>,
    in_force: &watch::Sender<Config>,
    services: &Services,
) -> anyhow::Result<Config> {
    let mut config = start.config.clone();
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let files: Vec<_> = [start.config.file.as_deref(), start.config.client_ca.as_deref()]
        .into_iter()
        .chain(
            start
                .config
                .tls
                .iter()
                .chain(&start.config.control_tls)
                .flat_map(|(cert, key)| [Some(cert.as_path()), Some(key.as_path())]),
        )
        .flatten()
        .collect();
    let mut changes = Changes::watch(&files)?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(config),
            _ = interrupt.recv() => return Ok(config),
            // Whoever started this process starts another one.
            () = services.health.fenced() => return Ok(config),
            () = changes.next() => {
                config = reload(start, config, parts);
                in_force.send_replace(config.clone());
            }
        }
    }
}

/// Takes over what can change while running. Settings that are wrong change nothing.
fn reload(start: &Start, running: Config, parts: &Reloaded<'_>) -> Config {
    let new = match Config::resolve(start.data.clone(), &start.args) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "settings were not taken over");
            return running;
        }
    };
    let (config, waiting) = takeover::take_over(&running, new);
    if let Err(error) = apply(start, &config, parts) {
        tracing::error!(error = %format!("{error:#}"), "settings were not taken over");
        return running;
    }
    for name in waiting {
        tracing::warn!(setting = name, "changed, but takes a restart");
    }
    tracing::info!("settings were read again");
    config
}

fn apply(start: &Start, config: &Config, parts: &Reloaded<'_>) -> anyhow::Result<()> {
    check(config, &start.args)?;
    start.level.set(&config.log.level)?;
    start.scrubber.know_settings(payments::secrets(config));
    let prices = settings::prices(config)?;
    parts.gateway.reload(settings::gateway(config), Arc::clone(&prices), settings::tls(config)?);
    parts.prices.put(prices);
    if let (Some(certificate), Some(certified)) = (parts.certificate, settings::control_tls(config)?) {
        certificate.replace(certified);
    }
    Ok(())
}
