//! The server's life: accepting, stopping, and what tests ask of it.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Fault, FaultKind, Options, session};

/// What the connections share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) path: PathBuf,
    stopped: AtomicBool,
    live: Mutex<HashMap<usize, TcpStream>>,
    accepted: AtomicUsize,
    faults: Mutex<Vec<Fault>>,
    statements: Mutex<Vec<String>>,
    procedures: Mutex<HashMap<String, String>>,
    released: Mutex<usize>,
    release: Condvar,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn note(&self, statement: &str) {
        locked(&self.statements).push(statement.to_owned());
    }

    /// The fault that strikes the answer to this statement.
    pub(crate) fn fault(&self, statement: &str) -> Option<FaultKind> {
        let mut faults = locked(&self.faults);
        let at = faults.iter().position(|fault| statement.contains(&fault.when))?;
        Some(faults.remove(at).kind)
    }

    /// The statement behind a stored procedure.
    pub(crate) fn procedure(&self, name: &str) -> Option<String> {
        locked(&self.procedures).get(&name.to_lowercase()).cloned()
    }

    pub(crate) fn procedures(&self) -> Vec<String> {
        locked(&self.procedures).keys().cloned().collect()
    }

    /// Waits until a test releases the stall; an error where the client or the server has gone.
    pub(crate) fn wait_for_release(&self, tcp: &TcpStream) -> io::Result<()> {
        let mut released = locked(&self.released);
        let before = *released;
        while *released == before {
            if self.stopped.load(Ordering::SeqCst) || gone(tcp)? {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let wait = self.release.wait_timeout(released, Duration::from_millis(5));
            released = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

fn gone(tcp: &TcpStream) -> io::Result<bool> {
    tcp.set_nonblocking(true)?;
    let peeked = tcp.peek(&mut [0]);
    tcp.set_nonblocking(false)?;
    Ok(match peeked {
        Ok(read) => read == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    })
}

/// A running server on a port of its own of 127.0.0.1. It stops when it is dropped.
pub struct TdsServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    certificate: String,
    acceptor: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl TdsServer {
    /// Starts a server with an empty database.
    ///
    /// # Panics
    /// Where this machine lets it have no port, folder or thread.
    pub fn start(options: Options) -> TdsServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("data.db");
        let writer = Connection::open(&path).expect("a database file");
        writer.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;").expect("a database file");
        let (certificate, key) = options.certificate.clone().unwrap_or_else(own_certificate);
        let tls = tls_config(&certificate, &key);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared {
            options,
            tls,
            path,
            stopped: AtomicBool::new(false),
            live: Mutex::default(),
            accepted: AtomicUsize::new(0),
            faults: Mutex::default(),
            statements: Mutex::default(),
            procedures: Mutex::default(),
            released: Mutex::default(),
            release: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &accepting));
        TdsServer { shared, address, certificate, acceptor: Some(acceptor), folder }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The server's certificate in PEM. It is its own authority.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The certificate as it travels.
    ///
    /// # Panics
    /// Where the certificate that was given is not PEM.
    pub fn certificate_der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("a certificate in PEM").to_vec()
    }

    /// A folder of the test's own that goes away with the server.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The data, for writing. Text stands as text, bytes that are to travel undecoded as BLOB, times
    /// as `2024-01-02 08:00:09.003`, decimals of many digits as BLOB of their literal.
    ///
    /// # Panics
    /// Where the file can't be opened.
    pub fn data(&self) -> Connection {
        let data = Connection::open(&self.shared.path).expect("the server's database");
        data.busy_timeout(Duration::from_secs(10)).expect("the server's database");
        data
    }

    /// Runs statements of SQLite on the data.
    ///
    /// # Panics
    /// Where one fails.
    pub fn execute(&self, sql: &str) {
        // SQLite takes `(max)` in a type only inside quotes.
        let quoted = ["nvarchar(max)", "varchar(max)", "varbinary(max)"]
            .into_iter()
            .fold(sql.to_owned(), |sql, name| sql.replace(&format!(" {name}"), &format!(" \"{name}\"")));
        self.data().execute_batch(&quoted).expect("statements on the server's data");
    }

    /// Makes a stored procedure of one SELECT, whose parameters it names.
    pub fn procedure(&self, name: &str, select: &str) {
        locked(&self.shared.procedures).insert(name.to_lowercase(), select.to_owned());
    }

    /// Lets a fault strike once.
    pub fn inject(&self, when: &str, kind: FaultKind) {
        locked(&self.shared.faults).push(Fault { when: when.to_owned(), kind });
    }

    /// How many faults have not struck yet.
    pub fn faults_left(&self) -> usize {
        locked(&self.shared.faults).len()
    }

    /// Takes back faults that have not struck yet.
    pub fn forget_faults(&self) {
        locked(&self.shared.faults).clear();
    }

    /// Lets answers that stall go on.
    pub fn release(&self) {
        *locked(&self.shared.released) += 1;
        self.shared.release.notify_all();
    }

    /// The statements that came in so far.
    pub fn statements(&self) -> Vec<String> {
        locked(&self.shared.statements).clone()
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        locked(&self.shared.live).len()
    }

    /// Breaks every connection, as a restart of the server does.
    pub fn cut(&self) {
        for stream in locked(&self.shared.live).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for TdsServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.release();
        self.cut();
        // Wakes the acceptor, which then sees that it is to stop.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            locked(&shared.live).insert(number, copy);
        }
        let serving = Arc::clone(shared);
        std::thread::spawn(move || {
            // A broken connection is the client's to notice.
            let _ = session::serve(stream, &serving);
            if let Some(stream) = locked(&serving.live).remove(&number) {
                drop(stream);
            }
        });
    }
}

/// A certificate for `localhost` and 127.0.0.1 that signs itself, with its key, in PEM.
fn own_certificate() -> (String, String) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn tls_config(certificate: &str, key: &str) -> Arc<ServerConfig> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes()).filter_map(Result::ok).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key in PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    Arc::new(config)
}

/// SQL Server Browser: tells the port of a named instance over UDP.
pub struct Browser {
    port: u16,
    socket: Arc<UdpSocket>,
    answering: Option<JoinHandle<()>>,
}

impl Browser {
    /// Answers for one instance, after ignoring the first `deaf` questions.
    ///
    /// # Panics
    /// Where this machine lets it have no port or thread.
    pub fn start(instance: &str, tcp: u16, deaf: usize) -> Browser {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).expect("a free port"));
        let port = socket.local_addr().expect("a bound port").port();
        let (asked, name) = (Arc::clone(&socket), instance.to_owned());
        let answering = std::thread::spawn(move || {
            let mut question = [0; 64];
            let mut heard = 0;
            while let Ok((length, from)) = asked.recv_from(&mut question) {
                let Some((4, wanted)) = question[..length].split_first() else { return };
                heard += 1;
                if heard <= deaf || !wanted.strip_suffix(&[0]).unwrap_or(wanted).eq_ignore_ascii_case(name.as_bytes()) {
                    continue;
                }
                let text =
                    format!("ServerName;HIS;InstanceName;{name};IsClustered;No;Version;10.50.6000.34;tcp;{tcp};;");
                let mut answer = vec![5];
                answer.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
                answer.extend_from_slice(text.as_bytes());
                let _ = asked.send_to(&answer, from);
            }
        });
        Browser { port, socket, answering: Some(answering) }
    }

    /// The UDP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Any other question ends it.
        let _ = self.socket.send_to(&[0], ("127.0.0.1", self.port));
        if let Some(answering) = self.answering.take() {
            let _ = answering.join();
        }
    }
}
