//! A source with an HTTP interface: a list of items that change, in pages, and all the ways in which such servers fail.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use chrono::TimeDelta;
use hisync::clock::Clock;
use serde_json::json;

use crate::hospital::{Facts, Wanted};
use crate::web::{answer, read_message};

const GLANCE: Duration = Duration::from_millis(5);

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It takes requests and never answers.
    Hang,
    /// Half of a page comes, then the connection ends.
    Half,
    /// The connection ends without an answer.
    Nothing,
    /// 200 with nothing in it.
    Empty,
    /// 200 with somebody else's page.
    Garbage,
    /// A failure as it should be told.
    Error,
    /// The list is shorter than the server says.
    Short,
    /// Well and ill by turns.
    Flap,
}

#[derive(Default)]
struct Items(BTreeMap<String, (String, String)>);

/// The server.
pub(crate) struct Cloud {
    mood: Arc<Mutex<Mood>>,
    items: Arc<Mutex<Items>>,
    met: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Cloud {
    pub(crate) fn open(address: SocketAddr) -> Cloud {
        let mut cloud = Cloud {
            mood: Arc::new(Mutex::new(Mood::Well)),
            items: Arc::default(),
            met: Arc::default(),
            over: Arc::default(),
            thread: None,
        };
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (mood, items, met, over) = (cloud.mood.clone(), cloud.items.clone(), cloud.met.clone(), cloud.over.clone());
        cloud.thread = Some(spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let Ok((client, _)) = listener.accept() else {
                    sleep(GLANCE);
                    continue;
                };
                let (mood, items, met, over) = (mood.clone(), items.clone(), met.clone(), over.clone());
                spawn(move || serve(client, &mood, &items, &met, &over));
            }
        }));
        cloud
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.met.store(0, Ordering::SeqCst);
    }

    /// How many requests met with something since the last change.
    pub(crate) fn met(&self) -> u32 {
        self.met.load(Ordering::SeqCst)
    }

    /// An item is new, or has another name.
    pub(crate) fn change(&self, code: u32, name: u32) {
        let at = (Clock::system().now() + TimeDelta::hours(8)).format("%Y-%m-%d %H:%M:%S").to_string();
        self.items.lock().unwrap().0.insert(format!("K{code:03}"), (format!("item {name}"), at));
    }

    /// What upstream must have.
    pub(crate) fn wanted(&self) -> Wanted {
        let items = self.items.lock().unwrap();
        let entry = |(code, (name, _)): (&String, &(String, String))| {
            let facts = [("name", name.as_str()), ("price", ""), ("enabled", "true")];
            let facts: Facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            (format!("exam_item/main:cloud:{code}"), Some(facts))
        };
        items.0.iter().map(entry).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, mood: &Mutex<Mood>, items: &Mutex<Items>, met: &AtomicU32, over: &AtomicBool) {
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while let Some(request) = read_message(&mut client) {
        let mut now = *mood.lock().unwrap();
        if now != Mood::Well {
            let count = met.fetch_add(1, Ordering::SeqCst);
            if now == Mood::Flap {
                now = [Mood::Well, Mood::Nothing, Mood::Half, Mood::Error][count as usize % 4];
            }
        }
        let whole = page(&items.lock().unwrap(), &request, now == Mood::Short);
        let sent = match now {
            Mood::Hang => {
                while *mood.lock().unwrap() == Mood::Hang && !over.load(Ordering::SeqCst) {
                    sleep(GLANCE);
                }
                return;
            }
            Mood::Nothing => return,
            Mood::Half => client.write_all(&whole[..whole.len() / 2]).and(Err(std::io::ErrorKind::BrokenPipe.into())),
            Mood::Empty => client.write_all(&answer("200 OK", "application/json", b"")),
            Mood::Garbage => client.write_all(&answer("200 OK", "text/html", b"<html>under maintenance</html>")),
            Mood::Error => client.write_all(&answer("500 Internal Server Error", "text/plain", b"ORA-00600")),
            Mood::Well | Mood::Short | Mood::Flap => client.write_all(&whole),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn page(items: &Items, request: &[u8], short: bool) -> Vec<u8> {
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap()).into_owned();
    let query = line.split(' ').nth(1).and_then(|path| path.split_once('?')).map_or("", |(_, query)| query);
    let value = |name: &str| {
        let text = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        text.unwrap_or_default().replace("%20", " ").replace('+', " ").replace("%3A", ":")
    };
    let (from, to) = (value("from"), value("to"));
    let found = items.0.iter().filter(|(_, (_, at))| *at >= from && (to.is_empty() || *at <= to));
    let found: Vec<_> = found
        .map(|(code, (name, at))| {
            json!({ "code": code, "name": name, "kind": "1", "sex": "0", "off": "", "unit": "mmol/L",
                    "department": "检验科", "specimen": "血清", "updatedAt": at })
        })
        .collect();
    let (number, size) = (value("page").parse::<usize>().unwrap_or(1), value("size").parse::<usize>().unwrap_or(5));
    let list: Vec<_> = found.iter().skip((number - 1) * size).take(size).skip(usize::from(short)).collect();
    let text = json!({ "code": "0", "data": { "total": found.len(), "list": list } }).to_string();
    answer("200 OK", "application/json", text.as_bytes())
}
