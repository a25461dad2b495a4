//! What is measured: how callers prove who they are, and how a call is admitted under ceilings. The real services over
//! SQLite, with the clock standing still; every operation is one of a key that is known, so that none waits for a store.
#![expect(clippy::unwrap_used, reason = "a measurement that fails shall stop where it stands and say so")]

use std::sync::Arc;

use claviger_domain::{
    budget::{Ask, BudgetMode, BudgetSubject, Cover, Period},
    clock::{Clock, Timestamp},
    direct_use::NoAccount,
    ledger::Party,
    limit::{Bucket, LimitsPatch, Tokens},
    money::PicoUsd,
    signature::{
        Against, Check, Claim, Fields, Profile, Target,
        sign::{Hand, Stamp, sign},
    },
    token::{Brand, Token},
};
use claviger_service::{
    Caller, Deps, Services, Settings, budgets::BudgetWish, grants::LiveGrant, keys::NewKey, tokens::Order,
};
use claviger_storage::{Database, MemoryNonces, Options};
use claviger_testkit::{FreePrices, ManualClock, NoCourier, NoKeys, PlainSealer, SeededEntropy, data_folder};
use futures_util::FutureExt;
use smallvec::SmallVec;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ISSUER: &str = "https://claude.example.com";
const URL: &str = "https://claude.example.com/v1/messages";
const BODY: &[u8] = &[b'x'; 1_024];
/// What a call of the measured ones asks for.
const ASK: Tokens = Tokens { input: 400, output: 1_024 };

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A known key.
    Key,
    /// An access token that was seen before.
    KnownToken,
    /// One that was not: its signature is verified.
    NewToken,
    /// A signature over 1 KB, with its nonce.
    Signature(Profile),
    /// A call without limits and budgets.
    Free,
    /// A call under five limits and four budgets.
    Ceilings,
}

impl Work {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::Key,
        Self::KnownToken,
        Self::NewToken,
        Self::Signature(Profile::V1),
        Self::Signature(Profile::V2),
        Self::Signature(Profile::Rfc9421),
        Self::Free,
        Self::Ceilings,
    ];

    /// As printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::KnownToken => "known_token",
            Self::NewToken => "new_token",
            Self::Signature(Profile::V1) => "signature_v1",
            Self::Signature(Profile::V2) => "signature_v2",
            Self::Signature(Profile::Rfc9421) => "signature_rfc9421",
            Self::Free => "free",
            Self::Ceilings => "ceilings",
        }
    }
}

/// A signed request's headers.
struct Signed(Vec<(&'static str, String)>);

impl Fields for Signed {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|(field, _)| *field == name).map(|(_, value)| value.as_bytes()).collect()
    }
}

/// Everything that is prepared, so that [`Scene::work`] does nothing but what is measured.
pub struct Scene {
    work: Work,
    services: Services,
    key: Token,
    live: Arc<LiveGrant>,
    party: Party,
    tokens: Vec<Vec<u8>>,
    signed: Vec<Signed>,
    now: Timestamp,
    at: usize,
    runtime: Runtime,
    _folder: TempDir,
}

impl Scene {
    /// Prepares for so many turns, and takes one before.
    #[must_use]
    pub fn new(work: Work, turns: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = data_folder();
        let mut scene = runtime.block_on(prepare(work, turns + 1, &folder));
        scene.2.truncate(turns + 1);
        let (services, (key, live), tokens, signed, now) = scene;
        let party = Party {
            key: live.grant.key.lineage.clone(),
            workspace: live.grant.key.workspace.clone(),
            owner: live.grant.key.owner.clone(),
            class: live.grant.key.class,
        };
        let mut scene =
            Self { work, services, key, live, party, tokens, signed, now, at: 0, runtime, _folder: folder };
        scene.turn();
        scene
    }

    /// One turn, in a runtime.
    pub fn turn(&mut self) {
        let handle = self.runtime.handle().clone();
        let _inside = handle.enter();
        self.once();
    }

    /// Reads the requests of the next turns, so that they are as near as those that have just come in.
    pub fn receive(&self, count: usize) {
        let next = self.signed.iter().skip(self.at).take(count);
        let bytes = next.flat_map(|signed| &signed.0).flat_map(|(_, value)| value.bytes());
        std::hint::black_box(bytes.map(u64::from).sum::<u64>());
    }

    /// So many turns, in a runtime.
    pub fn turns(&mut self, count: usize) {
        let handle = self.runtime.handle().clone();
        let _inside = handle.enter();
        (0..count).for_each(|_| self.once());
    }

    fn once(&mut self) {
        let at = self.at;
        self.at += 1;
        match self.work {
            Work::Key => {
                self.services.grants.verify(&self.key).now_or_never().unwrap().unwrap();
            }
            Work::KnownToken => self.token(0),
            Work::NewToken => self.token(at),
            Work::Signature(_) => self.signature(at),
            Work::Free | Work::Ceilings => self.call(),
        }
    }

    fn token(&self, at: usize) {
        self.services.tokens.verify(&self.tokens[at], ISSUER).now_or_never().unwrap().unwrap();
    }

    fn signature(&self, at: usize) {
        let fields = &self.signed[at];
        let claim = Claim::read(fields, self.now).unwrap().unwrap();
        let target = Target::of_url("POST", URL).unwrap();
        let against = Against {
            key: self.live.grant.key.public_id,
            signers: self.live.signers(),
            target: &target,
            fields,
        };
        let check = Check::begin(claim, against, self.now).unwrap();
        let proven = check.finish_with(BODY).unwrap();
        self.services.nonces.take(&proven.used).now_or_never().unwrap().unwrap();
    }

    /// Admission, what is held of tokens and money, and settlement.
    fn call(&self) {
        let budgets = &self.services.budgets;
        let mut admitted = self.services.admission.admit(&self.live, Bucket::Work, self.now).unwrap();
        if admitted.counts_tokens() {
            admitted.hold(ASK, self.now).unwrap();
        }
        let held = match budgets.cover(&self.party, None) {
            Cover::None => None,
            Cover::Soft | Cover::Hard => {
                let ask = Ask::at_most(PicoUsd::saturating(30_000_000_000));
                budgets.reserve(&self.party, None, ask, self.now).unwrap()
            }
        };
        admitted.settle(Tokens { input: 380, output: 200 }, self.now);
        if let Some(held) = held {
            held.settle(PicoUsd::saturating(7_000_000_000));
        }
    }
}

type Prepared = (Services, (Token, Arc<LiveGrant>), Vec<Vec<u8>>, Vec<Signed>, Timestamp);

async fn prepare(work: Work, turns: usize, folder: &TempDir) -> Prepared {
    let path = folder.path().join("claviger.db");
    let database = Arc::new(Database::open(&path.to_string_lossy(), Options::default()).await.unwrap());
    let clock = ManualClock::default();
    let services = start(&database, &clock).await;
    let caller = Caller::system();
    let signs = matches!(work, Work::Signature(_));
    let new = NewKey { name: "bench".to_owned(), limits: limits(work), sign: signs, ..NewKey::default() };
    let (key, token, secret) = services.keys.create_signing(new, &caller).await.unwrap();
    if work == Work::Ceilings {
        let subjects = [
            BudgetSubject::Key(key.lineage.clone()),
            BudgetSubject::Owner(key.owner.clone()),
            BudgetSubject::Workspace(key.workspace.clone()),
            BudgetSubject::All,
        ];
        for subject in subjects {
            services.budgets.set(much(subject), None, &caller).await.unwrap();
        }
    }
    // What was set is known to whoever starts after it.
    let services = start(&database, &clock).await;
    let live = services.grants.verify(&token).await.unwrap();
    let mut tokens = Vec::new();
    let needed = match work {
        Work::KnownToken => 1,
        Work::NewToken => turns,
        _ => 0,
    };
    for _ in 0..needed {
        let order = Order { issuer: ISSUER, ..Order::default() };
        let bought = services.tokens.buy(&live, &order, &caller).await.unwrap();
        tokens.push(bought.access_token.expose().to_vec());
    }
    let now = clock.now();
    let signed = match (work, secret) {
        (Work::Signature(profile), Some(secret)) => (0..turns)
            .map(|at| {
                let nonce = format!("{at:032x}");
                let stamp = Stamp {
                    key_id: key.public_id.as_str(),
                    at_secs: now.as_secs(),
                    nonce: &nonce,
                    expires_secs: None,
                };
                let target = Target::of_url("POST", URL).unwrap();
                let text = secret.text.expose();
                Signed(sign(profile, &Hand::Secret(text), stamp, &target, BODY).unwrap())
            })
            .collect(),
        _ => Vec::new(),
    };
    (services, (token, live), tokens, signed, now)
}

async fn start(database: &Arc<Database>, clock: &ManualClock) -> Services {
    let deps = Deps {
        store: Arc::clone(database) as _,
        ledger: Arc::clone(database) as _,
        sealer: Arc::new(PlainSealer),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SeededEntropy::new(7)),
        brand: Brand::DEFAULT,
        tracker: TaskTracker::new(),
        free_disk: Arc::new(|| None),
        checkpoint_sink: None,
        courier: Arc::new(NoCourier),
        nonces: Arc::new(MemoryNonces::new(Timestamp::from_micros(0), 1_000_000)),
        account: Arc::new(NoAccount),
        key_fetcher: Arc::new(NoKeys),
        prices: Arc::new(FreePrices),
        settings: Settings { nonces_per_key: 1_000_000, ..Settings::default() },
    };
    Services::start(deps).await.unwrap().0
}

/// Five limits that are never reached, or none.
fn limits(work: Work) -> LimitsPatch {
    const MUCH: Option<Option<u64>> = Some(Some(1_000_000_000));
    const NONE: Option<Option<u64>> = Some(None);
    if work == Work::Ceilings {
        LimitsPatch {
            rpm: MUCH,
            rpd: MUCH,
            itpm: MUCH,
            otpm: MUCH,
            concurrency: MUCH,
            ..LimitsPatch::default()
        }
    } else {
        LimitsPatch { rpm: NONE, rpd: NONE, ..LimitsPatch::default() }
    }
}

fn much(subject: BudgetSubject) -> BudgetWish {
    BudgetWish {
        subject,
        period: Period::Month,
        zone: None,
        limit: PicoUsd::saturating(1_000_000_000_000_000_000),
        hard: true,
        mode: BudgetMode::Strict,
    }
}
