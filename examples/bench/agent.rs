//! The real agent in its own process, and what the system says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hisync::agent::AgentFile;
use serde_json::Value;

use crate::Failure;
use crate::helper::Process;
use crate::site::Site;

/// Longer than any start should take; a start that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The unit of process times on Linux, whatever the kernel's own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running agent; it is killed when this goes.
pub(crate) struct Agent {
    process: Process,
    admin: SocketAddr,
    http: reqwest::Client,
    /// From the start of the process to the first good answer of `/ready`.
    pub(crate) start: Duration,
}

impl Agent {
    /// Starts `hisync run` and waits until it is ready.
    pub(crate) async fn start(program: &Path, site: &Site) -> Result<Agent, Failure> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let log = std::fs::File::create(site.path().join("agent.log"))?;
        // The file of an earlier run would name an address where nobody listens any more.
        let _ = std::fs::remove_file(site.data_dir().join(hisync::agent::AGENT_FILE));
        let began = Instant::now();
        let process = Command::new(program)
            .arg("run")
            .arg("-c")
            .arg(&site.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let process = Process(process);
        let admin = loop {
            match AgentFile::read(&site.data_dir()) {
                Some(file) => break file.admin,
                None if began.elapsed() > PATIENCE => return Err("the agent did not start; see its log".into()),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let mut agent = Agent { process, admin, http, start: Duration::ZERO };
        while !agent.is_ready().await {
            if began.elapsed() > PATIENCE {
                return Err("the agent did not become ready".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        agent.start = began.elapsed();
        Ok(agent)
    }

    async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("http://{}/ready", self.admin)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What `/api/status` says.
    pub(crate) async fn status(&self) -> Result<Value, Failure> {
        let answer = self.http.get(format!("http://{}/api/status", self.admin)).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Where it receives HL7 messages.
    pub(crate) async fn receiver(&self) -> Result<SocketAddr, Failure> {
        let status = self.status().await?;
        let streams = status["streams"].as_array().ok_or("the status names no streams")?;
        let endpoint = streams.iter().find_map(|stream| stream["endpoint"].as_str()).ok_or("no stream listens")?;
        Ok(endpoint.parse()?)
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// CPU time of all its threads so far, user and system, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, Failure> {
        cpu_seconds(self.process.0.id())
    }

    fn proc(&self, name: &str) -> Result<String, Failure> {
        let pid = self.process.0.id();
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{name}"))?)
    }
}

/// CPU time of all threads of a process so far, user and system, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold spaces; what follows it does not.
    let (_, fields) = stat.rsplit_once(')').ok_or("no process name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).ok_or("no process times");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
