//! `claviger cert`: a small certificate authority for trying mutual TLS. Its key lies in a file, nobody revokes what it
//! signed: it is for tests and the pages of the manual, and says so each time.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::signature::Ed25519KeyPair;
use clap::{Args, Subcommand, ValueEnum};
use claviger_domain::{
    binding::{CertificateBinding, SpiffeId},
    clock::{Clock, MICROS_PER_SEC, Timestamp},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Context, output::CliError};
use crate::{clock::SystemClock, config::Span};

/// Said each time that something is made.
const WARNING: &str = "for tests only, not for production: the authority's key lies in a file and nothing that it \
                       signed can be revoked";
/// Clocks of those who try it may be behind.
const BACKDATED: Duration = Duration::from_secs(300);
/// Nothing made here lives longer.
const MOST_DAYS: u64 = 365;
const DAY_SECS: u64 = 86_400;
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// What can be made.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make an authority: ca.pem and ca.key
    Init(InitArgs),
    /// Make a listener's certificate: server.pem and server.key
    Server(ServerArgs),
    /// Make a caller's certificate: NAME.pem and NAME.key
    Client(ClientArgs),
}

/// What all three take.
#[derive(Debug, Args)]
struct CommonArgs {
    /// The folder of the authority
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// How long it is valid, such as 12h or 30d; at most 365d
    #[arg(long, value_name = "TIME", default_value = "30d")]
    ttl: Span,
    /// The kind of its key
    #[arg(long, value_enum, default_value_t = Algorithm::Ecdsa)]
    algorithm: Algorithm,
}

/// `cert init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The authority's name
    #[arg(long, default_value = "Claviger test authority")]
    name: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// `cert server`
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Names and addresses by which the listener is called
    #[arg(value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    names: Vec<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// `cert client`
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// The caller's name; its files are called so
    #[arg(value_name = "NAME")]
    name: String,
    /// Its SPIFFE id, such as spiffe://example.org/ci/build
    #[arg(long, value_name = "URI")]
    spiffe: Option<SpiffeId>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Algorithm {
    /// ECDSA with P-256
    Ecdsa,
    /// Ed25519
    Ed25519,
}

impl Algorithm {
    fn generate(self) -> Result<KeyPair, CliError> {
        match self {
            Self::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(made_no),
            Self::Ed25519 => {
                // In the older form of PKCS #8: OpenSSL does not read the newer one.
                let pair = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1());
                let pair = pair.map_err(|_| made_no(rcgen::Error::RingUnspecified))?;
                let der = PrivatePkcs8KeyDer::from(pair.as_ref());
                KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519).map_err(made_no)
            }
        }
    }
}

/// Makes an authority or a certificate of it.
///
/// # Errors
/// [`CliError`]; files that are there are never written over.
pub fn run(context: &Context, command: CertCommand) -> Result<(), CliError> {
    context.out.note(&format!("warning: {WARNING}"));
    let made = match command {
        CertCommand::Init(args) => init(&args)?,
        CertCommand::Server(args) => server(&args)?,
        CertCommand::Client(args) => client(&args)?,
    };
    context.out.object(&made);
    Ok(())
}

fn init(args: &InitArgs) -> Result<Value, CliError> {
    let CommonArgs { dir, algorithm, .. } = &args.common;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| at(dir, &e))?;
    let mut params = params(&args.name, args.common.ttl)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = algorithm.generate()?;
    let certificate = params.self_signed(&key).map_err(made_no)?;
    let private = dir.join(CA_KEY);
    write_new(&private, &Zeroizing::new(key.serialize_pem()))?;
    write_new(&dir.join(CA_CERTIFICATE), &certificate.pem())?;
    Ok(json!({
        "ca": dir.join(CA_CERTIFICATE), "key": private, "not_after": ends(args.common.ttl), "warning": WARNING,
    }))
}

fn server(args: &ServerArgs) -> Result<Value, CliError> {
    let mut params = params(args.names.first().map_or("localhost", String::as_str), args.common.ttl)?;
    params.subject_alt_names = CertificateParams::new(args.names.clone())
        .map_err(|e| CliError::usage(format!("NAME: {e}")))?
        .subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut made = issue(&args.common, "server", params)?;
    made["names"] = json!(args.names);
    Ok(made)
}

fn client(args: &ClientArgs) -> Result<Value, CliError> {
    check_file_name(&args.name)?;
    let mut params = params(&args.name, args.common.ttl)?;
    if let Some(id) = &args.spiffe {
        let uri = id.as_str().try_into().map_err(|e| CliError::usage(format!("--spiffe: {e}")))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut made = issue(&args.common, &args.name, params)?;
    made["spiffe_id"] = json!(args.spiffe.as_ref().map(SpiffeId::as_str));
    Ok(made)
}

/// Signs a certificate with the folder's authority and writes it with its key.
fn issue(common: &CommonArgs, name: &str, mut params: CertificateParams) -> Result<Value, CliError> {
    let ca_file = common.dir.join(CA_CERTIFICATE);
    let ca = read(&ca_file)?;
    let ca_key = KeyPair::from_pem(&read(&common.dir.join(CA_KEY))?).map_err(made_no)?;
    let authority = Issuer::from_ca_cert_pem(&ca, ca_key).map_err(made_no)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let key = common.algorithm.generate()?;
    let certificate = params.signed_by(&key, &authority).map_err(made_no)?;
    let file = |ending: &str| common.dir.join(format!("{name}.{ending}"));
    write_new(&file("key"), &Zeroizing::new(key.serialize_pem()))?;
    write_new(&file("pem"), &certificate.pem())?;
    Ok(json!({
        "certificate": file("pem"),
        "key": file("key"),
        "ca": ca_file,
        "not_after": ends(common.ttl),
        "thumbprint": CertificateBinding::to_certificate(certificate.der()).to_string(),
        "warning": WARNING,
    }))
}

fn params(name: &str, ttl: Span) -> Result<CertificateParams, CliError> {
    if ttl.secs() == 0 || ttl.secs() > MOST_DAYS * DAY_SECS {
        return Err(CliError::usage(format!("--ttl: expected up to {MOST_DAYS}d")));
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = Duration::from_micros(u64::try_from(SystemClock.now().as_micros()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + Duration::from_secs(ttl.secs());
    Ok(params)
}

fn ends(ttl: Span) -> String {
    let micros = i64::try_from(ttl.secs()).unwrap_or(0).saturating_mul(MICROS_PER_SEC);
    let end: Timestamp = SystemClock.now().plus_micros(micros);
    end.to_rfc3339()
}

/// The authority's own files are called otherwise, and a name leads nowhere else.
fn check_file_name(name: &str) -> Result<(), CliError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let reserved = matches!(name, "ca" | "server");
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) || reserved {
        return Err(CliError::usage(
            "NAME: expected up to 64 letters, digits, `-`, `_` and `.`, and neither `ca` nor `server`",
        ));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Zeroizing<String>, CliError> {
    fs::read_to_string(path).map(Zeroizing::new).map_err(|e| {
        let hint =
            if e.kind() == std::io::ErrorKind::NotFound { ": run `claviger cert init` first" } else { "" };
        CliError::failed(format!("{}: {e}{hint}", path.display()))
    })
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(|e| at(path, &e))?;
    file.write_all(text.as_bytes()).map_err(|e| at(path, &e))
}

fn at(path: &Path, error: &std::io::Error) -> CliError {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return CliError::refused(format!(
            "{} is there already: nothing was written over it",
            path.display()
        ));
    }
    CliError::failed(format!("{}: {error}", path.display()))
}

fn made_no(error: rcgen::Error) -> CliError {
    CliError::failed(format!("the certificate could not be made: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn common(dir: &Path, algorithm: Algorithm) -> CommonArgs {
        CommonArgs { dir: dir.to_owned(), ttl: Span(Duration::from_secs(DAY_SECS)), algorithm }
    }

    #[test]
    fn what_is_made_is_private_signed_by_the_authority_and_never_written_over() {
        for algorithm in [Algorithm::Ecdsa, Algorithm::Ed25519] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            init(&InitArgs { name: "t".to_owned(), common: common(dir, algorithm) }).unwrap();
            let args = ClientArgs {
                name: "build".to_owned(),
                spiffe: Some("spiffe://example.org/ci".parse().unwrap()),
                common: common(dir, algorithm),
            };
            let made = client(&args).unwrap();
            assert!(made["thumbprint"].as_str().unwrap().starts_with("x5t#S256:"));
            assert_eq!(client(&args).unwrap_err().code, 4);
            server(&ServerArgs { names: vec!["127.0.0.1".to_owned()], common: common(dir, algorithm) })
                .unwrap();
            for name in ["ca.pem", "ca.key", "build.pem", "build.key", "server.pem", "server.key"] {
                assert_eq!(fs::metadata(dir.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
            }
        }
    }

    #[test]
    fn without_an_authority_the_command_says_which_one_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let args =
            ServerArgs { names: vec!["a".to_owned()], common: common(folder.path(), Algorithm::Ecdsa) };
        assert!(server(&args).unwrap_err().message.contains("claviger cert init"));
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["", "..", "a/b", "ca", "server", "a b"] {
            assert_eq!(check_file_name(name).unwrap_err().code, 2, "{name:?}");
        }
        check_file_name("build-1.example").unwrap();
    }
}
