//! Records to store: each differs in every field from the next.

use claviger_domain::{
    address::CidrList,
    audit::{Actor, AuditEvent, Digest},
    clock::{Entropy, MICROS_PER_SEC, Timestamp},
    id::{CredentialId, IntentId, KeyId, NodeId, OwnerId, RequestId, UpstreamId, WorkspaceId},
    key::{
        KeyPolicy, KeyRecord, KeyState, OnDisconnect,
        deprecation::{Deprecation, DeprecationStage},
    },
    ledger::{Group, Intent, LedgerRow, Outcome, Party, Route, RowFlags, UsageCounts},
    limit::Limits,
    mac::{KeyMac, PepperVersion},
    money::PicoUsd,
    permission::{Endpoint, ModelGlob, Permissions, Scopes},
    ports::{Change, LedgerStore, Store},
    tenancy::{Environment, OwnerRecord, Resource, ResourceKind, WorkspaceRecord},
    token::{KeyClass, PublicId},
    upstream::{CredentialPurpose, CredentialRecord, ServiceState, UpstreamKind, UpstreamRecord},
};
use claviger_storage::Database;
use claviger_testkit::SeededEntropy;

/// 2026-01-05 00:00:00 UTC, a midnight.
pub const START: Timestamp = Timestamp::from_secs(1_767_571_200);

/// A moment some seconds after [`START`].
pub fn at(secs: i64) -> Timestamp {
    START.plus_micros(secs * MICROS_PER_SEC)
}

/// Makes records, the same ones for the same seed.
pub struct Samples(SeededEntropy);

impl Samples {
    pub const fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    pub fn number(&self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % below
    }

    pub fn pick<T: Clone>(&self, from: &[T]) -> T {
        from[usize::try_from(self.number(from.len() as u64)).unwrap()].clone()
    }

    pub fn node(&self) -> NodeId {
        NodeId::generate(&self.0).unwrap()
    }

    pub fn intent_id(&self) -> IntentId {
        IntentId::generate(&self.0).unwrap()
    }

    pub fn workspace(&self, name: &str) -> WorkspaceRecord {
        WorkspaceRecord {
            id: WorkspaceId::generate(&self.0).unwrap(),
            name: name.to_owned(),
            environment: Environment::Staging,
            limits: Limits { concurrency: Some(9), itpm: Some(20_000), ..Limits::NONE },
            created_at: at(1),
            archived_at: None,
            version: 1,
        }
    }

    pub fn owner(&self, name: &str) -> OwnerRecord {
        OwnerRecord {
            id: OwnerId::generate(&self.0).unwrap(),
            name: name.to_owned(),
            email: Some(format!("{name}@example.org")),
            limits: Limits { rpm: Some(5), tpd: Some(1_000_000_000_000), ..Limits::NONE },
            created_at: at(2),
            archived_at: None,
            version: 1,
        }
    }

    pub fn public_id(&self) -> PublicId {
        let text: String = (0..10).map(|_| char::from(b'a' + self.number(26) as u8)).collect();
        PublicId::parse(&text).unwrap()
    }

    pub fn key(&self, owner: &OwnerRecord, workspace: &WorkspaceRecord) -> KeyRecord {
        let public_id = self.public_id();
        let mut mac = [0; 32];
        self.0.fill(&mut mac).unwrap();
        let policy = KeyPolicy {
            permissions: Permissions {
                models: vec![ModelGlob::parse("claude-*").unwrap()],
                endpoints: vec![Endpoint::Messages, Endpoint::Files],
                scopes: Scopes::parse(&["read", "messages:write"]).unwrap(),
            },
            allow_ip: CidrList::parse(&["10.0.0.0/8", "2001:db8::/32"]).unwrap(),
            limits: Limits {
                rps: Some(3),
                rph: Some(9),
                concurrency: Some(2),
                otpm: Some(4_000),
                ..Limits::NONE
            },
            max_uses: Some(77),
            hours: None,
            on_disconnect: OnDisconnect::Drain,
            cache: claviger_domain::key::cache::CacheTtl::from_secs(300).ok(),
            require: claviger_domain::proof::Proofs::NONE.with(claviger_domain::proof::Proof::Signature),
            bind_mtls: claviger_domain::binding::CertificateBindings::parse(&["spiffe://example.org/x"])
                .unwrap(),
        };
        KeyRecord {
            id: public_id.key_id().unwrap(),
            public_id,
            class: KeyClass::Live,
            name: format!("key of {}", owner.name),
            owner: owner.id.clone(),
            workspace: workspace.id.clone(),
            mac: KeyMac::from_bytes(mac),
            pepper_version: PepperVersion(3),
            hint: "cvg_live_abcd…".to_owned(),
            state: KeyState::Active,
            policy,
            created_at: at(3),
            not_before: Some(at(4)),
            expires_at: Some(at(5)),
            revocation: None,
            rotated_from: Some(self.public_id().key_id().unwrap()),
            lineage: self.public_id().key_id().unwrap(),
            parent: Some(self.public_id().key_id().unwrap()),
            deprecation: Some(Deprecation {
                since: at(7),
                stage: DeprecationStage::Limited,
                stage_at: at(8),
            }),
            version: 1,
        }
    }

    pub fn upstream(&self, name: &str) -> UpstreamRecord {
        UpstreamRecord {
            id: UpstreamId::generate(&self.0).unwrap(),
            name: name.to_owned(),
            kind: UpstreamKind::Anthropic,
            base_url: "https://api.example.org/prefix".to_owned(),
            state: ServiceState::Active,
            created_at: at(6),
            version: 1,
        }
    }

    pub fn credential(&self, upstream: &UpstreamRecord, workspace: Option<WorkspaceId>) -> CredentialRecord {
        CredentialRecord {
            id: CredentialId::generate(&self.0).unwrap(),
            upstream: upstream.id.clone(),
            purpose: CredentialPurpose::Admin,
            workspace,
            name: "main".to_owned(),
            sealed: vec![1, 2, 3, 0, 255],
            hint: "sk-ant-…wxyz".to_owned(),
            state: ServiceState::Disabled,
            created_at: at(7),
            version: 1,
        }
    }

    pub fn party(&self) -> Party {
        Party {
            key: KeyId::generate(&self.0).unwrap(),
            workspace: WorkspaceId::generate(&self.0).unwrap(),
            owner: OwnerId::generate(&self.0).unwrap(),
            class: KeyClass::Live,
        }
    }

    pub fn intent(&self, party: &Party, at: Timestamp) -> Intent {
        Intent {
            id: self.intent_id(),
            request_id: RequestId::generate(&self.0).unwrap(),
            party: party.clone(),
            route: self.route(),
            at,
            endpoint: Endpoint::Messages,
            api_endpoint: "POST /v1/messages".to_owned(),
            model: "claude-opus-5-5".to_owned(),
            reservation: PicoUsd::new(i128::from(self.number(1 << 40))).unwrap(),
            attempt: 1,
            client_ip: "192.0.2.1".to_owned(),
            charges: Vec::new(),
        }
    }

    pub fn route(&self) -> Route {
        Route {
            upstream: Some(UpstreamId::generate(&self.0).unwrap()),
            credential: Some(CredentialId::generate(&self.0).unwrap()),
        }
    }

    /// A row of the party, random in all that reports look at.
    pub fn row(&self, party: &Party, at: Timestamp) -> LedgerRow {
        let count = || self.number(5_000_000);
        let outcomes =
            [Outcome::Completed, Outcome::Completed, Outcome::Cut, Outcome::Refused, Outcome::UpstreamError];
        let endpoints = [
            (Endpoint::Messages, "POST /v1/messages"),
            (Endpoint::CountTokens, "POST /v1/messages/count_tokens"),
            (Endpoint::Models, "GET /v1/models"),
            (Endpoint::Files, "HEAD /v1/files/file_1"),
        ];
        let (endpoint, api_endpoint) = self.pick(&endpoints);
        let outcome = self.pick(&outcomes);
        let spent = outcome != Outcome::Refused;
        let usage = UsageCounts {
            input_tokens: count(),
            cache_write_5m_tokens: count(),
            cache_write_1h_tokens: count(),
            cache_read_tokens: count(),
            output_tokens: count(),
            web_search_requests: self.number(3),
        };
        LedgerRow {
            request_id: RequestId::generate(&self.0).unwrap(),
            intent: None,
            party: party.clone(),
            route: self.route(),
            batch: None,
            at,
            endpoint,
            api_endpoint: api_endpoint.to_owned(),
            model: self.pick(&["claude-opus-5-5", "claude-haiku-5-5", ""]).to_owned(),
            status: 200,
            outcome,
            flags: RowFlags(u32::try_from(self.number(256)).unwrap()),
            usage: if spent { usage } else { UsageCounts::default() },
            cost: PicoUsd::saturating(if spent { i128::from(self.number(1 << 62)) } else { 0 }),
            attempts: 2,
            upstream_request_id: Some("req_up".to_owned()),
            first_byte_us: 12_345,
            duration_us: 9_876_543_210,
            client_ip: "2001:db8::7".to_owned(),
            user_agent: format!("tester/1.0 é {}", self.number(100)),
            token_scope: "read messages:write".to_owned(),
            detail: String::new(),
            charges: Vec::new(),
            signed: None,
            recalled: None,
        }
    }

    pub fn resource(&self, id: &str, kind: ResourceKind, party: &Party, at: Timestamp) -> Resource {
        let route = self.route();
        Resource {
            id: id.to_owned(),
            kind,
            workspace: party.workspace.clone(),
            key: party.key.clone(),
            upstream: route.upstream.unwrap(),
            credential: route.credential.unwrap(),
            created_at: at,
            held: None,
        }
    }
}

pub fn event(action: &str) -> AuditEvent {
    AuditEvent::new(at(0), Actor::Local { uid: 1000, pid: 7 }, action, "target").with("n", 1)
}

pub async fn put(db: &Database, changes: Vec<Change>) {
    db.apply(changes, event("test.put")).await.unwrap();
}

/// Commits groups one after the other, as the recorder does.
pub struct Committer {
    pub chain: NodeId,
    pub length: i64,
    pub head: Digest,
}

impl Committer {
    pub async fn open(db: &Database, chain: NodeId) -> Self {
        db.open_chain(&chain, event("audit.chain.open")).await.unwrap();
        Self { chain, length: 0, head: Digest::EMPTY }
    }

    /// The next group, empty.
    pub fn group(&self, at: Timestamp) -> Group {
        Group {
            chain: self.chain.clone(),
            number: self.length + 1,
            at,
            previous: self.head,
            intents: Vec::new(),
            rows: Vec::new(),
            released: Vec::new(),
            resources: Vec::new(),
        }
    }

    pub async fn commit(&mut self, db: &Database, group: &Group) {
        self.head = db.commit_group(group).await.unwrap();
        self.length = group.number;
    }

    pub async fn rows(&mut self, db: &Database, at: Timestamp, rows: Vec<LedgerRow>) {
        let group = Group { rows, ..self.group(at) };
        self.commit(db, &group).await;
    }
}
