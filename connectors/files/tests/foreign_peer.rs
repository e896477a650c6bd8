//! Files that programs of others write while the watcher runs: openpyxl and dbf of Python.
//!
//! `HISYNC_PYTHON` names a Python interpreter with these packages; the project's test command sets
//! one up and names it.

mod support;

use std::process::Stdio;

use connector_api::Value;
use serde_json::{Value as Json, json};
use support::{Kept, Place, config};
use tokio::process::Command;

const WRITER: &str = r#"
import datetime, openpyxl, dbf

def done(name):
    open(name + ".ok", "w").close()

day = datetime.date(2026, 11, 22)
book = openpyxl.Workbook()
sheet = book.active
sheet.append(["体检号", "姓名", "日期", "结果", "身份证"])
sheet.append(["0301170001", "张三", day, 1.3, "110101199001011234"])
sheet["D2"].number_format = "0.00"
sheet.append(["0301170002", "李四", day, 0.1 + 0.2, 110101199001011234])
book.save("a.xlsx"); done("a.xlsx")

for kind, name in [("db3", "table_c.dbf"), ("fp", "table_d.dbf"), ("vfp", "table_e.dbf")]:
    table = dbf.Table(name, "TJBH C(10); XM C(12); RQ D; JG N(8,2); JL M", codepage="cp936", dbf_type=kind)
    table.open(dbf.READ_WRITE)
    table.append(("0301170004", "赵倈", dbf.Date(2026, 11, 22), 1.3, "未见明显异常"))
    table.append(("0301170005", "钱"))
    table.close()
    done(name)
"#;

#[tokio::test]
async fn spreadsheets_and_dbase_tables_of_other_programs_are_read() {
    let python = std::env::var_os("HISYNC_PYTHON").expect(
        "HISYNC_PYTHON names no Python interpreter with openpyxl and dbf: run the project's test command \
         `just test`",
    );
    let place = Place::new();
    let intake = Kept::all();
    let stream = |id: &str, files: &str, format: &str| {
        format!("[[sources.streams]]\nid = \"{id}\"\nmode = \"push\"\nfiles = [\"{files}\"]\nformat = {{ {format} }}\n")
    };
    let marker = "complete = { type = \"marker\", suffix = \".ok\" }";
    let text = config(marker)
        + &stream("sheets", "*.xlsx", "type = \"sheet\", text_columns = [\"体检号\"]")
        + &stream("tables", "*.dbf", "type = \"dbf\"");
    let running = place.start(&text, intake.clone()).await;
    let output = Command::new(python)
        .args(["-c", WRITER])
        .current_dir(place.inbox())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["a.xlsx.ok", "table_c.dbf.ok", "table_d.dbf.ok", "table_e.dbf.ok"] {
        place.arrives("done", name).await;
    }
    running.stopped().await;
    let decoder = place.decoder(&text);
    let mut shown: Vec<(String, Json)> = Vec::new();
    for (stream, record) in intake.stored() {
        let value = match &record.document {
            Ok(document) => {
                assert_eq!(decoder.decode(&record.raw).as_ref(), Ok(document));
                Json::from(&Value::Map(document.root.clone()))
            }
            Err(failure) => json!(failure.code),
        };
        shown.push((stream.unwrap().as_str().to_owned(), value));
    }
    let of = |stream: &str| -> Vec<&Json> {
        shown.iter().filter(|(own, _)| own == stream).map(|(_, value)| value).collect()
    };
    let first = json!({
        "体检号": "0301170001", "姓名": "张三", "日期": "2026-11-22", "结果": "1.30", "身份证": "110101199001011234",
    });
    assert_eq!(of("export/sheets"), [&first, &json!("sheet-digits")]);
    let full = json!({"TJBH": "0301170004", "XM": "赵倈", "RQ": "2026-11-22", "JG": "1.30", "JL": "未见明显异常"});
    let bare = json!({"TJBH": "0301170005", "XM": "钱", "RQ": null, "JG": null, "JL": null});
    assert_eq!(of("export/tables"), [&full, &bare, &full, &bare, &full, &bare]);
    let left: Vec<String> = place.names(".").into_iter().filter(|name| !name.ends_with(".ok")).collect();
    assert_eq!(left, [""; 0], "memo files go with their tables");
}
