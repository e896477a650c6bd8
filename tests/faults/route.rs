//! Who stands between the agent and upstream: refuses, breaks off, swallows, drips, and answers nonsense.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value as Json;

use crate::tls::{Hands, Tls, Wire, first_message};
use crate::web::{answer, body, read_message};

const GLANCE: Duration = Duration::from_millis(5);

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They pass.
    Pass,
    /// Connections are refused.
    Refuse,
    /// The connection is reset while the request comes.
    CutRequest,
    /// Upstream applies it; the connection is reset instead of an answer.
    LoseAnswer,
    /// Upstream applies it; half of the answer comes, then the connection ends.
    HalfAnswer,
    /// Nothing passes, and nothing comes back.
    BlackHole,
    /// Upstream applies it, and nothing comes back.
    Silence,
    /// The answer comes byte by byte.
    Drip,
    /// Somebody else answers 200 with a page.
    Garbage,
    /// Upstream applies it, and somebody else answers 200 with a page.
    GarbageAfter,
    /// Half of the receipts' text comes, as a whole answer.
    HalfReceipts,
    /// The peer speaks of TLS.
    Tls,
    /// Handshakes come to nothing.
    Hands(Hands),
    /// Each receipt comes twice.
    Twice,
    /// Each receipt comes twice, and the two differ.
    Contradict,
    /// The receipts come in another order, with some of events that were never sent.
    Strange,
}

/// The proxy.
pub(crate) struct Route {
    mood: Arc<Mutex<Mood>>,
    met: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Route {
    /// Listens; with certificates, over TLS.
    pub(crate) fn open(address: SocketAddr, upstream: SocketAddr, tls: Option<Tls>) -> Route {
        let shared = Shared {
            mood: Arc::new(Mutex::new(Mood::Pass)),
            met: Arc::default(),
            over: Arc::default(),
            upstream,
            tls: tls.map(Arc::new),
        };
        let mut route =
            Route { mood: shared.mood.clone(), met: shared.met.clone(), over: shared.over.clone(), thread: None };
        let first = TcpListener::bind(address).unwrap();
        first.set_nonblocking(true).unwrap();
        route.thread = Some(spawn(move || shared.listen(address, first)));
        route
    }

    /// What becomes of requests from now on.
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.met.store(0, Ordering::SeqCst);
    }

    /// How many requests met with something since the last change.
    pub(crate) fn met(&self) -> u32 {
        self.met.load(Ordering::SeqCst)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Shared {
    mood: Arc<Mutex<Mood>>,
    met: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    upstream: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Shared {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn listen(self, address: SocketAddr, first: TcpListener) {
        let mut listener = Some(first);
        while !self.over() {
            if self.mood() == Mood::Refuse {
                listener = None;
                // Nobody can be asked whether a connection was refused.
                self.met.fetch_add(1, Ordering::SeqCst);
            } else if listener.is_none() {
                listener = TcpListener::bind(address).ok();
                if let Some(listener) = &listener {
                    listener.set_nonblocking(true).unwrap();
                }
            }
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => {
                    let shared = self.clone();
                    spawn(move || shared.serve(client));
                }
                _ => sleep(GLANCE),
            }
        }
    }

    fn serve(&self, client: TcpStream) {
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let Some(mut client) = self.greet(client) else { return };
        while let Some((mood, request)) = self.hear(&mut client) {
            if self.treat(mood, &mut client, &request).is_none() {
                return;
            }
        }
    }

    /// Shakes hands, where that is spoken.
    fn greet(&self, mut client: TcpStream) -> Option<Wire> {
        let Some(tls) = &self.tls else { return Some(Wire::Plain(client)) };
        let mood = self.mood();
        let Mood::Hands(hands) = mood else { return tls.greet(client, None) };
        self.met.fetch_add(1, Ordering::SeqCst);
        match hands {
            Hands::Cut => first_message(&mut client).and(None),
            Hands::Reset => {
                let _ = client.read(&mut [0; 16]);
                reset(&client);
                None
            }
            Hands::Stall => {
                first_message(&mut client)?;
                self.stall(mood)?;
                None
            }
            _ => tls.greet(client, Some(hands)),
        }
    }

    /// Waits for a request and says which mood it meets; `None` where the connection is of no use any more.
    fn hear(&self, client: &mut Wire) -> Option<(Mood, Vec<u8>)> {
        let early = match client {
            // The first byte of a request decides which mood it meets.
            Wire::Plain(tcp) => tcp.peek(&mut [0]).ok().filter(|read| *read > 0).map(|_| None)?,
            // What is encrypted is read before anything can be said of it.
            Wire::Sealed(_) => Some(read_message(client)?),
        };
        let mood = self.mood();
        if mood != Mood::Pass && !matches!(mood, Mood::Hands(_)) {
            self.met.fetch_add(1, Ordering::SeqCst);
        }
        if matches!(mood, Mood::CutRequest | Mood::Refuse | Mood::Hands(_)) {
            if early.is_none() {
                // Some of it is read, the rest is not: the kernel answers with a reset.
                let _ = client.read(&mut [0; 64]);
            }
            reset(client.tcp());
            return None;
        }
        Some((mood, early.or_else(|| read_message(client))?))
    }

    /// Answers a request; `None` where the connection is of no use any more.
    fn treat(&self, mood: Mood, client: &mut Wire, request: &[u8]) -> Option<()> {
        let page = answer("200 OK", "text/html", b"<html><body>Welcome to the guest network</body></html>");
        match mood {
            Mood::BlackHole => return self.stall(mood),
            Mood::Garbage => return client.write_all(&page).ok(),
            // An alert: a protocol version that nobody speaks.
            Mood::Tls | Mood::Hands(_) => return client.write_all(&[0x15, 3, 3, 0, 2, 2, 70]).ok().and(None),
            _ => {}
        }
        let reply = self.forward(request)?;
        match mood {
            Mood::LoseAnswer => {
                reset(client.tcp());
                None
            }
            Mood::HalfAnswer => client.write_all(&reply[..reply.len() / 2]).ok().and(None),
            Mood::Silence => self.stall(mood),
            Mood::Drip => reply.chunks(4).try_for_each(|bytes| {
                sleep(Duration::from_millis(1));
                client.write_all(bytes).ok()
            }),
            Mood::GarbageAfter => client.write_all(&page).ok(),
            Mood::HalfReceipts => {
                let text = body(&reply);
                client.write_all(&answer("200 OK", "application/json", &text[..text.len().div_ceil(2)])).ok()
            }
            Mood::Twice | Mood::Contradict | Mood::Strange => client.write_all(&rewritten(mood, &reply)).ok(),
            _ => client.write_all(&reply).ok(),
        }
    }

    fn forward(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut upstream = TcpStream::connect(self.upstream).ok()?;
        upstream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        upstream.write_all(request).ok()?;
        read_message(&mut upstream)
    }

    /// Keeps a connection open without a word until the mood is another one.
    fn stall(&self, mood: Mood) -> Option<()> {
        while self.mood() == mood && !self.over() {
            sleep(GLANCE);
        }
        None
    }
}

fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

/// The receipts of an answer, told in a strange way.
fn rewritten(mood: Mood, reply: &[u8]) -> Vec<u8> {
    let Ok(mut json) = serde_json::from_slice::<Json>(body(reply)) else { return reply.to_vec() };
    let Some(results) = json["results"].as_array_mut() else { return reply.to_vec() };
    let mut more = results.clone();
    match mood {
        Mood::Contradict => more.iter_mut().for_each(|receipt| receipt["status"] = Json::from("retry")),
        Mood::Strange => {
            more = vec![serde_json::json!({ "id": "00000000-0000-5000-8000-000000000000", "status": "rejected" })]
        }
        _ => {}
    }
    results.extend(more);
    results.reverse();
    answer("200 OK", "application/json", json.to_string().as_bytes())
}
