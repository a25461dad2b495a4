//! A holder that goes on sending while its signing secret is replaced: it reads `calls N` or `secs N`, four calls at
//! once, and says `N calls` when so many were answered. What follows its secret it writes into the file `STORE`; `CLOCK`
//! is a file that says by how many seconds its clock is off.

use std::{
    env, fs,
    io::{self, BufRead, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use claviger_client::{
    Auth, Body, Claviger, ClavigerLayer, Config, Signing, clock::SystemClock, error::BoxError, key::EnvKey,
};
use claviger_domain::{
    clock::{BootInstant, Clock, MICROS_PER_SEC, Timestamp},
    signature::Profile,
};
use futures_util::future::try_join_all;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::{question, set, wire::Wire};

struct Shifted(PathBuf);

impl Clock for Shifted {
    fn now(&self) -> Timestamp {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let secs = text.trim().trim_start_matches('+').parse::<i64>().unwrap_or_default();
        SystemClock.now().plus_micros(secs * MICROS_PER_SEC)
    }

    fn boot(&self) -> BootInstant {
        SystemClock.boot()
    }
}

/// How many calls, or for how long.
#[derive(Clone, Copy)]
enum Wish {
    Calls(u64),
    Until(Instant),
}

impl Wish {
    fn read(line: &str) -> Result<Self, BoxError> {
        let (unit, number) = line.split_once(' ').ok_or("no number")?;
        let number = number.parse()?;
        Ok(match unit {
            "secs" => Self::Until(Instant::now() + Duration::from_secs(number)),
            _ => Self::Calls(number / 4),
        })
    }

    fn wants(self, made: u64) -> bool {
        match self {
            Self::Calls(most) => made < most,
            Self::Until(end) => Instant::now() < end,
        }
    }
}

pub async fn run(wire: &Wire) -> Result<(), BoxError> {
    let store = PathBuf::from(set("STORE")?);
    let profile = env::var("CLAVIGER_SIGNING_PROFILE").ok().and_then(|text| Profile::parse(&text));
    let signing =
        Signing::secret(profile.unwrap_or(Profile::Rfc9421), EnvKey::new("CLAVIGER_SIGNING_SECRET"));
    let signing = signing.on_successor(move |next, _| {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&store);
        let _ = file.and_then(|mut file| file.write_all(next.reveal().as_bytes()));
    });
    let base = set("ANTHROPIC_BASE_URL")?;
    let config = Config::new(&base, EnvKey::new("ANTHROPIC_API_KEY"))?.auth(Auth::Token).signing(signing);
    let config = config.clock(Arc::new(Shifted(set("CLOCK")?.into())));
    let client = ClavigerLayer::new(config).layer(wire.service());
    for line in io::stdin().lock().lines() {
        let wish = Wish::read(&line?)?;
        let made = try_join_all((0..4).map(|_| work(&client, &base, wish))).await;
        let said = made.map_or_else(
            |error| format!("failed: {error}"),
            |counts| format!("{} calls", counts.iter().sum::<u64>()),
        );
        writeln!(io::stdout(), "{said}")?;
    }
    Ok(())
}

async fn work(client: &Claviger, base: &str, wish: Wish) -> Result<u64, BoxError> {
    let mut made = 0;
    while wish.wants(made) {
        let head = Request::post(format!("{base}/v1/messages")).header("anthropic-version", "2023-06-01");
        let request = head.header("content-type", "application/json").body(Body::from(question(false)))?;
        let answer = client.clone().oneshot(request).await?;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&text)).into());
        }
        made += 1;
    }
    Ok(made)
}
