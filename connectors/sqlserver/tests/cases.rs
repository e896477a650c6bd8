//! Runs every case under `fixtures/sqlserver`: data made by `input.sql`, read as `source.toml` says,
//! in pages of every size, must give what `expected.json` holds.

#![allow(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::path::Path;

use connector_sqlserver::SqlServer;
use connector_testkit::cases;
use connector_testkit::tables::read_case;

#[tokio::test]
async fn every_case_reads_as_expected() {
    for case in cases(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sqlserver")) {
        let server = support::server();
        server.execute(&case.text("input.sql"));
        let source = case.text("source.toml").replace("PORT", &server.port().to_string());
        for limit in [100, 2, 1] {
            case.expect(&read_case::<SqlServer>(&source, server.folder(), limit).await);
        }
    }
}
