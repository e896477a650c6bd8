//! The site that is measured: the configuration of the simulated hospital, in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hisync::sandbox::hospital::{DemoConfig, Peis, write_config};
use tempfile::TempDir;

use crate::Failure;

/// Signs what is sent; the sink does not check it.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Which systems the agent is connected with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Systems {
    /// The laboratory alone, so that nothing but its messages is counted.
    Laboratory,
    /// The laboratory and the exam system, whose catalogue is read every five minutes.
    Both,
}

/// A folder with a configuration, and room for a store.
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) config: PathBuf,
}

impl Site {
    /// Lays out a site that delivers to `upstream`.
    pub(crate) fn new(dir: &Path, upstream: SocketAddr, systems: Systems) -> Result<Site, Failure> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(dir)?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let database = folder.path().join("peis.db");
        drop(Peis::create(&database)?);
        let demo = DemoConfig {
            upstream_url: format!("http://{upstream}"),
            secret: SECRET.to_owned(),
            admin_listen: free,
            mllp_listen: free,
            database,
            data_dir: folder.path().join("data"),
        };
        let config = write_config(folder.path(), &demo)?;
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, adapted(&text, systems)?)?;
        Ok(Site { folder, config })
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The demo reads each second and reports each five; a hospital does not.
fn adapted(text: &str, systems: Systems) -> Result<String, Failure> {
    let text =
        text.replace("\"* * * * * *\"", "\"0 */5 * * * *\"").replace("heartbeat_secs = 5", "heartbeat_secs = 60");
    if systems == Systems::Both {
        return Ok(text);
    }
    let missing = "the configuration of the simulated hospital has another shape than expected";
    let exams = text.find("[[sources]]\nid = \"peis\"").ok_or(missing)?;
    let laboratory = text.find("[[sources]]\nid = \"lab\"").ok_or(missing)?;
    Ok(format!("{}{}", &text[..exams], &text[laboratory..]))
}

/// An address where nobody listens: connections to it are refused.
pub(crate) fn nobody() -> Result<SocketAddr, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
