//! A way to a server that can be broken in the middle of an answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Where a [`Relay`] leads to.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How the way breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The connection is closed.
    Cut,
    /// The connection stays, and says nothing more.
    Hang,
}

/// Forwards what comes to its port, and may break off after a number of bytes of answers.
#[derive(Debug)]
pub struct Relay {
    /// Its port at 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
    broken: Notify,
}

#[derive(Debug, Default)]
struct Now {
    upstream: Option<Upstream>,
    /// Bytes of answers so far.
    answered: u64,
    /// After so many bytes of answers in all.
    breaks: Option<(u64, Break)>,
    /// Counts the breaks: connections of an earlier one stay broken.
    round: u64,
}

impl State {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of an answer goes through, and how the way breaks after it.
    fn passes(&self, length: usize) -> (usize, Option<Break>) {
        let mut now = self.now();
        let (allowed, broken) = match now.breaks {
            Some((at, how)) if now.answered + length as u64 >= at => {
                (usize::try_from(at.saturating_sub(now.answered)).unwrap_or(length), Some(how))
            }
            _ => (length, None),
        };
        now.answered += allowed as u64;
        (allowed, broken)
    }

    /// Waits until the way is mended.
    fn hang(&self) {
        let now = self.now();
        let round = now.round;
        let _mended = self.changed.wait_while(now, |now| now.round == round);
    }
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    fn open(upstream: &Upstream) -> std::io::Result<Wire> {
        match upstream {
            Upstream::Tcp(address) => TcpStream::connect(address).map(Wire::Tcp),
            Upstream::Unix(path) => UnixStream::connect(path).map(Wire::Unix),
        }
    }

    fn copy(&self) -> std::io::Result<Wire> {
        match self {
            Wire::Tcp(stream) => stream.try_clone().map(Wire::Tcp),
            Wire::Unix(stream) => stream.try_clone().map(Wire::Unix),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        match self {
            Wire::Tcp(stream) => stream.read(into),
            Wire::Unix(stream) => stream.read(into),
        }
        .unwrap_or(0)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Wire::Tcp(stream) => stream.write_all(bytes),
            Wire::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn close(&self) {
        // Whoever has gone already needs no close.
        let _ = match self {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Relay {
    /// Starts one on a free port, which leads nowhere yet.
    ///
    /// # Panics
    /// Where no port can be bound.
    pub fn start() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || forward(&state, Wire::Tcp(stream)));
            }
        });
        Relay { port, state }
    }

    /// Says where new connections lead.
    pub fn leads_to(&self, upstream: Upstream) {
        self.state.now().upstream = Some(upstream);
    }

    /// How many bytes of answers went through since the way was last said to break, or mended.
    pub fn answered(&self) -> u64 {
        self.state.now().answered
    }

    /// Breaks the way after so many more bytes of answers.
    pub fn breaks_after(&self, bytes: u64, how: Break) {
        let mut now = self.state.now();
        now.answered = 0;
        now.breaks = Some((bytes, how));
    }

    /// Waits until the way has broken.
    pub async fn broken(&self) {
        self.state.broken.notified().await;
    }

    /// Lets everything through again; connections that hang are closed.
    pub fn mends(&self) {
        let mut now = self.state.now();
        now.answered = 0;
        now.breaks = None;
        now.round += 1;
        self.state.changed.notify_all();
    }
}

fn forward(state: &Arc<State>, mut client: Wire) {
    let upstream = state.now().upstream.clone();
    let wires = upstream.and_then(|upstream| {
        let server = Wire::open(&upstream).ok()?;
        Some((server.copy().ok()?, client.copy().ok()?, server))
    });
    let Some((mut asked, mut asking, mut server)) = wires else { return client.close() };
    std::thread::spawn(move || {
        let mut buffer = [0; 8 << 10];
        loop {
            let read = asking.read(&mut buffer);
            if read == 0 || asked.write(&buffer[..read]).is_err() {
                return asked.close();
            }
        }
    });
    let mut buffer = [0; 8 << 10];
    loop {
        let read = server.read(&mut buffer);
        if read == 0 {
            break;
        }
        let (passes, broken) = state.passes(read);
        if client.write(&buffer[..passes]).is_err() {
            break;
        }
        if let Some(how) = broken {
            state.broken.notify_one();
            if how == Break::Hang {
                state.hang();
            }
            break;
        }
    }
    client.close();
    server.close();
}
