//! One `hisync-odbc` process: started, spoken with, killed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wire::{Reply, Request, frame_length};

/// The program's name.
const PROGRAM: &str = "hisync-odbc";

/// What drivers need of the agent's own environment. The rest is none of their business: it may
/// hold secrets.
const INHERITED: [&str; 15] = [
    "PATH",
    "HOME",
    "USER",
    "TMPDIR",
    "TZ",
    "ODBCINI",
    "ODBCSYSINI",
    "ODBCINSTINI",
    "LD_LIBRARY_PATH",
    "ORACLE_HOME",
    "TNS_ADMIN",
    "KRB5_CONFIG",
    "KRB5CCNAME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// How long a process that closed its pipe, or was killed, may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(3);

/// A process, and the two pipes to it. Dropping it ends it: at once where it owes an answer, else
/// by the end of its input.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    owes: bool,
}

/// Where the program is: as the settings say, else beside the agent, else wherever PATH says.
pub(crate) fn program(configured: Option<&Path>, base_dir: &Path) -> PathBuf {
    if let Some(path) = configured {
        // A name alone is looked up in PATH.
        return if path.components().count() > 1 { base_dir.join(path) } else { path.to_owned() };
    }
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| own.parent().map(|folder| folder.join(PROGRAM)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}

impl Process {
    /// Starts the program. It says [`Reply::Hello`] before anything else.
    pub(crate) fn start(program: &Path, variables: &BTreeMap<String, String>) -> io::Result<Process> {
        let mut command = Command::new(program);
        command.env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A second thread must not double the address space that the memory limit counts.
        command.env("MALLOC_ARENA_MAX", "2").envs(variables);
        // Without it drivers hand over raw GBK, or question marks.
        command.env("LC_ALL", "C.UTF-8");
        // What it prints might be a patient's; its own group takes what it starts along.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).current_dir("/");
        let mut child = command.spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("a pipe is missing"))?;
        Ok(Process { child, input, output: BufReader::with_capacity(64 * 1024, output), owes: true })
    }

    /// Asks something. It owes answers until [`Process::answered`].
    pub(crate) async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.owes = true;
        self.input.write_all(&request.to_frame()?).await?;
        self.input.flush().await
    }

    /// The next reply.
    pub(crate) async fn receive(&mut self) -> io::Result<Reply> {
        let mut head = [0; 4];
        self.output.read_exact(&mut head).await?;
        let mut frame = vec![0; frame_length(head)?];
        self.output.read_exact(&mut frame).await?;
        Reply::from_frame(frame)
    }

    /// What was asked is answered.
    pub(crate) fn answered(&mut self) {
        self.owes = false;
    }

    /// How it ended, after its pipe broke; it is killed where it has not.
    pub(crate) async fn end(mut self) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(LAST_BREATH, self.child.wait()).await {
            return status.ok();
        }
        self.destroy().await
    }

    /// Kills it and what it started, and waits until it is gone. One that the kernel can't end yet,
    /// because a disk or a share does not answer, is left to be reaped when it is.
    pub(crate) async fn destroy(mut self) -> Option<ExitStatus> {
        self.kill();
        tokio::time::timeout(LAST_BREATH, self.child.wait()).await.ok()?.ok()
    }

    fn kill(&self) {
        // `None` once it was waited for: then the number may be another's.
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that owes nothing waits for its next request, and sees its input end.
        if self.owes {
            self.kill();
        }
    }
}
