//! Runs every case under `fixtures/odbc`: what is sent to each product, as text.
//!
//! A case says how the product is connected to, what its session is told, and every query of a scan
//! in two pages, of a snapshot and of a probe. Most of these products have no free server to test
//! with; what stands here was written from their manuals. `HISYNC_BLESS=1` writes what was sent.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::NaiveDateTime;
use connector_api::{Column, Discovered, Poller, Request, SourceError, Value, Watermark, async_trait};
use connector_odbc::{OdbcSettings, Preset};
use connector_sql::{Dialect, Plan, Query, RelationalClient, Row, Rows, SqlPoller, TableStream};
use connector_testkit::cases;
use serde_json::{Value as Json, json};

/// Writes down what it is asked, and answers so that the scan goes on.
struct Recorder {
    preset: &'static Preset,
    asked: Arc<Mutex<Vec<Json>>>,
    columns: Vec<String>,
}

#[async_trait]
impl RelationalClient for Recorder {
    fn dialect(&self) -> &dyn Dialect {
        self.preset
    }

    async fn query(&mut self, query: &Query) -> Result<Rows, SourceError> {
        let params: Vec<String> = query.params.iter().map(|value| format!("{:?}", self.preset.param(value))).collect();
        self.asked.lock().unwrap().push(json!({ "sql": query.sql, "params": params }));
        let rows = |columns: &[String], rows: Vec<Vec<Value>>| Rows {
            columns: columns.iter().map(|name| name.as_str().into()).collect(),
            rows: rows.into_iter().map(|values| Row { values, broken: Vec::new() }).collect(),
        };
        let one = ["n".to_owned()];
        if query.sql.contains(" HAVING ") {
            return Ok(rows(&one, Vec::new()));
        }
        if query.sql.contains("COUNT(*)") {
            return Ok(rows(&one, vec![vec![Value::Integer(3)]]));
        }
        let stamp = Value::Time("2024-01-02T08:00:00".parse().unwrap());
        if query.sql.contains(" DESC") {
            return Ok(rows(&one, vec![vec![stamp]]));
        }
        if query.sql.contains("TJ_MX") {
            return Ok(rows(&["TJBH", "BGXH", "XH"].map(str::to_owned), Vec::new()));
        }
        let value = |name: &str, at: i64| match name {
            "GXSJ" => stamp.clone(),
            "序号" => Value::Integer(at),
            _ => Value::Text(format!("{at}")),
        };
        let row = |at: i64| self.columns.iter().map(|name| value(name, at)).collect();
        // Two rows where a page of one row was asked for: there is more.
        Ok(rows(&self.columns, vec![row(1), row(2)]))
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn end(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    async fn reset(&mut self) {}

    async fn server(&mut self) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    async fn now_utc(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        Ok(None)
    }

    async fn now_local(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        Ok(None)
    }

    async fn tables(&mut self) -> Result<Vec<Discovered>, SourceError> {
        Ok(Vec::new())
    }

    async fn columns(&mut self, _: &str) -> Result<Option<Vec<Column>>, SourceError> {
        let names = self.columns.iter().map(String::as_str).chain(["ZT", "BGXH", "XH", "TJBH"]);
        Ok(Some(names.map(|name| Column { name: name.to_owned(), ..Column::default() }).collect()))
    }
}

async fn sent(preset: &'static Preset, stream: &toml::Table) -> Json {
    let mut own = stream.clone();
    ["id", "entity", "mode"].iter().for_each(|key| drop(own.remove(*key)));
    let settings: TableStream = toml::Value::Table(own).try_into().unwrap();
    let names = ["姓名", "TJBH", "序号", "GXSJ"];
    let incremental = stream["mode"].as_str() == Some("incremental");
    let columns = if incremental { names.map(str::to_owned).to_vec() } else { vec!["TCDM".to_owned()] };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let client = Recorder { preset, asked: Arc::clone(&asked), columns };
    let mut poller = SqlPoller::new(client, Plan::new(settings, connector_testkit::ZONE));
    if incremental {
        let at = Watermark::at(vec![
            Value::Time("2024-01-02T09:00:00.5".parse().unwrap()),
            Value::from("1"),
            Value::Integer(1),
        ]);
        let first = poller.fetch(Request::Changes { from: &at, after: None }, 1).await.unwrap();
        poller.fetch(Request::Changes { from: &at, after: first.next.as_ref() }, 1).await.unwrap();
    } else {
        poller.fetch(Request::Snapshot { after: None }, 1).await.unwrap();
        poller.fetch(Request::Snapshot { after: None }, 10).await.unwrap();
    }
    poller.probe().await.unwrap();
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    Json::Array(asked)
}

#[tokio::test]
async fn every_case_is_spelled_as_expected() {
    let cases = cases(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/odbc"));
    assert!(cases.len() >= 9, "a case for each product");
    for case in cases {
        let table: toml::Table = toml::from_str(&case.text("source.toml")).unwrap();
        let source = &table["sources"][0];
        let settings: OdbcSettings = source["settings"].clone().try_into().unwrap();
        let preset = settings.product.preset();
        let mut streams = serde_json::Map::new();
        for stream in source["streams"].as_array().unwrap() {
            let stream = stream.as_table().unwrap();
            streams.insert(stream["id"].as_str().unwrap().to_owned(), sent(preset, stream).await);
        }
        case.expect(&json!({
            "connection": settings.connection_string(preset, Some("…")),
            "environment": preset.environment,
            "session": preset.session(settings.query_timeout_secs, preset.time_zone.map(|_| "+08:00")),
            "begin": preset.begin,
            "server": preset.server,
            "now": [preset.now, preset.now_local],
            "tables": preset.tables,
            "text check": [preset.text_check, preset.rare_check],
            "streams": streams,
        }));
    }
}
