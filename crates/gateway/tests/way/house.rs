//! A gateway in this process, before an upstream that does what the test says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use claviger_claude_wire::price::PriceTable;
use claviger_domain::{
    clock::Clock,
    direct_use::NoAccount,
    id::{KeyId, WorkspaceId},
    key::RevocationReason,
    ports::signing::NonceStore,
    secret::SecretBytes,
    token::Brand,
    upstream::UpstreamKind,
};
use claviger_gateway::{Deps, Gateway, GatewayConfig, Simulate, SimulatedBody, bind};
use claviger_service::{
    Caller, Services, Settings,
    keys::NewKey,
    upstreams::{NewCredential, NewUpstream},
};
use claviger_storage::MemoryNonces;
use claviger_testkit::{ManualClock, NoCourier, NoKeys, PlainSealer, SeededEntropy};
use claviger_upstream::{Transport, UpstreamConfig};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::runtime::{Builder, Runtime};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::ports::MemoryStore;

/// Answers test keys with one sentence.
struct Simulator;

impl Simulate for Simulator {
    fn answer(
        &self,
        _workspace: &WorkspaceId,
        _request: Request<SimulatedBody>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Response<SimulatedBody>> + Send>> {
        let body = Full::new(bytes::Bytes::from_static(br#"{"type":"message","usage":{"input_tokens":9}}"#));
        let mut answer = Response::new(body.map_err(|never| match never {}).boxed_unsync());
        answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        Box::pin(async move { answer })
    }
}

pub struct House {
    pub store: Arc<MemoryStore>,
    pub address: SocketAddr,
    pub key: String,
    pub key_id: KeyId,
    pub test_key: String,
    pub gateway: Gateway,
    pub services: Services,
    pub control: Runtime,
    pub clock: ManualClock,
    stop: CancellationToken,
    last: CancellationToken,
    worker: Option<JoinHandle<()>>,
}

pub struct Wish {
    pub config: GatewayConfig,
    pub key: NewKey,
    pub credentials: usize,
    pub drain: Duration,
    /// Who remembers nonces; `None`: the house's memory.
    pub nonces: Option<Arc<dyn NonceStore>>,
    pub clock: ManualClock,
}

impl Default for Wish {
    fn default() -> Self {
        let key = NewKey { name: "k".to_owned(), ..NewKey::default() };
        let (config, clock) = (GatewayConfig::default(), ManualClock::default());
        Self { config, key, credentials: 1, drain: Duration::from_secs(5), nonces: None, clock }
    }
}

impl House {
    pub fn before(upstream: &str) -> Self {
        Self::with(upstream, Wish::default())
    }

    pub fn with(upstream: &str, wish: Wish) -> Self {
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = wish.clock.clone();
        let nonces = wish.nonces.clone();
        let nonces = nonces.unwrap_or_else(|| Arc::new(MemoryNonces::new(clock.now(), 10_000)));
        let store = MemoryStore::new(clock.clone());
        let tracker = TaskTracker::new();
        let entropy = Arc::new(SeededEntropy::new(7));
        let deps = claviger_service::Deps {
            store: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            sealer: Arc::new(PlainSealer),
            clock: Arc::new(clock.clone()),
            entropy: Arc::clone(&entropy) as _,
            brand: Brand::DEFAULT,
            tracker: tracker.clone(),
            free_disk: Arc::new(|| None),
            checkpoint_sink: None,
            courier: Arc::new(NoCourier),
            nonces,
            account: Arc::new(NoAccount),
            key_fetcher: Arc::new(NoKeys),
            prices: Arc::new(claviger_testkit::FreePrices),
            settings: Settings::default(),
        };
        let stop = CancellationToken::new();
        let (services, background) = control.block_on(Services::start(deps)).unwrap();
        let last = CancellationToken::new();
        control.spawn(background.writer.run(last.clone()));
        control.spawn(background.jobs.run(last.clone()));
        let (key_id, key, test_key) = control.block_on(furnish(&services, upstream, &wish));
        let deps = Deps {
            services: services.clone(),
            transport: Transport::new(&UpstreamConfig::default()).unwrap(),
            simulator: Arc::new(Simulator),
            prices: Arc::new(PriceTable::builtin()),
            tls: None,
            clock: Arc::new(clock.clone()),
            entropy,
            tracker,
        };
        let gateway = Gateway::new(wish.config, deps);
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (serving, told, drain) = (gateway.clone(), stop.clone(), wish.drain);
        let worker = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serving.serve_worker(listener, told, drain)).unwrap();
        });
        let worker = Some(worker);
        Self { store, address, key, key_id, test_key, gateway, services, control, clock, stop, last, worker }
    }

    /// Sends a request and gives the connection, to be read.
    pub fn send(&self, request: &str) -> Connection {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Connection(stream)
    }

    /// A messages request of the house's key.
    pub fn message(&self, stream: bool) -> String {
        post(&self.key, &body(stream))
    }

    pub fn revoke_now(&self) {
        let reason = RevocationReason::Compromised;
        let caller = Caller::system();
        let revoked = self.services.keys.revoke(&self.key_id, reason, true, &caller);
        self.control.block_on(revoked).unwrap();
    }

    /// Tells the worker to stop and waits for its end.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(worker) = self.worker.take() {
            worker.join().unwrap();
        }
    }

    pub fn tell_to_stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop();
        self.last.cancel();
    }
}

async fn furnish(services: &Services, upstream: &str, wish: &Wish) -> (KeyId, String, String) {
    let caller = Caller::system();
    let new =
        NewUpstream { name: "up".to_owned(), kind: UpstreamKind::Anthropic, base_url: upstream.to_owned() };
    services.upstreams.add(new, &caller).await.unwrap();
    for number in 0..wish.credentials {
        let secret = SecretBytes::new(format!("sk-ant-api03-provider-{number}").into_bytes());
        let name = Some(format!("cred{number}"));
        let new = NewCredential {
            upstream: "up".to_owned(),
            name,
            purpose: claviger_domain::upstream::CredentialPurpose::Traffic,
            workspace: None,
            secret,
        };
        services.upstreams.add_credential(new, &caller).await.unwrap();
    }
    let (record, token, _) = services.keys.create(wish.key.clone(), &caller).await.unwrap();
    let test = NewKey { name: "t".to_owned(), test: true, ..NewKey::default() };
    let (_, test_token, _) = services.keys.create(test, &caller).await.unwrap();
    while services.routes.snapshot().credentials.len() < wish.credentials {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let text = |t: &claviger_domain::token::Token| String::from_utf8_lossy(t.expose()).into_owned();
    (record.id, text(&token), text(&test_token))
}

pub fn body(stream: bool) -> String {
    format!(
        r#"{{"messages":[{{"role":"user","content":"hi"}}],"model":"claude-opus-5-5","max_tokens":9,"stream":{stream}}}"#
    )
}

pub fn post(key: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/messages?beta=true HTTP/1.1\r\nHost: gw\r\nx-api-key: {key}\r\ncontent-type: application/json\r\nX-Request-Id: mine\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A client's end.
pub struct Connection(pub TcpStream);

impl Connection {
    /// Reads until the text is there.
    pub fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let read = self.0.read(&mut chunk).unwrap_or(0);
            assert!(read > 0, "no `{text}` in: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// What comes within a while.
    pub fn within(&mut self, time: Duration) -> String {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut seen = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(read) = self.0.read(&mut chunk) {
            if read == 0 {
                break;
            }
            seen.extend_from_slice(&chunk[..read]);
        }
        self.0.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Everything until the connection is closed, and whether it was closed in order.
    pub fn rest(&mut self) -> (String, bool) {
        let mut seen = Vec::new();
        let in_order = self.0.read_to_end(&mut seen).is_ok();
        (String::from_utf8_lossy(&seen).into_owned(), in_order)
    }
}
