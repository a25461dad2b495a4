//! E-mail: one connection a message, so that a server that forgets nobody holds nothing up.

use std::time::{Duration, UNIX_EPOCH};

use claviger_domain::{
    notice::{
        channel::{SmtpSecurity, SmtpTarget, is_mail_address},
        delivery::DeliveryError,
    },
    ports::notices::Letter,
    secret::SecretBytes,
};
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use rustls::pki_types::CertificateDer;

/// For each step of the conversation.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers by mail.
pub(crate) struct Smtp {
    roots: Vec<CertificateDer<'static>>,
}

impl Smtp {
    pub const fn new(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots }
    }

    pub async fn send(
        &self,
        target: &SmtpTarget,
        secret: Option<&SecretBytes>,
        letter: &Letter,
    ) -> Result<(), DeliveryError> {
        target.check().map_err(|error| DeliveryError::Permanent(error.to_string()))?;
        let message = message(target, letter)?;
        let transport = self.transport(target, secret)?;
        transport.send(message).await.map(drop).map_err(|error| judge(&error))
    }

    fn transport(
        &self,
        target: &SmtpTarget,
        secret: Option<&SecretBytes>,
    ) -> Result<AsyncSmtpTransport<Tokio1Executor>, DeliveryError> {
        let tls = match target.security {
            SmtpSecurity::Implicit => Tls::Wrapper(self.tls(target)?),
            SmtpSecurity::Starttls => Tls::Required(self.tls(target)?),
            SmtpSecurity::Plain => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(target.host.as_str())
            .port(target.port)
            .timeout(Some(STEP_TIMEOUT))
            .tls(tls);
        if let (Some(name), Some(secret)) = (&target.username, secret) {
            let password = std::str::from_utf8(secret.expose())
                .map_err(|_| DeliveryError::Permanent("the password is not text".to_owned()))?;
            builder = builder.credentials(Credentials::new(name.clone(), password.to_owned()));
        }
        Ok(builder.build())
    }

    fn tls(&self, target: &SmtpTarget) -> Result<TlsParameters, DeliveryError> {
        let failed = |error: lettre::transport::smtp::Error| {
            DeliveryError::Permanent(format!("TLS cannot be set up: {error}"))
        };
        let mut tls = TlsParameters::builder(target.host.clone());
        for root in &self.roots {
            tls = tls.add_root_certificate(Certificate::from_der(root.to_vec()).map_err(failed)?);
        }
        tls.build_rustls().map_err(failed)
    }
}

fn message(target: &SmtpTarget, letter: &Letter) -> Result<Message, DeliveryError> {
    let at = u64::try_from(letter.at.as_secs()).unwrap_or(0);
    let domain = target.from.split_once('@').map_or("localhost", |(_, domain)| domain);
    let mut builder = Message::builder()
        .from(mailbox(&target.from)?)
        .subject(&letter.message.subject)
        .date(UNIX_EPOCH + Duration::from_secs(at))
        // The same at every try, so that mail programs can tell a repetition.
        .message_id(Some(format!("<{}@{domain}>", letter.id)));
    for recipient in &target.to {
        builder = builder.to(mailbox(recipient)?);
    }
    for copy in letter.copies.iter().filter(|copy| is_mail_address(copy) && !target.to.contains(copy)) {
        builder = builder.to(mailbox(copy)?);
    }
    let parts = MultiPart::alternative_plain_html(letter.message.text.clone(), letter.message.html.clone());
    let mut message = builder
        .multipart(parts)
        .map_err(|error| DeliveryError::Permanent(format!("no valid mail: {error}")))?;
    // RFC 3834: no answer by machines, please.
    let name = HeaderName::new_from_ascii_str("Auto-Submitted");
    message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
    Ok(message)
}

fn mailbox(address: &str) -> Result<Mailbox, DeliveryError> {
    address.parse().map_err(|_| DeliveryError::Permanent(format!("`{address}` is not a mail address")))
}

fn judge(error: &lettre::transport::smtp::Error) -> DeliveryError {
    let said =
        error.status().map_or_else(|| describe(error), |code| format!("the mail server answered {code}"));
    if error.is_permanent() { DeliveryError::Permanent(said) } else { DeliveryError::Transient(said) }
}

/// The library's words and the system's below them.
fn describe(error: &lettre::transport::smtp::Error) -> String {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}").chars().take(300).collect()
}
