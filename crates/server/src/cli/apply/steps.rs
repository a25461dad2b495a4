//! Carrying a plan out, step by step.

use claviger_domain::clock::Entropy;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use super::{
    delivery::Delivery,
    plan::{Call, Plan, Step},
    show::{self, Outcome},
};
use crate::{
    cli::{Context, client::Client, output::CliError},
    entropy::SystemEntropy,
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What of an answer is handed on.
const HANDED_ON: [&str; 6] = ["id", "wrapping_token", "key", "secret", "signing_secret", "expires_at"];
/// What of it is secret.
const SECRET: [&str; 4] = ["wrapping_token", "key", "secret", "signing_secret"];
/// Something waits for a second person.
const PENDING: u8 = 6;
/// The connection broke: the same request with the same key may be sent once more.
const BROKE: u8 = 1;

/// Does the steps in their order. What waits for a second person does not hold up the rest; the first failure does.
pub fn carry_out(
    context: &Context,
    client: &Client,
    plan: &Plan,
    mut delivery: Option<&mut Delivery>,
) -> (Vec<Outcome>, Option<CliError>) {
    let mut outcomes = Vec::new();
    for step in &plan.steps {
        match one(client, step) {
            Ok(made) => {
                context.out.line(&format!("done: {}", show::line(step)));
                let is_secret = SECRET.iter().any(|field| made.contains_key(*field));
                let kept = match delivery.as_deref_mut().filter(|_| is_secret) {
                    Some(delivery) => delivery.add(&step.name, step.kind, &made),
                    None => Ok(()),
                };
                outcomes.push(Outcome::Done(made));
                if let Err(error) = kept {
                    return (outcomes, Some(error));
                }
            }
            Err(error) if error.code == PENDING => {
                context.out.note(&format!("waits: {}: {}", show::line(step), error.message));
                outcomes.push(Outcome::Waits(error.message));
            }
            Err(error) => {
                outcomes.push(Outcome::Failed(error.message.clone()));
                let place = format!("{} {}: {}", step.kind, step.name, error.message);
                return (outcomes, Some(CliError { message: place, ..error }));
            }
        }
    }
    (outcomes, None)
}

fn one(client: &Client, step: &Step) -> Result<Map<String, Value>, CliError> {
    let answer = match &step.call {
        Call::Create { path, body } => create(client, path, body)?,
        Call::Update { path, body, version } => {
            let version = HeaderValue::try_from(format!("\"{version}\""));
            let version = version.map_err(|e| CliError::failed(e.to_string()))?;
            client.clone().with_header(header::IF_MATCH, version).patch(path, body)?
        }
        Call::Verb { path, body } => client.post(path, body)?,
        Call::Delete { path } => client.delete(path)?,
        Call::Replace { old, path, body } => {
            client.delete(old)?;
            create(client, path, body)?
        }
    };
    let Value::Object(fields) = answer else { return Ok(Map::new()) };
    let handed_on = |(name, value): &(String, Value)| HANDED_ON.contains(&name.as_str()) && !value.is_null();
    Ok(fields.into_iter().filter(handed_on).collect())
}

/// POST, which may be sent twice and is done once.
fn create(client: &Client, path: &str, body: &Value) -> Result<Value, CliError> {
    let mut random = [0_u8; 16];
    SystemEntropy::default().fill(&mut random).map_err(|e| CliError::failed(e.to_string()))?;
    let key = HeaderValue::try_from(format!("apply-{:032x}", u128::from_be_bytes(random)));
    let key = key.map_err(|e| CliError::failed(e.to_string()))?;
    let client = client.clone().with_header(IDEMPOTENCY_KEY.clone(), key);
    match client.post(path, body) {
        Err(error) if error.code == BROKE => client.post(path, body),
        answer => answer,
    }
}
