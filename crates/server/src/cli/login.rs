//! `claviger login`, `claviger logout` and `claviger session …`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::sessions::{OpenSession, StepUpBody};
use claviger_domain::audit::Digest;

use super::{Context, ask, client::Client, output::CliError, profile::Profile};

/// `claviger login`
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// The control plane, such as https://claviger.example.com:8788 [default: the socket in the data folder]
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// The operator's name [default: asked at the terminal]
    #[arg(long)]
    name: Option<String>,
    /// Read the password from a file, or from standard input (-) [default: asked at the terminal]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Open the sealed code instead (-: read it from standard input): an owner's session of 15 minutes, once; everyone
    /// hears of it
    #[arg(long, value_name = "CODE", conflicts_with_all = ["name", "password_file"])]
    break_glass: Option<String>,
}

/// `claviger session …`
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Who asks, and with what rights
    Show,
    /// Prove the second factor for one request of the next five minutes
    StepUp(StepUpArgs),
}

/// `session step-up`
#[derive(Debug, Args)]
pub struct StepUpArgs {
    /// What will be done, such as key.create
    verb: String,
    /// With which method
    method: String,
    /// Where, such as /admin/v1/keys
    path: String,
    /// The request's body, as it will be sent
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
}

/// Runs `claviger login`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, args: LoginArgs) -> Result<(), CliError> {
    let mut place = context.place();
    place.url = args.address.clone().or(place.url);
    // Whoever logs in proves nothing yet.
    place.token = None;
    let (client, url) = Client::for_login(place)?;
    let opened = client.post("/admin/v1/session", &proof(context, args)?)?;
    let text = |field: &str| opened[field].as_str().map(str::to_owned);
    let token = text("token").ok_or_else(|| CliError::failed("the answer holds no session"))?;
    let ca_file = context.ca_file.as_deref().map(std::path::absolute).transpose();
    let ca_file = ca_file.map_err(|e| CliError::usage(e.to_string()))?;
    Profile { url, token, expires_at: text("expires_at"), ca_file }.save()?;
    // The session stands in the profile; nobody needs to see it.
    let mut shown = opened;
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("token");
    }
    context.out.object(&shown);
    Ok(())
}

fn proof(context: &Context, args: LoginArgs) -> Result<OpenSession, CliError> {
    if let Some(code) = args.break_glass {
        let code =
            if code == "-" { ask::secret("sealed code", Some(Path::new("-")))?.to_string() } else { code };
        return Ok(OpenSession { break_glass: Some(code), ..OpenSession::default() });
    }
    let name = args.name.map_or_else(|| ask::line("name", "--name"), Ok)?;
    let password = ask::secret("password", args.password_file.as_deref())?;
    Ok(OpenSession {
        name: Some(name),
        password: Some(password.to_string()),
        totp: Some(context.code()?),
        break_glass: None,
    })
}

/// Runs `claviger logout`: the session ends there, and is forgotten here whatever happens there.
///
/// # Errors
/// [`CliError`].
pub fn logout(context: &Context) -> Result<(), CliError> {
    let Some(profile) = Profile::load()? else {
        return Err(CliError::refused("nobody is logged in"));
    };
    let client = Client::of_login(&profile)?;
    let ended = client.delete("/admin/v1/session");
    Profile::forget()?;
    match ended {
        Ok(session) => context.out.object(&session),
        Err(error) => context.out.note(&format!("the session is forgotten here; there: {}", error.message)),
    }
    Ok(())
}

/// Runs `claviger session …`.
///
/// # Errors
/// [`CliError`].
pub fn session(context: &Context, command: SessionCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        SessionCommand::Show => context.out.object(&client.get("/admin/v1/session")?),
        SessionCommand::StepUp(args) => {
            let unreadable =
                |path: &Path, e: std::io::Error| CliError::usage(format!("{}: {e}", path.display()));
            let body =
                args.body_file.as_deref().map(|path| std::fs::read(path).map_err(|e| unreadable(path, e)));
            let body = StepUpBody {
                verb: args.verb,
                method: args.method,
                path: args.path,
                body_sha256: body.transpose()?.map(|bytes| Digest::of(&bytes).to_hex()),
                totp: context.code()?,
            };
            context.out.object(&client.post("/admin/v1/session/step-up", &body)?);
        }
    }
    Ok(())
}
