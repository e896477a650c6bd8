//! A panic is a bug in hisync: said so, with what helps to report it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use super::Exit;

/// Runs `work`; a panic that nobody inside it caught ends in [`Exit::Bug`] and says how to report it.
///
/// Every panic is written to stderr with its place. Its message may quote data of a person, so it is
/// shown only where RUST_BACKTRACE asks for everything.
pub fn guarded(work: impl FnOnce() -> ExitCode) -> ExitCode {
    let usual = std::panic::take_hook();
    let all = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
        if all {
            usual(panic);
        }
    }));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        eprintln!(
            "hisync {}: this is a bug in hisync. Please report it with the place above, the command line (no data of \
             persons) and what RUST_BACKTRACE=1 shows.",
            env!("CARGO_PKG_VERSION")
        );
        Exit::Bug.into()
    })
}
