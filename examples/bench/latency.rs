//! The way upstream when nothing else is to be done: from the acknowledgement that a sender gets until upstream has
//! the whole request, against the least of it: one fsync and one HTTP round trip.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use hisync::sandbox::hospital::oru_messages;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::figures::{Aim, Figures, quantile};
use crate::sender::Connection;
use crate::site::{Site, Systems};
use crate::{Failure, Scale, sink};

/// Between two messages, so that each finds the agent idle.
const PAUSE: Duration = Duration::from_millis(20);

/// An event that has not arrived by then never will.
const PATIENCE: Duration = Duration::from_secs(30);

/// About the size of a batch of one message, compressed.
const BODY: usize = 4096;

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let (upstream, mut arrivals) = Upstream::start().await?;
    let site = Site::new(&scale.dir, upstream.address, Systems::Laboratory)?;
    let agent = Agent::start(&scale.hisync, &site).await?;
    let mut sender = Connection::open(agent.receiver().await?).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut file = tempfile::tempfile_in(&scale.dir)?;
    let (mut ways, mut least) = (Vec::new(), Vec::new());
    for message in oru_messages(1, scale.timed) {
        tokio::time::sleep(PAUSE).await;
        while arrivals.try_recv().is_ok() {}
        sender.send(&message).await?;
        let acknowledged = Instant::now();
        let arrived = timeout(PATIENCE, arrivals.recv()).await?.ok_or("upstream has ended")?;
        // It may arrive before the acknowledgement does.
        ways.push(micros(arrived.saturating_duration_since(acknowledged)));
        tokio::time::sleep(PAUSE).await;
        least.push(micros(fsync(&mut file)? + round_trip(&http, upstream.address).await?));
    }
    let ratio = quantile(&ways, 0.99) / quantile(&least, 0.99);
    figures.plain("upstream_median", "µs from ACK to arrival", &[quantile(&ways, 0.5)], Aim::None);
    figures.plain("upstream_p99", "µs from ACK to arrival", &[quantile(&ways, 0.99)], Aim::None);
    figures.plain("least_p99", "µs, fsync and round trip", &[quantile(&least, 0.99)], Aim::None);
    figures.plain("upstream_latency", "× the least, p99 each", &[ratio], Aim::AtMost(2.0));
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn fsync(file: &mut File) -> std::io::Result<Duration> {
    let began = Instant::now();
    file.write_all(&[7; BODY])?;
    file.sync_data()?;
    Ok(began.elapsed())
}

async fn round_trip(http: &reqwest::Client, upstream: SocketAddr) -> Result<Duration, reqwest::Error> {
    let began = Instant::now();
    http.post(format!("http://{upstream}/nothing")).body(vec![7; BODY]).send().await?.bytes().await?;
    Ok(began.elapsed())
}

/// An upstream in this process, which tells when a batch is here; it stores nothing.
struct Upstream {
    address: SocketAddr,
    _server: JoinSet<std::io::Result<()>>,
}

impl Upstream {
    async fn start() -> Result<(Upstream, mpsc::Receiver<Instant>), Failure> {
        let (tell, arrivals) = mpsc::channel(64);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/v1/events", post(take))
            .route("/v1/heartbeats", post(|| async {}))
            .route("/nothing", post(|_: Bytes| async {}))
            .with_state(tell);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        Ok((Upstream { address, _server: server }, arrivals))
    }
}

async fn take(State(tell): State<mpsc::Sender<Instant>>, headers: HeaderMap, body: Bytes) -> Response {
    // Where nobody asks any more, nobody is told.
    let _ = tell.try_send(Instant::now());
    sink::answer(&headers, &body)
}
