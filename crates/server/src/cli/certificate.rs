//! `claviger certificate …`

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use claviger_domain::certificate::{self, CertificatePublicKey};
use serde_json::{Value, json};

use super::{
    Context,
    client::{query, segment},
    output::{CliError, Columns},
};

/// No certificate and no public key is larger, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What can be done with certificates of revocation.
#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// List certificates, the newest first
    List {
        /// Only of this workspace's keys
        #[arg(long, value_name = "W")]
        workspace: Option<String>,
    },
    /// Print a certificate
    Show {
        /// Its id (`crt_…`), or its key's (`key_…`)
        id: String,
    },
    /// Prove that a certificate was signed by the key that is given and was not changed; needs nothing else
    Verify(VerifyArgs),
    /// Print the key that certificates are verified with, as PEM
    PublicKey,
}

/// `certificate verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The certificate, or what `key revoke --json` printed; `-`: standard input
    file: PathBuf,
    /// The public key, as `certificate public-key` prints it
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
}

const COLUMNS: Columns = &[("ID", "id"), ("KEY", "key"), ("SIGNED", "created_at")];

/// Runs `claviger certificate …`.
///
/// # Errors
/// [`CliError`]; a certificate that proves nothing ends with exit code 1.
pub fn run(context: &Context, command: CertificateCommand) -> Result<(), CliError> {
    match command {
        CertificateCommand::List { workspace } => {
            let path = format!("/admin/v1/certificates{}", query(&[("workspace", workspace)]));
            context.out.rows(COLUMNS, &context.client()?.list(&path)?);
        }
        CertificateCommand::Show { id } => {
            let view = context.client()?.get(&format!("/admin/v1/certificates/{}", segment(&id)))?;
            context.out.value(&view["certificate"]);
        }
        CertificateCommand::Verify(args) => return verify(context, &args),
        CertificateCommand::PublicKey => return public_key(context),
    }
    Ok(())
}

fn verify(context: &Context, args: &VerifyArgs) -> Result<(), CliError> {
    let key = CertificatePublicKey::parse(&read(&args.public_key)?)
        .map_err(|e| CliError::failed(format!("{}: {e}", args.public_key.display())))?;
    let text = read(&args.file)?;
    let name = args.file.display();
    let mut value: Value =
        serde_json::from_str(&text).map_err(|e| CliError::failed(format!("{name}: not JSON: {e}")))?;
    let inner = value.get_mut("certificate").map(Value::take);
    let signed = inner.unwrap_or(value);
    let verified =
        certificate::verify(&signed, &key).map_err(|e| CliError::failed(format!("{name}: {e}")))?;
    context.out.object(&json!({
        "valid": true,
        "certificate_id": verified.certificate_id,
        "key_id": verified.key_id,
        "revocation_time": verified.revocation_time,
        "reason": verified.reason,
        "audit_number": verified.audit_number,
    }));
    Ok(())
}

/// The running process says it; when none runs, the data folder is opened for reading.
fn public_key(context: &Context) -> Result<(), CliError> {
    let pem = match context.client()?.get("/admin/v1/certificates/public-key") {
        Ok(view) => view["public_key"].as_str().unwrap_or_default().to_owned(),
        Err(error) if error.code == 3 => {
            crate::wiring::offline::certificate_public_key(&context.data_folder()?)?.to_pem()
        }
        Err(error) => return Err(error),
    };
    if context.out.json {
        context.out.value(&json!({ "public_key": pem }));
    } else {
        context.out.raw(&pem);
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
    };
    read.map_err(|e| CliError::failed(format!("{}: {e}", path.display())))?;
    Ok(text)
}
