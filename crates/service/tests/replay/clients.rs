//! Honest clients with clocks of their own, and somebody who hears every request and sends it again, in other dresses.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use claviger_domain::{
    clock::{MICROS_PER_SEC, Timestamp},
    id::{KeyId, SigningId},
    signature::{
        Fields, MESSAGE_INPUT, MESSAGE_SIGNATURE, NONCE, Profile, SIGNATURE, Signer, Signers, TIMESTAMP,
        Target,
        secret::{GRACE_HOURS, SigningKind, SigningRecord},
        sign::{Hand, Stamp, sign},
    },
    token::PublicId,
};
use smallvec::SmallVec;

use crate::dice::Dice;

pub const METHOD: &str = "POST";
const URL: &str = "https://gw.example/v1/messages?beta=true";
const ELSEWHERE: &str = "https://gw.example/v1/files";
const HOLDERS: u8 = 6;

/// A request's headers.
#[derive(Debug, Clone)]
pub struct Head(Vec<(&'static str, String)>);

impl Fields for Head {
    fn values(&self, name: &str) -> SmallVec<[&[u8]; 2]> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_bytes()).collect()
    }
}

impl Head {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str()).unwrap()
    }
}

/// Which request it is, whatever its dress.
pub type Id = (usize, u64);

#[derive(Debug, Clone)]
pub struct Request {
    pub id: Id,
    pub profile: Profile,
    pub head: Head,
    pub url: &'static str,
    pub body: Vec<u8>,
    pub made_at_secs: i64,
    /// When the secret that signed it was made.
    pub signer_since: Timestamp,
    /// Which one that was.
    pub signer: SigningId,
}

/// Who holds a key, and what it is signed with.
struct Holder {
    key: PublicId,
    records: Vec<SigningRecord>,
    signers: Signers,
}

/// Everyone who signs.
pub struct Clients {
    holders: Vec<Holder>,
    pair: Ed25519KeyPair,
    count: u64,
}

impl Clients {
    pub fn new(since: Timestamp) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        let mut clients = Self { holders: Vec::new(), pair, count: 0 };
        for number in 0..HOLDERS {
            let key = PublicId::parse(&format!("{number:010}")).unwrap();
            clients.holders.push(Holder { key, records: Vec::new(), signers: Signers::default() });
            clients.rotate(usize::from(number), since, false);
        }
        clients
    }

    pub fn key(&self, holder: usize) -> PublicId {
        self.holders[holder].key
    }

    pub fn signers(&self, holder: usize) -> &Signers {
        &self.holders[holder].signers
    }

    pub fn holders(&self) -> usize {
        self.holders.len()
    }

    /// Whether the secret is refused at this time.
    pub fn is_over(&self, request: &Request, now: Timestamp) -> bool {
        let records = &self.holders[request.id.0].records;
        let record = records.iter().find(|record| record.id == request.signer);
        record.is_none_or(|record| record.until.is_some_and(|until| until <= now))
    }

    /// A new secret. The one before has its grace, or none.
    pub fn rotate(&mut self, holder: usize, now: Timestamp, at_once: bool) {
        let number = self.count;
        self.count += 1;
        let has_pair = self.has_pair(holder);
        let of = &mut self.holders[holder];
        let grace = if at_once { 0 } else { GRACE_HOURS * 3_600 * MICROS_PER_SEC };
        let until = now.plus_micros(grace);
        for record in &mut of.records {
            record.until = Some(record.until.map_or(until, |known| known.min(until)));
        }
        of.records.retain(|record| record.until.is_none_or(|until| until > now));
        of.records.push(SigningRecord {
            id: SigningId::parse(&format!("sgn_{number}")).unwrap(),
            key: KeyId::parse(&format!("key_{holder:010}")).unwrap(),
            kind: if has_pair { SigningKind::Ed25519 } else { SigningKind::Hmac },
            material: Vec::new(),
            hint: String::new(),
            created_at: now,
            valid_from: now,
            until: None,
            version: 1,
        });
        let signer = |record: &SigningRecord| {
            let text = secret(&record.id);
            let material = if has_pair { self.pair.public_key().as_ref() } else { text.as_bytes() };
            Signer::new(record, material).unwrap()
        };
        of.signers = Signers::new(of.records.iter().map(signer).collect());
    }

    /// The last one signs with a key pair, which is never replaced.
    pub fn has_pair(&self, holder: usize) -> bool {
        holder == usize::from(HOLDERS) - 1
    }

    /// A request that nobody made before.
    pub fn request(&mut self, dice: &mut Dice, made_at_secs: i64) -> Request {
        let holder = dice.below(self.holders.len());
        let has_pair = self.has_pair(holder);
        let profile = if has_pair { Profile::Rfc9421 } else { dice.pick(&Profile::ALL) };
        self.count += 1;
        let nonce = format!("{:032x}", self.count);
        let Holder { key, records, .. } = &self.holders[holder];
        // Mostly the newest secret; some clients still have the one before.
        let newest = records.len() - 1;
        let record = &records[if dice.one_in(4) { newest.saturating_sub(1) } else { newest }];
        let text = secret(&record.id);
        let hand = if has_pair { Hand::Pair(&self.pair) } else { Hand::Secret(text.as_bytes()) };
        let stamp = Stamp { key_id: key.as_str(), at_secs: made_at_secs, nonce: &nonce, expires_secs: None };
        let body = vec![b'x'; dice.below(200)];
        let target = Target::of_url(METHOD, URL).unwrap();
        let head = Head(sign(profile, &hand, stamp, &target, &body).unwrap());
        let (id, signer, signer_since) = ((holder, self.count), record.id.clone(), record.created_at);
        Request { id, profile, head, url: URL, body, made_at_secs, signer_since, signer }
    }
}

fn secret(id: &SigningId) -> String {
    format!("a secret of tests, {id}")
}

/// Hears everything.
#[derive(Default)]
pub struct Eavesdropper {
    by_time: BTreeMap<i64, Vec<Arc<Request>>>,
    last: VecDeque<Arc<Request>>,
}

impl Eavesdropper {
    pub fn hear(&mut self, request: &Arc<Request>) {
        self.by_time.entry(request.made_at_secs).or_default().push(Arc::clone(request));
        self.last.push_back(Arc::clone(request));
        if self.last.len() > 400 {
            self.last.pop_front();
        }
        let oldest = self.by_time.last_key_value().map_or(0, |(newest, _)| newest - 2_500);
        while self.by_time.first_key_value().is_some_and(|(at, _)| *at < oldest) {
            self.by_time.pop_first();
        }
    }

    /// One that was heard: of the last ones, of one that is at an edge of the window, of any time.
    pub fn choose(&self, dice: &mut Dice, now_secs: i64) -> Option<Arc<Request>> {
        if dice.roll(10) < 4 {
            return (!self.last.is_empty()).then(|| Arc::clone(&self.last[dice.below(self.last.len())]));
        }
        let age = if dice.one_in(2) {
            dice.pick(&[-302, -301, -300, -299, 298, 299, 300, 301, 302, 599, 600, 601, 602, 660])
        } else {
            dice.within(-310, 900)
        };
        let (_, of_then) = self.by_time.range(now_secs - age..).next()?;
        Some(Arc::clone(&of_then[dice.below(of_then.len())]))
    }
}

/// The same request in another dress: what it proves is the same.
pub fn disguised(dice: &mut Dice, request: &Arc<Request>) -> Arc<Request> {
    let mut other = (**request).clone();
    match (request.profile, dice.roll(3)) {
        (Profile::V1 | Profile::V2, 0) => {
            let mac = other.head.get(SIGNATURE).strip_prefix("sha256=").unwrap();
            let one = format!("ts={}&nonce={}&sig={mac}", other.head.get(TIMESTAMP), other.head.get(NONCE));
            other.head.0.retain(|(name, _)| ![SIGNATURE, TIMESTAMP, NONCE].contains(name));
            other.head.0.push((SIGNATURE, one));
        }
        (Profile::V1, 1) => other.url = ELSEWHERE,
        (Profile::Rfc9421, 0) => {
            for (name, value) in &mut other.head.0 {
                if [MESSAGE_INPUT, MESSAGE_SIGNATURE].contains(name) {
                    *value = value.replacen("cvg=", "again=", 1);
                }
            }
        }
        (Profile::V1 | Profile::V2 | Profile::Rfc9421, _) => return Arc::clone(request),
    }
    Arc::new(other)
}
