//! The configuration with which the agent reads the simulated hospital.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use toml::Value;

use super::soap::PASSWORD;

const TEMPLATE: &str = include_str!("demo.toml");
/// The sources that need more than a database and a port.
const ELSEWHERE: &str = include_str!("demo-elsewhere.toml");

macro_rules! mapping_files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../", $path)))),*]
    };
}

/// The mappings and code tables, by their place beside the configuration file.
pub const MAPPING_FILES: &[(&str, &str)] = mapping_files![
    "mappings/demo-peis/exam_item.toml",
    "mappings/demo-peis/exam_item_group.toml",
    "mappings/demo-peis/exam_package.toml",
    "mappings/demo-peis/exam_report.toml",
    "mappings/demo-peis/codes/applicable_sex.csv",
    "mappings/demo-peis/codes/exam_kind.csv",
    "mappings/demo-peis/codes/flag.csv",
    "mappings/demo-peis/codes/marital.csv",
    "mappings/demo-peis/codes/order_state.csv",
    "mappings/demo-peis/codes/report_status.csv",
    "mappings/demo-peis/codes/sex.csv",
    "mappings/demo-lab/exam_report.toml",
    "mappings/demo-lab/codes/flag.csv",
    "mappings/demo-outlab/exam_report.toml",
    "mappings/demo-outlab/codes/report_status.csv",
    "mappings/demo-imaging/exam_report.toml",
];

/// What differs from one demo to the next.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// The upstream's base URL.
    pub upstream_url: String,
    /// The secret with which events are signed (Standard Webhooks). Written to a file of its own that
    /// only its owner may read, since configurations hold no secrets.
    pub secret: String,
    /// Where the admin API and the status page listen; port 0 takes a free one.
    pub admin_listen: SocketAddr,
    /// Where the laboratory's messages are received; port 0 takes a free one.
    pub mllp_listen: SocketAddr,
    /// The PEIS's database file.
    pub database: PathBuf,
    /// The folder of the agent's store.
    pub data_dir: PathBuf,
}

/// The two systems outside the checkup centre's own network, where a demo has them.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The web service of the outside laboratory.
    pub outlab_url: String,
    /// The day whose reports it has.
    pub day: NaiveDate,
    /// The folder into which the electrocardiogram system drops its tables.
    pub inbox: PathBuf,
}

/// What went wrong in writing a demo's configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder could not be written.
    #[error("write {path:?}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Writes `hisync.toml`, its secret, mappings and code tables into a folder, replacing those that are
/// there, and returns the path of `hisync.toml`. The agent reads the PEIS and the laboratory.
pub fn write_config(dir: &Path, demo: &DemoConfig) -> Result<PathBuf, ConfigError> {
    write_all(dir, demo, filled(TEMPLATE, &values(demo)))
}

/// The same with all four systems.
pub fn write_whole_config(dir: &Path, demo: &DemoConfig, elsewhere: &Elsewhere) -> Result<PathBuf, ConfigError> {
    write(&dir.join("outlab.secret"), PASSWORD, 0o600)?;
    let more = [
        ("@outlab_url@", Value::from(elsewhere.outlab_url.as_str())),
        ("@outlab_secret@", Value::from("outlab.secret")),
        ("@day@", Value::from(elsewhere.day.to_string())),
        ("@inbox@", text(&elsewhere.inbox)),
    ];
    write_all(dir, demo, filled(TEMPLATE, &values(demo)) + &filled(ELSEWHERE, &more))
}

fn write_all(dir: &Path, demo: &DemoConfig, text: String) -> Result<PathBuf, ConfigError> {
    for (name, content) in MAPPING_FILES {
        write(&dir.join(name), content, 0o644)?;
    }
    write(&dir.join("upstream.secret"), &demo.secret, 0o600)?;
    let config = dir.join("hisync.toml");
    write(&config, &text, 0o644)?;
    Ok(config)
}

fn text(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}

fn values(demo: &DemoConfig) -> [(&'static str, Value); 7] {
    [
        ("@upstream_url@", Value::from(demo.upstream_url.as_str())),
        ("@secret_file@", Value::from("upstream.secret")),
        ("@admin_listen@", Value::from(demo.admin_listen.to_string())),
        // Nobody real is in a demo: whoever names an address may show it to others.
        ("@admin_remote@", Value::from(!demo.admin_listen.ip().is_loopback())),
        ("@mllp_listen@", Value::from(demo.mllp_listen.to_string())),
        ("@database@", text(&demo.database)),
        ("@data_dir@", text(&demo.data_dir)),
    ]
}

fn filled(template: &str, values: &[(&str, Value)]) -> String {
    // `toml` quotes and escapes, so no path can break out of its string.
    values.iter().fold(template.to_owned(), |text, (mark, value)| text.replace(mark, &value.to_string()))
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), ConfigError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    let failed = |source| ConfigError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)
}
