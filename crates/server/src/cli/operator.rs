//! `claviger operator …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use claviger_control::api::{
    operators::{AddOperator, CreateOperatorToken, ReviewBreakGlass, UpdateOperator},
    sessions::EnrolBody,
};
use claviger_domain::token::base62;
use qrcode::{QrCode, render::unicode::Dense1x2};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    Context, ask,
    client::segment,
    output::{CliError, Columns},
};
use crate::entropy::SystemEntropy;

/// Digits of a password that is made: 119 bits in base62.
const PASSWORD_LEN: usize = 20;

const SEAL_IT: &str = "print the code, seal it, lock it away: it opens everything for 15 minutes, once";

/// What can be done with operators.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Enrol an operator; from the first one on nobody administers without having logged in
    Add(AddArgs),
    /// List operators
    List,
    /// Change an operator; their sessions and tokens end
    Update(UpdateArgs),
    /// Remove an operator; needs a second person
    Remove {
        /// Its id or name
        operator: String,
    },
    /// Change one's own password or second factor
    Enrol(EnrolArgs),
    /// Tokens of machines
    #[command(subcommand)]
    Token(TokenCommand),
    /// The sealed code for the day when nobody can log in
    #[command(subcommand)]
    BreakGlass(BreakGlassCommand),
}

/// `operator add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Their name: letters, digits, `.`, `_`, `@`, `-`
    name: String,
    /// owner, admin, auditor or viewer
    #[arg(long)]
    role: String,
    /// The only workspace that they see, by id or name
    #[arg(long, value_name = "W")]
    workspace: Option<String>,
    /// Read their password from a file, or from standard input (-) [default: asked at the terminal; where there is
    /// none, one is made and shown once]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make the sealed code of break-glass first, while nobody is enrolled whose agreement it would need
    #[arg(long)]
    break_glass: bool,
}

/// `operator update`
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Its id or name
    operator: String,
    /// owner, admin, auditor or viewer
    #[arg(long)]
    role: Option<String>,
    /// The only workspace that they see; empty: all
    #[arg(long, value_name = "W")]
    workspace: Option<String>,
    /// Ask for a new password at the terminal
    #[arg(long)]
    new_password: bool,
    /// Read a new password from a file, or from standard input (-)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make their second factor anew
    #[arg(long)]
    new_totp: bool,
}

/// `operator enrol`
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// Read the password of now from a file, or from standard input (-)
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Ask for a new password at the terminal
    #[arg(long)]
    new_password: bool,
    /// Read a new password from a file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Make the second factor anew
    #[arg(long)]
    new_totp: bool,
}

/// `operator token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Mint a machine's token; it is shown once
    Create(TokenArgs),
    /// List sessions and machines' tokens
    List,
    /// End a session or token
    Revoke {
        /// Its id
        id: String,
    },
}

/// `operator token create`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// What the machine is called
    name: String,
    /// owner, admin, auditor or viewer
    #[arg(long)]
    role: String,
    /// The only workspace that it sees, by id or name
    #[arg(long, value_name = "W")]
    workspace: Option<String>,
    /// The only verbs that it may use, such as key.create,key.list; those that grant, export or destroy must stand here
    #[arg(long, value_name = "VERB,…", value_delimiter = ',')]
    verbs: Vec<String>,
    /// How long it works: 12h, 90d
    #[arg(long, value_name = "SPAN", default_value = "90d")]
    expires_in: String,
}

/// `operator break-glass …`
#[derive(Debug, Subcommand)]
pub enum BreakGlassCommand {
    /// Make the code, to be printed, sealed and locked away; an older one stops working
    Prepare,
    /// Write down what a break-glass session did, and why
    Review {
        /// The session's id (`operator token list`)
        id: String,
        /// What was done, and why
        #[arg(long)]
        note: String,
    },
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ROLE", "role"),
    ("WORKSPACE", "workspace"),
    ("ENROLLED", "created_at"),
];

const TOKEN_COLUMNS: Columns = &[
    ("ID", "id"),
    ("KIND", "kind"),
    ("NAME", "name"),
    ("OPERATOR", "operator"),
    ("ROLE", "role"),
    ("WORKSPACE", "workspace"),
    ("VERBS", "verbs"),
    ("LAST USED", "last_used_at"),
    ("EXPIRES", "expires_at"),
];

/// Runs `claviger operator …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: OperatorCommand) -> Result<(), CliError> {
    match command {
        OperatorCommand::Add(args) => add(context, args),
        OperatorCommand::List => {
            context.out.rows(COLUMNS, &context.client()?.list("/admin/v1/operators")?);
            Ok(())
        }
        OperatorCommand::Update(args) => update(context, args),
        OperatorCommand::Remove { operator } => {
            let path = format!("/admin/v1/operators/{}", segment(&operator));
            context.out.object(&context.client()?.delete(&path)?);
            Ok(())
        }
        OperatorCommand::Enrol(args) => enrol(context, &args),
        OperatorCommand::Token(command) => token(context, command),
        OperatorCommand::BreakGlass(command) => break_glass(context, command),
    }
}

fn add(context: &Context, args: AddArgs) -> Result<(), CliError> {
    // Where nobody can be asked a password is made, and shown once.
    let is_made = args.password_file.is_none() && !ask::is_possible();
    let password =
        if is_made { made_password()? } else { ask::new_secret("password", args.password_file.as_deref())? };
    let body = AddOperator {
        name: args.name,
        role: args.role,
        workspace: args.workspace,
        password: password.to_string(),
    };
    let client = context.client()?;
    let sealed = args.break_glass.then(|| client.post("/admin/v1/break-glass", &json!({}))).transpose()?;
    let mut made = client.post("/admin/v1/operators", &body)?;
    if is_made {
        made["password"] = password.as_str().into();
    }
    if let Some(sealed) = &sealed {
        made["break_glass_code"] = sealed["code"].clone();
    }
    let next = if context.out.json { None } else { made.as_object_mut().and_then(|m| m.remove("next")) };
    context.out.object(&made);
    show_secret(context, &made);
    if sealed.is_some() {
        context.out.line(SEAL_IT);
    }
    let next: Vec<&str> =
        next.iter().flat_map(|n| n.as_array()).flatten().filter_map(Value::as_str).collect();
    if next.is_empty() {
        context.out.line("from now on: `claviger login --name NAME`, with password and code");
    }
    for step in next {
        context.out.line(&format!("next: {step}"));
    }
    Ok(())
}

fn made_password() -> Result<Zeroizing<String>, CliError> {
    let mut digits = Zeroizing::new([0_u8; PASSWORD_LEN]);
    let filled = base62::fill_random(&mut *digits, &SystemEntropy::default());
    filled.map_err(|e| CliError::failed(e.to_string()))?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&*digits).into_owned()))
}

fn update(context: &Context, args: UpdateArgs) -> Result<(), CliError> {
    let wants_password = args.new_password || args.password_file.is_some();
    let password =
        wants_password.then(|| ask::new_secret("new password", args.password_file.as_deref())).transpose()?;
    let body = UpdateOperator {
        role: args.role,
        workspace: args.workspace,
        password: password.map(|p| p.to_string()),
        new_totp: args.new_totp,
    };
    let path = format!("/admin/v1/operators/{}", segment(&args.operator));
    let updated = context.client()?.patch(&path, &body)?;
    context.out.object(&updated);
    show_secret(context, &updated);
    Ok(())
}

fn enrol(context: &Context, args: &EnrolArgs) -> Result<(), CliError> {
    let password = ask::secret("password", args.password_file.as_deref())?;
    let wants_password = args.new_password || args.new_password_file.is_some();
    let new = wants_password.then(|| ask::new_secret("new password", args.new_password_file.as_deref()));
    let body = EnrolBody {
        password: password.to_string(),
        totp: context.code()?,
        new_password: new.transpose()?.map(|p| p.to_string()),
        new_totp: args.new_totp,
    };
    let enrolled = context.client()?.post("/admin/v1/session/enrol", &body)?;
    context.out.object(&enrolled);
    show_secret(context, &enrolled);
    context.out.line("every session of yours has ended: log in again");
    Ok(())
}

/// For the authenticator app: a QR code at a terminal.
fn show_secret(context: &Context, made: &Value) {
    let Some(url) = made["otpauth_url"].as_str() else { return };
    if context.out.is_terminal()
        && let Ok(code) = QrCode::new(url.as_bytes())
    {
        context.out.line(&code.render::<Dense1x2>().build());
    }
}

fn token(context: &Context, command: TokenCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        TokenCommand::Create(args) => {
            let body = CreateOperatorToken {
                name: args.name,
                role: args.role,
                workspace: args.workspace,
                verbs: args.verbs,
                expires_in: Some(args.expires_in),
            };
            context.out.object(&client.post("/admin/v1/operator-tokens", &body)?);
        }
        TokenCommand::List => context.out.rows(TOKEN_COLUMNS, &client.list("/admin/v1/operator-tokens")?),
        TokenCommand::Revoke { id } => {
            let path = format!("/admin/v1/operator-tokens/{}", segment(&id));
            context.out.object(&client.delete(&path)?);
        }
    }
    Ok(())
}

fn break_glass(context: &Context, command: BreakGlassCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        BreakGlassCommand::Prepare => {
            context.out.object(&client.post("/admin/v1/break-glass", &json!({}))?);
            context.out.line(SEAL_IT);
        }
        BreakGlassCommand::Review { id, note } => {
            let path = format!("/admin/v1/break-glass/{}/review", segment(&id));
            context.out.object(&client.post(&path, &ReviewBreakGlass { note })?);
        }
    }
    Ok(())
}
