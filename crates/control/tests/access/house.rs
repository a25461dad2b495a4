//! A control plane with everything behind it, whose clock the test moves.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, StatusCode, header},
};
use claviger_control::{
    Boxed,
    extract::TOTP_HEADER,
    listen::Peer,
    problem::Problem,
    router,
    state::{ControlState, Process},
};
use claviger_domain::{
    clock::Clock, direct_use::NoAccount, ports::Store, price::Prices, token::Brand, upstream::UpstreamRecord,
};
use claviger_service::{Deps, Services, Settings};
use claviger_storage::{Database, Durability, Options};
use claviger_testkit::{FreePrices, ManualClock, NoCourier, NoKeys, PlainSealer, SeededEntropy, data_folder};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use totp_rs::{Builder, Secret};
use tower::ServiceExt;

pub const PASSWORD: &str = "correct horse battery";

/// What only the binary can do, undone.
struct Nothing;

impl Process for Nothing {
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
    fn probe<'a>(&'a self, _upstream: &'a UpstreamRecord) -> Boxed<'a, Value> {
        Box::pin(async { json!({}) })
    }
    fn backup(&self, _to: PathBuf) -> Boxed<'_, Result<Value, Problem>> {
        Box::pin(async { Err(Problem::new(StatusCode::BAD_REQUEST, "invalid", "nothing is copied here")) })
    }
    fn check_upstream(&self, _base_url: &str) -> Result<(), String> {
        Ok(())
    }
    fn settings(&self) -> Value {
        json!({})
    }
    fn prices(&self) -> Arc<dyn Prices> {
        Arc::new(FreePrices)
    }
    fn describe(&self) -> Value {
        json!({})
    }
}

pub struct House {
    router: Router,
    pub state: ControlState,
    pub store: Arc<Database>,
    pub clock: ManualClock,
    /// The newest step of a second factor that was used.
    step: AtomicI64,
    seed: u64,
    _folder: Arc<TempDir>,
}

/// An answer: its status and its JSON.
pub type Answer = (u16, Value);

/// Someone who is logged in.
#[derive(Clone)]
pub struct Person {
    pub name: String,
    pub totp: String,
    pub token: String,
}

pub const LOCAL: Peer = Peer::Local { uid: 0, pid: 7 };

pub fn remote(address: &str) -> Peer {
    Peer::Remote(address.parse::<SocketAddr>().unwrap())
}

impl House {
    pub async fn new() -> Self {
        Self::on(Arc::new(data_folder()), ManualClock::default(), 11).await
    }

    /// The next process on the same data, after the one before was killed.
    pub async fn restarted(self) -> Self {
        let step = self.step.load(Ordering::SeqCst);
        let next = Self::on(Arc::clone(&self._folder), self.clock.clone(), self.seed + 1).await;
        next.step.store(step, Ordering::SeqCst);
        next
    }

    async fn on(folder: Arc<TempDir>, clock: ManualClock, seed: u64) -> Self {
        let address = folder.path().join("claviger.db").to_string_lossy().into_owned();
        let options = Options { durability: Durability::Process, ..Options::default() };
        let store = Arc::new(Database::open(&address, options).await.unwrap());
        let entropy = Arc::new(SeededEntropy::new(seed));
        let deps = Deps {
            store: Arc::clone(&store) as Arc<dyn Store>,
            ledger: Arc::clone(&store) as _,
            sealer: Arc::new(PlainSealer),
            clock: Arc::new(clock.clone()),
            entropy: Arc::clone(&entropy) as _,
            brand: Brand::DEFAULT,
            tracker: TaskTracker::new(),
            free_disk: Arc::new(|| None),
            checkpoint_sink: None,
            courier: Arc::new(NoCourier),
            nonces: Arc::new(claviger_storage::MemoryNonces::new(clock.now(), 10_000)),
            account: Arc::new(NoAccount),
            key_fetcher: Arc::new(NoKeys),
            prices: Arc::new(FreePrices),
            settings: Settings::default(),
        };
        let (services, _background) = Services::start(deps).await.unwrap();
        let state = ControlState {
            services,
            clock: Arc::new(clock.clone()),
            entropy,
            process: Arc::new(Nothing),
            payments: Arc::new([]),
        };
        let step = AtomicI64::new(0);
        Self { router: router(state.clone()), state, store, clock, step, seed, _folder: folder }
    }

    pub async fn send(&self, peer: Peer, request: Request<Body>) -> Answer {
        let mut request = request;
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A request on the socket.
    pub async fn ask(&self, token: Option<&str>, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(token, None, (method, path, body)).await
    }

    /// A request on the socket with a code of the second factor.
    pub async fn ask_with(
        &self,
        token: Option<&str>,
        code: Option<&str>,
        (method, path, body): (Method, &str, Option<Value>),
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(code) = code {
            request = request.header(TOTP_HEADER, code);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(LOCAL, request.body(body).unwrap()).await
    }

    /// A code that was not used yet; the clock goes on until there is one.
    pub fn code(&self, totp: &str) -> String {
        let now = self.clock.now().as_secs().div_euclid(30);
        let used = self.step.load(Ordering::SeqCst);
        if now <= used {
            self.clock.advance(Duration::from_secs(30 * (used - now + 1).unsigned_abs()));
        }
        let secs = self.clock.now().as_secs();
        self.step.store(secs.div_euclid(30), Ordering::SeqCst);
        let secret = Secret::try_from_base32(totp).unwrap();
        Builder::new().with_secret(secret).build_noncompliant().generate(secs.unsigned_abs()).to_string()
    }

    /// As somebody, with a fresh code.
    pub async fn proved(&self, by: &Person, method: Method, path: &str, body: Option<Value>) -> Answer {
        let code = self.code(&by.totp);
        self.ask_with(Some(&by.token), Some(&code), (method, path, body)).await
    }

    /// Somebody who was enrolled, logged in.
    pub async fn login(&self, name: &str, totp: &str) -> Person {
        let body = json!({"name": name, "password": PASSWORD, "totp": self.code(totp)});
        let (status, opened) = self.ask(None, Method::POST, "/session", Some(body)).await;
        assert_eq!(status, 201, "{opened}");
        let token = opened["token"].as_str().unwrap().to_owned();
        Person { name: name.to_owned(), totp: totp.to_owned(), token }
    }

    /// Enrols the first operator over the socket and logs in.
    pub async fn first(&self, name: &str) -> Person {
        let body = json!({"name": name, "role": "owner", "password": PASSWORD});
        let (status, made) = self.ask(None, Method::POST, "/operators", Some(body)).await;
        assert_eq!(status, 201, "{made}");
        self.login(name, made["totp_secret"].as_str().unwrap()).await
    }

    /// Enrols somebody and logs them in.
    pub async fn enrol(&self, by: &Person, name: &str, role: &str, workspace: Option<&str>) -> Person {
        let body = json!({"name": name, "role": role, "workspace": workspace, "password": PASSWORD});
        let (status, made) = self.proved(by, Method::POST, "/operators", Some(body)).await;
        assert_eq!(status, 201, "{made}");
        self.login(name, made["totp_secret"].as_str().unwrap()).await
    }

    /// Everything that stands in the audit log.
    pub async fn audit(&self) -> Vec<Value> {
        let records = self.store.audit_after(0, 1_000).await.unwrap();
        records.iter().map(|r| serde_json::to_value(&r.event).unwrap()).collect()
    }
}
