//! `claviger trust …`

use std::{collections::BTreeMap, io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use claviger_control::api::workloads::{AddTrust, TestTrust};
use zeroize::Zeroizing;

use super::{
    Context,
    client::{Client, segment},
    limit_args::LimitArgs,
    output::{CliError, Columns},
};
use crate::config::Span;

/// No token is longer.
const MOST_TOKEN: u64 = 16 * 1024;

/// What can be done with rules of trust.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust some identities of an issuer, or some X.509-SVIDs: they buy short-lived keys
    Add(Box<AddArgs>),
    /// List rules
    List,
    /// Show a rule
    Show {
        /// Its id or name
        rule: String,
    },
    /// Take a rule out; what was bought by it ends at once
    Remove {
        /// Its id or name
        rule: String,
    },
    /// Say what a token would get, rule by rule and claim by claim; nothing is used up
    Test {
        /// The file that holds the token, or `-` for standard input
        #[arg(value_name = "FILE|-")]
        token: PathBuf,
    },
}

/// `trust add`
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name
    name: String,
    /// The issuer, by id or name
    #[arg(long, requires = "audience", required_unless_present = "svid")]
    issuer: Option<String>,
    /// What must stand in `aud`
    #[arg(long, value_name = "AUD", requires = "issuer")]
    audience: Option<String>,
    /// Identities are X.509-SVIDs, shown in the TLS handshake: claims are spiffe_id and trust_domain
    #[arg(long, conflicts_with = "issuer")]
    svid: bool,
    /// What a claim must be; `*` stands for any run of characters, `/` in a name leads into objects
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim, required = true)]
    claims: Vec<(String, String)>,
    /// A claim that never changes hands: the first identity fixes its value [default: what the platform is known for]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pin: Option<Vec<String>>,
    /// How long a key that is bought lives: 5m to 30m [default: 15m]
    #[arg(long, value_name = "SPAN")]
    ttl: Option<Span>,
    /// How many of them may live at once [default: 100]
    #[arg(long, value_name = "N")]
    most_live: Option<u32>,
    /// Workspace, by id or name [default: the first one]
    #[arg(long)]
    workspace: Option<String>,
    /// Owner, by id or name [default: the first one]
    #[arg(long)]
    owner: Option<String>,
    /// Test keys are bought: the built-in simulator answers them
    #[arg(long)]
    test: bool,
    /// How long the rule works: 12h, 90d, never [default: 90d]
    #[arg(long, value_name = "SPAN")]
    expires_in: Option<String>,
    /// Models that may be used, with `*`; all when not given
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    models: Option<Vec<String>>,
    /// Endpoints that may be used; all when not given
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    endpoints: Option<Vec<String>>,
    /// Scopes; all when not given
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// Address blocks from which they may be used; anywhere when not given
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    allow_ip: Option<Vec<String>>,
    #[command(flatten)]
    limits: LimitArgs,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ISSUER", "issuer"),
    ("AUDIENCE", "audience"),
    ("CLAIMS", "claims"),
    ("PINS", "pins"),
    ("TTL", "ttl_secs"),
    ("KEY", "key"),
];
const VERDICTS: Columns = &[("RULE", "rule"), ("ADMITS", "ok"), ("WHY NOT", "mismatch")];

/// Runs `claviger trust …`.
///
/// # Errors
/// [`CliError`].
pub fn run(context: &Context, command: TrustCommand) -> Result<(), CliError> {
    let client = context.client()?;
    match command {
        TrustCommand::Add(args) => add(context, &client, *args)?,
        TrustCommand::List => context.out.rows(COLUMNS, &client.list("/admin/v1/trust")?),
        TrustCommand::Show { rule } => {
            context.out.object(&client.get(&format!("/admin/v1/trust/{}", segment(&rule)))?);
        }
        TrustCommand::Remove { rule } => {
            let id = id_of(&client, "/admin/v1/trust", &rule)?;
            context.out.object(&client.delete(&format!("/admin/v1/trust/{}", segment(&id)))?);
        }
        TrustCommand::Test { token } => return test(context, &client, &token),
    }
    Ok(())
}

fn add(context: &Context, client: &Client, args: AddArgs) -> Result<(), CliError> {
    let claims: BTreeMap<_, _> = args.claims.iter().cloned().collect();
    if claims.len() != args.claims.len() {
        return Err(CliError::usage("--claim: a claim is named twice"));
    }
    let body = AddTrust {
        name: args.name,
        issuer: args.issuer,
        audience: args.audience,
        claims,
        pin: args.pin,
        ttl_secs: args.ttl.map(Span::secs),
        most_live: args.most_live,
        workspace: args.workspace,
        owner: args.owner,
        test: args.test,
        expires_in: args.expires_in,
        models: args.models,
        endpoints: args.endpoints,
        scopes: args.scopes,
        allow_ip: args.allow_ip,
        limits: args.limits.patch(),
    };
    let view = client.post("/admin/v1/trust", &body)?;
    context.out.object(&view);
    let waiting: Vec<&str> = view["pins"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    if !waiting.is_empty() {
        context.out.note(&format!(
            "The first identity that this rule admits fixes {}. To fix it now, give --claim {}=VALUE.",
            waiting.join(", "),
            waiting.first().copied().unwrap_or_default(),
        ));
    }
    Ok(())
}

fn test(context: &Context, client: &Client, file: &std::path::Path) -> Result<(), CliError> {
    let mut token = Zeroizing::new(String::new());
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(MOST_TOKEN).read_to_string(&mut token)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(MOST_TOKEN).read_to_string(&mut token))
    };
    read.map_err(|e| CliError::usage(format!("{}: {e}", file.display())))?;
    let report = client.post("/admin/v1/trust/test", &TestTrust { token: token.trim().to_owned() })?;
    if context.out.json {
        context.out.value(&report);
    } else {
        let said = |name: &str| report[name].as_str().unwrap_or("none").to_owned();
        context.out.line(&format!("issuer: {}", said("issuer")));
        context.out.line(&format!("subject: {}", said("subject")));
        if let Some(why) = report["error"].as_str() {
            context.out.line(&format!("it proves nothing: {why}"));
        }
        context.out.rows(VERDICTS, &report["rules"]);
    }
    if report["ok"] == serde_json::json!(true) {
        return Ok(());
    }
    Err(CliError::unproven("the token would buy nothing"))
}

/// The id of what is named by id or name.
pub fn id_of(client: &Client, path: &str, named: &str) -> Result<String, CliError> {
    let listed = client.list(path)?;
    let is_meant = |row: &&serde_json::Value| row["id"] == named || row["name"] == named;
    let found = listed.as_array().and_then(|all| all.iter().find(is_meant));
    Ok(found.and_then(|row| row["id"].as_str()).unwrap_or(named).to_owned())
}
