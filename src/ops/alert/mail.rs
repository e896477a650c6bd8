//! E-mail over SMTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::Secret;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::desk::SendError;
use super::words::Message;
use super::{Channel, Security};

/// How long one command of the conversation may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What is wrong with addresses: the key and the problem.
pub(super) fn problems<'a>(
    sender: &'a str,
    recipients: &'a [String],
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let none = recipients.is_empty().then(|| ("recipients", "nobody is written to".to_owned()));
    let wrong = |address: &str| address.parse::<Mailbox>().is_err().then(|| format!("{address:?} is no address"));
    let sender = wrong(sender).map(|text| ("sender", text));
    let each = recipients.iter().filter_map(move |address| wrong(address).map(|text| ("recipients", text)));
    none.into_iter().chain(sender).chain(each)
}

/// Sends a message to the mailboxes of a channel. Closes the connection afterwards: mails are rare.
pub(super) async fn send(channel: &Channel, base_dir: &Path, message: &Message) -> Result<(), SendError> {
    let Channel::Email { host, port, security, ca, username, password, sender, recipients, .. } = channel else {
        return Err(SendError::Refused("this channel is no mailbox".to_owned()));
    };
    let mailbox = |address: &str| address.parse::<Mailbox>().map_err(|_| SendError::Address);
    let mut mail = lettre::Message::builder().from(mailbox(sender)?).subject(&message.title);
    for recipient in recipients {
        mail = mail.to(mailbox(recipient)?);
    }
    let plain = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(message.text.clone());
    let mail = mail.multipart(MultiPart::mixed().singlepart(plain)).map_err(SendError::Mail)?;
    let transport = transport(host, *port, *security, ca.as_ref(), base_dir)?;
    let transport = match (username, password) {
        (Some(name), Some(password)) => {
            transport.credentials(Credentials::new(name.clone(), secret(password, base_dir)?))
        }
        _ => transport,
    };
    transport.build().send(mail).await.map(drop).map_err(SendError::Smtp)
}

fn secret(secret: &Secret, base_dir: &Path) -> Result<String, SendError> {
    Ok(secret.read(base_dir).map_err(SendError::Secret)?.expose().to_owned())
}

fn transport(
    host: &str,
    port: Option<u16>,
    security: Security,
    ca: Option<&PathBuf>,
    base_dir: &Path,
) -> Result<lettre::transport::smtp::AsyncSmtpTransportBuilder, SendError> {
    let tls = || -> Result<TlsParameters, SendError> {
        let mut parameters = TlsParameters::builder(host.to_owned());
        if let Some(ca) = ca {
            let path = base_dir.join(ca);
            let pem = std::fs::read(&path).map_err(|cause| SendError::File { path, cause })?;
            let certificate = Certificate::from_pem(&pem).map_err(SendError::Smtp)?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        parameters.build().map_err(SendError::Smtp)
    };
    let (tls, usual) = match security {
        Security::Tls => (Tls::Wrapper(tls()?), 465),
        Security::Starttls => (Tls::Required(tls()?), 587),
        Security::None => (Tls::None, 25),
    };
    let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host);
    Ok(builder.port(port.unwrap_or(usual)).tls(tls).timeout(Some(TIMEOUT)))
}
