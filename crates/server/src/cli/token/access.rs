//! `claviger token --access`: an access token, kept and renewed.

use std::path::Path;

use claviger_domain::{
    clock::{Clock, MICROS_PER_SEC},
    token::Token,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{place, read, turn};
use crate::{
    cli::{
        Context,
        gateway::{Gateway, NotDone, field},
        holder::HolderArgs,
        output::CliError,
    },
    clock::SystemClock,
    dotenv::write_private,
};

/// Tokens that were bought before. They are secrets, so there is no `Debug`.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: String,
    refresh_token: Option<String>,
    scope: String,
    expires_at: String,
    /// When others are to be got, in microseconds since 1970 by this machine's clock.
    renew_us: i64,
}

/// Prints an access token, and nothing else: the same one until four fifths of its life are over or it is refused.
///
/// # Errors
/// [`CliError`]; nothing was printed.
pub fn run(context: &Context, holder: &HolderArgs, scope: &[String], fresh: bool) -> Result<(), CliError> {
    let (gateway, key) = Gateway::find(context, holder)?;
    let tokens = obtained(context, (&gateway, &key), &scope.join(" "), fresh)?;
    if context.out.json {
        let Kept { access_token, scope, expires_at, .. } = &tokens;
        context.out.value(&json!({"access_token": access_token, "scope": scope, "expires_at": expires_at}));
    } else {
        context.out.line(&tokens.access_token);
    }
    Ok(())
}

/// The gateway as it is asked about the key itself. Possession is proved with an access token only, so one that is bound
/// to the key to prove stands in its place.
///
/// # Errors
/// [`CliError`] when no token is to be had.
pub fn standing(context: &Context, gateway: Gateway, key: &Token) -> Result<Gateway, CliError> {
    if gateway.thumbprint().is_none() {
        return Ok(gateway);
    }
    let tokens = obtained(context, (&gateway, key), "", false)?;
    gateway.opened_by_text(&tokens.access_token)
}

fn obtained(
    context: &Context,
    (gateway, key): (&Gateway, &Token),
    scope: &str,
    fresh: bool,
) -> Result<Kept, CliError> {
    let place = place_of(gateway, key, scope);
    // Of many who ask at once one goes to the counter; the others read what it brought. A refresh token works once.
    let _turn = place.as_deref().and_then(|path| turn(path).ok());
    let kept: Option<Kept> = place.as_deref().filter(|_| !fresh).and_then(read);
    let keeping = Keeping { place: place.as_deref(), context };
    match kept {
        Some(kept) if is_young(&kept) && still_works(gateway, &kept) => Ok(kept),
        Some(kept) => renewed(gateway, &kept, scope, keeping),
        None => bought(gateway, scope, keeping),
    }
}

/// Where what is got is kept.
#[derive(Clone, Copy)]
struct Keeping<'a> {
    place: Option<&'a Path>,
    context: &'a Context,
}

fn place_of(gateway: &Gateway, key: &Token, scope: &str) -> Option<std::path::PathBuf> {
    let mut wish = json!({"access": true, "scope": scope});
    if let Some(jkt) = gateway.thumbprint() {
        wish["jkt"] = jkt.into();
    }
    place(gateway, key, &wish)
}

fn is_young(kept: &Kept) -> bool {
    SystemClock.now().as_micros() < kept.renew_us
}

/// A gateway that does not answer has refused nothing.
fn still_works(gateway: &Gateway, kept: &Kept) -> bool {
    let Ok(gateway) = gateway.opened_by_text(&kept.access_token) else { return false };
    match gateway.me() {
        Ok(_) | Err(NotDone::Failed(_)) => true,
        Err(NotDone::Refused { status, .. }) => status != http::StatusCode::UNAUTHORIZED,
    }
}

/// With the refresh token, else with the key. An answer that was lost is asked for once more at once: the gateway gives
/// the same one again.
fn renewed(gateway: &Gateway, kept: &Kept, scope: &str, keeping: Keeping<'_>) -> Result<Kept, CliError> {
    let Some(refresh) = &kept.refresh_token else { return bought(gateway, scope, keeping) };
    let form = json!({"grant_type": "refresh_token", "refresh_token": refresh});
    let answer = match gateway.auth("/refresh", &form) {
        Err(NotDone::Failed(_)) => gateway.auth("/refresh", &form),
        other => other,
    };
    match answer {
        Ok(answer) => taken(&answer, keeping),
        Err(NotDone::Refused { status, .. }) if status.is_client_error() => bought(gateway, scope, keeping),
        Err(other) => Err(other.into()),
    }
}

fn bought(gateway: &Gateway, scope: &str, keeping: Keeping<'_>) -> Result<Kept, CliError> {
    let mut form = json!({"grant_type": "client_credentials"});
    if !scope.is_empty() {
        form["scope"] = scope.into();
    }
    taken(&gateway.auth("/token", &form)?, keeping)
}

fn taken(answer: &Value, keeping: Keeping<'_>) -> Result<Kept, CliError> {
    let life = answer["expires_in"].as_i64().unwrap_or_default();
    let now = SystemClock.now();
    let kept = Kept {
        access_token: field(answer, "access_token")?.to_owned(),
        refresh_token: answer["refresh_token"].as_str().map(str::to_owned),
        scope: answer["scope"].as_str().unwrap_or_default().to_owned(),
        expires_at: now.plus_micros(life * MICROS_PER_SEC).to_rfc3339(),
        renew_us: now.plus_micros(life * MICROS_PER_SEC / 5 * 4).as_micros(),
    };
    let text = serde_json::to_vec(&kept).map_err(|e| CliError::failed(e.to_string()))?;
    // Who cannot keep it goes to the counter again sooner.
    if let Some(path) = keeping.place
        && let Err(error) = write_private(path, &text)
    {
        keeping.context.out.note(&format!("{}: {error}", path.display()));
    }
    Ok(kept)
}
