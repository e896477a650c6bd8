//! The process in which hisync runs an ODBC driver.
//!
//! It links unixODBC, so that the agent does not; it loads drivers that may crash, leak or hang, so
//! that the agent does not. It answers the agent's requests on its standard input one at a time,
//! writes nothing but answers, and ends when its input ends: it never outlives the agent.

mod fetch;
mod session;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use connector_odbc::wire::{Fault, Reply, Request, Stage, VERSION, frame_length};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

use crate::session::Session;

/// How long the driver may take to disconnect when the agent has gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// Before it is told how long, it waits so long for its first request.
const FIRST_IDLE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        return match argument.as_str() {
            "--version" => say(&format!("hisync-odbc {}\n", env!("CARGO_PKG_VERSION"))),
            _ => say("hisync starts this program for its ODBC sources; it takes no arguments.\n"),
        };
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn say(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    // A core file would hold what was read.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let input = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?);
    let mut output = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), 3)?);
    // What a driver prints must neither mix with the answers nor reach a log.
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    let (sender, requests) = sync_channel(1);
    std::thread::Builder::new()
        .name("requests".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || listen(input, &sender))?;
    output.write_all(&Reply::Hello(VERSION).to_frame()?)?;
    answer(&requests, &mut output)
}

/// Reads requests, also while a driver hangs: the end of the input is the agent's end.
fn listen(mut input: File, requests: &SyncSender<Request>) {
    while let Ok(request) = read_request(&mut input) {
        if requests.send(request).is_err() {
            return;
        }
    }
    let _ = requests.try_send(Request::Quit);
    std::thread::sleep(FAREWELL);
    // Not `exit`: that would run the driver's own code, which may be what hangs.
    let _ = kill_process(getpid(), Signal::KILL);
}

fn read_request(input: &mut File) -> io::Result<Request> {
    let mut head = [0; 4];
    input.read_exact(&mut head)?;
    let mut frame = vec![0; frame_length(head)?];
    input.read_exact(&mut frame)?;
    Request::from_frame(&frame)
}

fn answer(requests: &Receiver<Request>, output: &mut File) -> io::Result<()> {
    let mut session = Session::default();
    loop {
        let idle = session.idle().unwrap_or(FIRST_IDLE);
        let request = match requests.recv_timeout(idle) {
            Ok(Request::Quit) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                session.disconnect();
                return Ok(());
            }
            Ok(request) => request,
        };
        let mut send = |reply: Reply| output.write_all(&reply.to_frame()?);
        // Drivers that break ODBC's rules make the library panic; the process is not trusted after.
        let done = catch_unwind(AssertUnwindSafe(|| session.run(request, &mut send)));
        match done {
            Ok(Ok(())) => output.write_all(&Reply::Done.to_frame()?)?,
            Ok(Err(session::Failure::Pipe(error))) => return Err(error),
            Ok(Err(session::Failure::Driver(fault))) => output.write_all(&Reply::Fault(fault).to_frame()?)?,
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                let message = format!("the driver broke a rule of ODBC: {said}").into_bytes();
                let fault = Fault { stage: Stage::Process, state: String::new(), native: 0, message };
                output.write_all(&Reply::Fault(fault).to_frame()?)?;
                return Ok(());
            }
        }
    }
}
