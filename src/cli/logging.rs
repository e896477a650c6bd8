//! Log lines on stderr.

use tracing_subscriber::EnvFilter;

use super::LogFormat;

/// The variable that says what is logged.
const VARIABLE: &str = "HISYNC_LOG";

/// Starts logging. A filter that can't be read is an error: a typing mistake must not silence a log.
pub(super) fn init(format: LogFormat, verbose: u8, default: &str, colour: bool) -> Result<(), String> {
    let default = match verbose {
        0 => default,
        1 => "info,hisync=debug",
        _ => "debug,hisync=trace",
    };
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| format!("{VARIABLE}={text:?} can't be read: {error}"))?
        }
        _ => EnvFilter::new(default),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let started = match format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging can't be started: {error}"))
}
