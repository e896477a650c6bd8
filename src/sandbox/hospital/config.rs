//! The configuration with which the agent reads the simulated hospital.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Value;

const TEMPLATE: &str = include_str!("demo.toml");

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
/// there, and returns the path of `hisync.toml`.
pub fn write_config(dir: &Path, demo: &DemoConfig) -> Result<PathBuf, ConfigError> {
    for (name, content) in MAPPING_FILES {
        write(&dir.join(name), content, 0o644)?;
    }
    write(&dir.join("upstream.secret"), &demo.secret, 0o600)?;
    let config = dir.join("hisync.toml");
    write(&config, &filled(demo), 0o644)?;
    Ok(config)
}

fn filled(demo: &DemoConfig) -> String {
    let path = |path: &Path| Value::from(path.to_string_lossy().into_owned());
    let values = [
        ("@upstream_url@", Value::from(demo.upstream_url.as_str())),
        ("@secret_file@", Value::from("upstream.secret")),
        ("@admin_listen@", Value::from(demo.admin_listen.to_string())),
        // Nobody real is in a demo: whoever names an address may show it to others.
        ("@admin_remote@", Value::from(!demo.admin_listen.ip().is_loopback())),
        ("@mllp_listen@", Value::from(demo.mllp_listen.to_string())),
        ("@database@", path(&demo.database)),
        ("@data_dir@", path(&demo.data_dir)),
    ];
    // `toml` quotes and escapes, so no path can break out of its string.
    values.into_iter().fold(TEMPLATE.to_owned(), |text, (mark, value)| text.replace(mark, &value.to_string()))
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
