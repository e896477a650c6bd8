//! Getting a connection: address, TCP, encryption, login. Each step has its own class of failure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{FaultClass, SourceError};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::client::quietly;
use crate::settings::{Encryption, SqlServerSettings, Trust};
use crate::stream::{Carrier, Offer, TdsStream, Wish, negotiate};
use crate::{faults, tls};

/// A client that is logged in.
pub(crate) type Connection = Client<Compat<TdsStream>>;

/// How often SQL Server Browser is asked, and how long each answer may take: it is UDP.
const BROWSER_TRIES: u32 = 3;
const BROWSER_WAIT: Duration = Duration::from_secs(1);

/// A connection that nobody speaks on is looked at this often, so that a dead one is noticed.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Everything that connecting needs.
pub(crate) struct Endpoint {
    pub(crate) settings: SqlServerSettings,
    pub(crate) base_dir: PathBuf,
}

impl Endpoint {
    fn shown(&self) -> String {
        match (&self.settings.instance, self.settings.port) {
            (Some(instance), _) => format!("{}\\{instance}", self.settings.host),
            (None, port) => format!("{}:{}", self.settings.host, port.unwrap_or(1433)),
        }
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self) -> Result<Connection, SourceError> {
        let limit = Duration::from_secs(self.settings.connect_timeout_secs.into());
        timeout(limit, self.steps()).await.unwrap_or_else(|_| {
            Err(SourceError::retry(FaultClass::Timeout, format!("connect to SQL Server at {}", self.shown())).hint(
                "nothing answered within connect_timeout_secs: a firewall may swallow what is sent, or the server hangs",
            ))
        })
    }

    async fn steps(&self) -> Result<Connection, SourceError> {
        let mut tcp = self.tcp().await?;
        let (wish, login_only) = match self.settings.encryption {
            Encryption::Required => (Wish::All, false),
            Encryption::LoginOnly => (Wish::LoginOnly, true),
            Encryption::Off => (Wish::Nothing, false),
        };
        let offer = negotiate(&mut tcp, wish).await.map_err(|cause| {
            let operation = format!("agree with {} on encryption", self.shown());
            SourceError::retry(FaultClass::Protocol, operation)
                .because(cause)
                .hint("what answers there may not be SQL Server, or it is starting or stopping: check host and port")
        })?;
        let stream = match (wish, offer) {
            (Wish::Nothing, Offer::Nothing) => TdsStream::clear(tcp),
            (Wish::Nothing, _) => {
                return Err(self.tls("do without encryption").hint(
                    "the server forces encryption: set encryption = \"required\"; if it knows old TLS only, read it \
                     through the odbc connector with FreeTDS",
                ));
            }
            (_, Offer::Nothing) => {
                return Err(self.tls("encrypt the connection").hint(
                    "the server has no encryption at all. With encryption = \"off\" the password travels readable to \
                     anybody on the way: decide that with the hospital",
                ));
            }
            (Wish::All, Offer::LoginOnly) => {
                return Err(self
                    .tls("encrypt the whole connection")
                    .hint("the server encrypts the login only: set encryption = \"login-only\""));
            }
            (_, offer) => self.handshake(tcp, login_only && offer == Offer::LoginOnly).await?,
        };
        self.login(stream).await
    }

    fn tls(&self, what: &str) -> SourceError {
        SourceError::stop(FaultClass::Tls, format!("{what} with SQL Server at {}", self.shown()))
    }

    async fn tcp(&self) -> Result<TcpStream, SourceError> {
        let host = self.settings.host.as_str();
        let port = match self.settings.instance {
            Some(_) => self.settings.browser_port,
            None => self.settings.port.unwrap_or(1433),
        };
        let found = tokio::net::lookup_host((host, port)).await.map(Iterator::collect::<Vec<SocketAddr>>);
        let unresolved = |cause: std::io::Error| {
            SourceError::retry(FaultClass::NameResolution, format!("find the address of {host:?}"))
                .because(cause)
                .hint("check settings.host, and this machine's DNS; an address in numbers needs none")
        };
        let addresses = found.map_err(unresolved)?;
        // One address that swallows everything leaves time for the others.
        let share = Duration::from_secs(self.settings.connect_timeout_secs.into())
            / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut last = None;
        for mut address in addresses {
            if let Some(instance) = &self.settings.instance {
                match self.browse(address, instance).await {
                    Ok(port) => address.set_port(port),
                    Err(error) => {
                        last = Some(error);
                        continue;
                    }
                }
            }
            let reached = timeout(share, TcpStream::connect(address)).await;
            match reached.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
                Ok(tcp) => return self.prepared(tcp),
                Err(cause) => last = Some(self.unreached().because(cause)),
            }
        }
        Err(last.unwrap_or_else(|| self.unreached()))
    }

    fn unreached(&self) -> SourceError {
        SourceError::retry(FaultClass::Unreachable, format!("reach SQL Server at {}", self.shown())).hint(
            "is it running, is TCP/IP enabled in its configuration, is the port right, does a firewall let this \
             machine through?",
        )
    }

    fn prepared(&self, tcp: TcpStream) -> Result<TcpStream, SourceError> {
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        let set = tcp.set_nodelay(true).and_then(|()| socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive));
        set.map_err(|cause| {
            SourceError::retry(FaultClass::Unreachable, format!("set up the connection to {}", self.shown()))
                .because(cause)
                .hint("the connection broke at once")
        })?;
        Ok(tcp)
    }

    /// Asks SQL Server Browser for an instance's port.
    async fn browse(&self, browser: SocketAddr, instance: &str) -> Result<u16, SourceError> {
        let failed = || {
            SourceError::retry(FaultClass::Unreachable, format!("find the port of the instance {instance:?}")).hint(
                "SQL Server Browser did not answer over UDP, or knows no such instance: firewalls often block it; \
                 set port instead of instance",
            )
        };
        let local = if browser.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local).await.map_err(|cause| failed().because(cause))?;
        socket.connect(browser).await.map_err(|cause| failed().because(cause))?;
        let question = [&[4], instance.as_bytes(), &[0]].concat();
        let mut answer = vec![0; 4096];
        for _ in 0..BROWSER_TRIES {
            socket.send(&question).await.map_err(|cause| failed().because(cause))?;
            if let Ok(received) = timeout(BROWSER_WAIT, socket.recv(&mut answer)).await {
                let length = received.map_err(|cause| failed().because(cause))?;
                return browser_port(&answer[..length]).ok_or_else(failed);
            }
        }
        Err(failed())
    }

    async fn handshake(&self, tcp: TcpStream, login_only: bool) -> Result<TdsStream, SourceError> {
        let settings = &self.settings;
        let name = settings.certificate_name.as_deref().unwrap_or(&settings.host);
        let name = match ServerName::try_from(name.to_owned()) {
            Ok(name) => name,
            // Only an authority's word depends on the name.
            Err(_) if matches!(settings.trust, Trust::Any | Trust::Sha256(_)) => {
                ServerName::IpAddress(std::net::IpAddr::from([127, 0, 0, 1]).into())
            }
            Err(cause) => {
                let error = self.tls("name the certificate").because(cause);
                return Err(error.hint("settings.certificate_name is no DNS name"));
            }
        };
        let (config, verifier) = tls::client(&settings.trust, &self.base_dir)?;
        let connected = TlsConnector::from(Arc::clone(&config)).connect(name, Carrier::new(tcp)).await;
        let stream = connected.map_err(|cause| {
            let operation = format!("set up encryption with SQL Server at {}", self.shown());
            tls::classify(operation, cause, &verifier)
        })?;
        Ok(TdsStream::encrypted(stream, login_only))
    }

    async fn login(&self, stream: TdsStream) -> Result<Connection, SourceError> {
        let settings = &self.settings;
        let password = settings
            .password
            .read(&self.base_dir)
            .map_err(|cause| SourceError::stop(FaultClass::Login, "read the password for SQL Server").because(cause))?;
        let mut config = Config::new();
        config.host(&settings.host);
        config.database(&settings.database);
        config.application_name("hisync");
        config.authentication(AuthMethod::sql_server(&settings.user, password.expose()));
        config.encryption(EncryptionLevel::NotSupported);
        // Half a surrogate must not end a whole result; it is found again by its replacement character.
        config.lossy_utf16_decoding(true);
        // Both are bounded here.
        config.handshake_timeout(None);
        config.command_timeout(None);
        let client = quietly(Client::connect(config, stream.compat_write())).await;
        client.map_err(|cause| faults::classify(&format!("log in to SQL Server at {}", self.shown()), &cause))
    }
}

/// The port in `…;tcp;50123;…`.
fn browser_port(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer.get(3..)?).ok()?;
    let mut parts = text.split(';');
    parts.find(|part| part.eq_ignore_ascii_case("tcp"))?;
    parts.next()?.parse().ok().filter(|port| *port != 0)
}
