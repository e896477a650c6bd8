//! The faults, each with a name.

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::shim::When::{After, Before};
use crate::shim::{CUT, Deed, OPEN, READ, RECV, RENAME, Rule, SEND, SYNC, UNLINK, WRITE};
use crate::tls::Hands;
use crate::{cloud, his, route};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

/// What happens.
#[derive(Clone, Copy)]
pub(crate) enum Act {
    /// The agent's operation is its last.
    Kill(Rule),
    /// The same, in what a signal makes it do.
    KillIn(Signal, Rule),
    /// The same, in a start.
    KillInStart(Rule),
    /// Operations fail or are slow.
    Disk(Rule),
    /// The same, in what a signal makes it do.
    DiskIn(Signal, Rule),
    /// The same, in a start.
    DiskInStart(Rule),
    /// The wall clock is off by so many seconds.
    Clock(i64),
    /// What is between the agent and upstream does something.
    Route(route::Mood),
    /// Upstream itself fails.
    Upstream(fn(&mut Rng) -> Json),
    /// A source with an HTTP interface fails.
    Cloud(cloud::Mood),
    /// A database server fails.
    His(his::Mood),
    /// The database server is started again.
    HisRestarts,
    /// A peer sends half of something: to MLLP, or to HTTP.
    HalfSender(&'static [u8], Door),
    /// The folder of files is away.
    FolderAway,
    /// The configuration is read again.
    Reload,
}

/// Which port a peer comes to.
#[derive(Clone, Copy)]
pub(crate) enum Door {
    Mllp,
    Web,
}

/// A fault and what it is called.
pub(crate) type Fault = (&'static str, Act);

const WAL: &str = "/data/hisync.db-wal$";
const DB: &str = "/data/hisync.db$";
const STORE: &str = "/data/hisync.db";
const CONFIG: &str = "/hisync.toml$";
const MAPPING: &str = "/mappings/cloud_item.toml$";
const ACK: &str = "MSA|AA";
const ANSWER: &str = "HTTP/1.1 202";
const REQUEST: &str = "POST /v1/events";
const RECEIPTS: &str = "\"results\":[";

/// SIGKILL at named points.
pub(crate) const KILLS: &[Fault] = &[
    ("killed before a page of the log is written", Act::Kill(Rule::kill(Before, WRITE, WAL))),
    ("killed in the middle of a commit's writes", Act::Kill(Rule::kill(After, WRITE, WAL).after(3))),
    ("killed before a commit is synced", Act::Kill(Rule::kill(Before, SYNC, WAL))),
    ("killed after a commit is synced", Act::Kill(Rule::kill(After, SYNC, WAL))),
    ("killed before an MLLP acknowledgement leaves", Act::Kill(Rule::kill(Before, SEND, ACK))),
    ("killed after an MLLP acknowledgement has left", Act::Kill(Rule::kill(After, SEND, ACK))),
    ("killed before an answer to a request leaves", Act::Kill(Rule::kill(Before, SEND, ANSWER))),
    ("killed after an answer to a request has left", Act::Kill(Rule::kill(After, SEND, ANSWER))),
    ("killed before a file is taken out of its folder", Act::Kill(Rule::kill(Before, RENAME, "/inbox/"))),
    ("killed after a file is taken out of its folder", Act::Kill(Rule::kill(After, RENAME, "/inbox/"))),
    ("killed before a file is put away", Act::Kill(Rule::kill(Before, RENAME, "/inbox/done/"))),
    ("killed after a file is put away", Act::Kill(Rule::kill(After, RENAME, "/inbox/done/"))),
    ("killed when a source has answered", Act::Kill(Rule::kill(After, RECV, "\"updatedAt\""))),
    ("killed before a batch leaves", Act::Kill(Rule::kill(Before, SEND, REQUEST))),
    ("killed after a batch has left", Act::Kill(Rule::kill(After, SEND, REQUEST))),
    ("killed when receipts have come", Act::Kill(Rule::kill(After, RECV, RECEIPTS))),
    ("killed in a reload, when its configuration is read", Act::KillIn(Signal::HUP, Rule::kill(After, OPEN, CONFIG))),
    ("killed in a reload, when a mapping is read", Act::KillIn(Signal::HUP, Rule::kill(Before, OPEN, MAPPING))),
    ("killed in a reload, before the next commit", Act::KillIn(Signal::HUP, Rule::kill(Before, SYNC, WAL))),
    ("killed in a reload, after the next commit", Act::KillIn(Signal::HUP, Rule::kill(After, SYNC, WAL))),
    ("killed in a reload, when the next batch leaves", Act::KillIn(Signal::HUP, Rule::kill(After, SEND, REQUEST))),
    ("killed in a checkpoint", Act::KillIn(Signal::TERM, Rule::kill(After, WRITE, DB))),
    ("killed before the store's file is synced", Act::KillIn(Signal::TERM, Rule::kill(Before, SYNC, DB))),
    ("killed after the store's file is synced", Act::KillIn(Signal::TERM, Rule::kill(After, SYNC, DB))),
    ("killed before the log is emptied", Act::KillIn(Signal::TERM, Rule::kill(Before, CUT, WAL))),
    ("killed before the log is deleted", Act::KillIn(Signal::TERM, Rule::kill(Before, UNLINK, WAL))),
    ("killed while the store opens again", Act::KillInStart(Rule::kill(After, OPEN, DB))),
    ("killed before what a start recovers is synced", Act::KillInStart(Rule::kill(Before, SYNC, WAL))),
    ("killed after what a start recovers is synced", Act::KillInStart(Rule::kill(After, SYNC, WAL))),
];

/// The store's disk.
pub(crate) const DISK: &[Fault] = &[
    ("the disk is full", Act::Disk(Rule::fail(WRITE, WAL, ENOSPC))),
    (
        "the disk is full in the middle of a write",
        Act::Disk(Rule { deed: Deed::Half, ..Rule::fail(WRITE, WAL, 0) }.times(3)),
    ),
    ("the disk fails to write", Act::Disk(Rule::fail(WRITE, STORE, EIO))),
    ("the disk fails to sync", Act::Disk(Rule::fail(SYNC, WAL, EIO))),
    ("the disk fails to sync once", Act::Disk(Rule::fail(SYNC, WAL, EIO).times(1))),
    ("the disk fails to read", Act::Disk(Rule::fail(READ, STORE, EIO))),
    ("the disk is read-only", Act::Disk(Rule::fail(WRITE | CUT | SYNC | UNLINK, STORE, EROFS))),
    ("the disk is slow to sync", Act::Disk(Rule::slow(SYNC, STORE, 250))),
    ("the disk is slow to read", Act::Disk(Rule::slow(READ, STORE, 20))),
    ("there are no file descriptors for the store", Act::DiskInStart(Rule::fail(OPEN, STORE, EMFILE))),
    ("the disk is full when the store opens", Act::DiskInStart(Rule::fail(WRITE, STORE, ENOSPC))),
    ("the disk fails when the store opens", Act::DiskInStart(Rule::fail(READ, STORE, EIO))),
    ("the disk fails in a checkpoint", Act::DiskIn(Signal::TERM, Rule::fail(WRITE | SYNC, DB, EIO))),
    ("the configuration can't be read again", Act::DiskIn(Signal::HUP, Rule::fail(OPEN, CONFIG, EACCES))),
];

/// The sources.
pub(crate) const SOURCES: &[Fault] = &[
    ("an acknowledgement is lost", Act::Disk(Rule::fail(SEND, ACK, EPIPE).times(2))),
    ("an answer to a request is lost", Act::Disk(Rule::fail(SEND, ANSWER, ECONNRESET).times(2))),
    ("a database can't be read", Act::Disk(Rule::fail(READ, "/peis.db", EIO))),
    ("a database can't be opened", Act::Disk(Rule::fail(OPEN | READ, "/peis.db", EACCES))),
    ("a database hangs", Act::Disk(Rule::slow(READ, "/peis.db", 200))),
    ("a file can't be read", Act::Disk(Rule::fail(OPEN, "/inbox/report", EACCES))),
    ("a file can't be moved", Act::Disk(Rule::fail(RENAME, "/inbox/", EACCES))),
    ("a file can't be put away", Act::Disk(Rule::fail(RENAME, "/inbox/done/", EROFS))),
    ("the folder of files is away", Act::FolderAway),
    (
        "a sender stops in the middle of a message",
        Act::HalfSender(b"\x0bMSH|^~\\&|LIS|JYK|HISYNC|TJZX|2026", Door::Mllp),
    ),
    (
        "a sender stops in the middle of a request",
        Act::HalfSender(b"POST /reports HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\nMSH|^~\\&|LIS", Door::Web),
    ),
    ("a sender stops in the middle of a head", Act::HalfSender(b"POST /reports HTTP/1.1\r\nhos", Door::Web)),
    ("a server hangs", Act::Cloud(cloud::Mood::Hang)),
    ("a server answers half a page", Act::Cloud(cloud::Mood::Half)),
    ("a server answers nothing", Act::Cloud(cloud::Mood::Nothing)),
    ("a server answers an empty page", Act::Cloud(cloud::Mood::Empty)),
    ("a server answers somebody else's page", Act::Cloud(cloud::Mood::Garbage)),
    ("a server tells of an error", Act::Cloud(cloud::Mood::Error)),
    ("a server leaves rows out of a page", Act::Cloud(cloud::Mood::Short)),
    ("a server flaps", Act::Cloud(cloud::Mood::Flap)),
    ("a database server stops in the middle of a row", Act::His(his::Mood::Stall)),
    ("a database server resets the connection in the middle of a row", Act::His(his::Mood::Reset)),
    ("a database server closes the connection in an answer's head", Act::His(his::Mood::Close)),
    ("a database server's answers drip", Act::His(his::Mood::Drip)),
    ("a database server chooses the reader as victim of a deadlock", Act::His(his::Mood::Deadlock)),
    ("a database server is shutting down", Act::His(his::Mood::Shutdown)),
    ("a database server answers what is no answer", Act::His(his::Mood::Garbage)),
    ("a database server is started again", Act::HisRestarts),
];

/// The way to upstream where it is encrypted.
pub(crate) const HANDSHAKES: &[Fault] = &[
    ("the certificate of upstream has expired", Act::Route(route::Mood::Hands(Hands::Expired))),
    ("the certificate of upstream is another machine's", Act::Route(route::Mood::Hands(Hands::Elsewhere))),
    ("nobody knows who signed the certificate of upstream", Act::Route(route::Mood::Hands(Hands::Stranger))),
    ("the connection ends in the handshake", Act::Route(route::Mood::Hands(Hands::Cut))),
    ("the connection is reset in the handshake", Act::Route(route::Mood::Hands(Hands::Reset))),
    ("half of upstream's side of the handshake comes", Act::Route(route::Mood::Hands(Hands::Half))),
    ("the handshake stops", Act::Route(route::Mood::Hands(Hands::Stall))),
    ("upstream speaks no version of TLS that the agent does", Act::Route(route::Mood::Hands(Hands::Version))),
    ("upstream speaks in the clear", Act::Route(route::Mood::Hands(Hands::ClearText))),
    ("an encrypted request is reset", Act::Route(route::Mood::CutRequest)),
    ("an encrypted answer is lost after upstream applied the batch", Act::Route(route::Mood::LoseAnswer)),
    ("an encrypted answer ends in the middle", Act::Route(route::Mood::HalfAnswer)),
];

/// The way to upstream, and upstream.
pub(crate) const NETWORK: &[Fault] = &[
    ("upstream refuses connections", Act::Route(route::Mood::Refuse)),
    ("a request is reset", Act::Route(route::Mood::CutRequest)),
    ("an answer is lost after upstream applied the batch", Act::Route(route::Mood::LoseAnswer)),
    ("an answer ends in the middle", Act::Route(route::Mood::HalfAnswer)),
    ("the network swallows requests", Act::Route(route::Mood::BlackHole)),
    ("the network swallows answers", Act::Route(route::Mood::Silence)),
    ("the network drips", Act::Route(route::Mood::Drip)),
    ("somebody else answers 200", Act::Route(route::Mood::Garbage)),
    ("somebody else answers 200 after upstream applied the batch", Act::Route(route::Mood::GarbageAfter)),
    ("receipts are cut short", Act::Route(route::Mood::HalfReceipts)),
    ("upstream speaks of TLS", Act::Route(route::Mood::Tls)),
    ("receipts come twice", Act::Route(route::Mood::Twice)),
    ("receipts contradict each other", Act::Route(route::Mood::Contradict)),
    ("receipts of unknown events come", Act::Route(route::Mood::Strange)),
    ("receipts do not reach the agent", Act::Disk(Rule::fail(RECV, RECEIPTS, ECONNRESET).times(3))),
    ("a batch can't be sent", Act::Disk(Rule::fail(SEND, REQUEST, EPIPE).times(3))),
    ("upstream is in maintenance", Act::Upstream(|_| json!({ "status": 503 }))),
    (
        "upstream asks for quiet",
        Act::Upstream(|_| json!({ "status": 429, "headers": { "retry-after": "1" }, "count": 1 })),
    ),
    (
        "upstream fails after it applied the batch",
        Act::Upstream(|_| json!({ "status": 500, "when": "after", "count": 3 })),
    ),
    ("upstream breaks off", Act::Upstream(|_| json!({ "cut": true, "count": 3 }))),
    ("upstream refuses the credentials", Act::Upstream(|_| json!({ "status": 401, "count": 3 }))),
    (
        "upstream leaves receipts out",
        Act::Upstream(|rng| json!({ "receipts": { "every": rng.u32(1..4), "change": "omit" }, "count": 3 })),
    ),
    (
        "upstream takes a part of a batch",
        Act::Upstream(|rng| json!({ "receipts": { "every": rng.u32(1..4), "change": "retry" }, "count": 3 })),
    ),
    ("upstream is slow", Act::Upstream(|_| json!({ "delay_ms": 700, "count": 3 }))),
];

/// The clock, and what else may happen to an agent.
pub(crate) const CLOCK: &[Fault] = &[
    ("the clock is eight hours ahead", Act::Clock(8 * 3600)),
    ("the clock is eight hours behind", Act::Clock(-8 * 3600)),
    ("the clock is a minute ahead", Act::Clock(60)),
    ("the clock is a minute behind", Act::Clock(-60)),
    ("the clock is a year ahead", Act::Clock(365 * 86_400)),
    ("the clock is in 1970", Act::Clock(-1_700_000_000)),
    ("the configuration is read again", Act::Reload),
];

/// All of them; those of handshakes where upstream is encrypted.
pub(crate) fn all(encrypted: bool) -> Vec<Fault> {
    let handshakes = if encrypted { HANDSHAKES } else { &[] };
    [KILLS, DISK, SOURCES, NETWORK, CLOCK, handshakes].concat()
}
