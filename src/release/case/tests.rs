//! Records of every form, and nobody left in them.

use connector_api::Decoder as _;
use connector_formats::{hl7::Hl7Decoder, text::TextPolicy, xml::XmlDecoder, xml::XmlRules};

use super::*;
use crate::model::{EntityKey, EntityType, Mapped, Wish};

const KEY: [u8; 32] = [3; 32];
/// A person of no area, who does not exist.
const REAL: [&str; 6] = ["欧阳试一", "999999198806010019", "15400001234", "0301170001", "1988-06-01", "2026-11-20"];

fn mapping() -> Mapping {
    struct Texts;
    impl crate::mapping::Files for Texts {
        fn read(&self, path: &std::path::Path) -> std::io::Result<String> {
            std::fs::read_to_string(path)
        }
    }
    let path = std::path::Path::new("mappings/relational-peis/exam_report.toml");
    Mapping::compile(path, EntityType::ExamReport, &Texts).unwrap()
}

/// What a mapping made of the person's report.
fn outcomes() -> Vec<Outcome> {
    let data = serde_json::json!({
        "examinee": { "name": REAL[0], "id_number": REAL[1], "phone": REAL[2], "birth_date": REAL[4], "sex": "male",
                      "sex_raw": "男", "examinee_key": "DA000017" },
        "visit": { "exam_no": REAL[3], "visit_key": REAL[3] },
        "concluded_by": "总检医生甲",
        "groups": [{ "group_code": "0012", "group_name": "肝功能", "items": [
            { "item_code": "000101", "item_name": "谷丙转氨酶", "value_raw": "23.0", "unit_raw": "U/L" }] }],
        "conclusions": [{ "text": "欧阳试一：血压升高，2026-11-20 复查" }],
    });
    let key = EntityKey::new(EntityType::ExamReport, "main:peis:0301170001");
    let data = serde_json::to_vec(&data).unwrap();
    vec![Outcome::Mapped(Mapped::new(key, Wish::Present, data, vec![REAL[3].to_owned()]))]
}

fn recorded(raw: &Raw, decoder: &dyn Decoder) -> (RecordedCase, String) {
    let case = record_case(raw, decoder, &mapping(), &outcomes(), KEY).unwrap();
    let text = String::from_utf8(case.input.clone()).unwrap();
    for real in REAL.iter().chain(&["总检医生甲", "DA000017", "李家属", "朝阳路一号"]) {
        assert!(!text.contains(real), "{real} is left in {text}");
    }
    (case, text)
}

fn document(json: serde_json::Value) -> Raw {
    let document = connector_formats::json::document(&json.to_string()).unwrap();
    Raw { format: DOCUMENT_FORMAT.to_owned(), charset: None, body: document.to_bytes().into() }
}

#[test]
fn a_row_loses_its_person_and_keeps_its_results() {
    let raw = document(serde_json::json!({
        "TJBH": REAL[3], "XM": REAL[0], "XB": "男", "SFZH": REAL[1], "SJH": REAL[2], "CSRQ": REAL[4],
        "TJRQ": REAL[5], "ZJYS": "总检医生甲", "LXR": "李家属", "DZ": "北京市朝阳路一号", "BZ": format!("{}的家属来取", REAL[0]),
        "items": [{ "MXDM": "000101", "MXMC": "谷丙转氨酶", "JG": "23.0", "DW": "U/L" }],
        "ZJ": "欧阳试一：血压升高，2026-11-20 复查",
    }));
    let (case, text) = recorded(&raw, &connector_api::DocumentDecoder);
    assert_eq!(case.ending, "json");
    for kept in ["000101", "谷丙转氨酶", "23.0", "U/L", "男", "血压升高", "复查"] {
        assert!(text.contains(kept), "{kept} is gone from {text}");
    }
    // One person, one other person: in the column and in the doctor's text.
    let document = Document::from_bytes(&case.input).unwrap();
    let name = document.root.get("XM").and_then(Value::as_text).unwrap().to_owned();
    let said = document.root.get("ZJ").and_then(Value::as_text).unwrap();
    assert!(said.starts_with(&format!("{name}：血压升高")), "{said}");
    // Dates go back together.
    let date = |column: &str| -> chrono::NaiveDate {
        document.root.get(column).and_then(Value::as_text).unwrap().parse().unwrap()
    };
    let apart = |one: &str, other: &str| {
        let read = |text: &str| text.parse::<chrono::NaiveDate>().unwrap();
        read(other) - read(one)
    };
    assert_eq!(date("TJRQ") - date("CSRQ"), apart(REAL[4], REAL[5]));
    let again = record_case(&raw, &connector_api::DocumentDecoder, &mapping(), &outcomes(), KEY).unwrap();
    assert_eq!(again.input, case.input, "the same key, the same case");
}

#[test]
fn a_message_and_a_page_stay_what_they_are() {
    let [name, _, phone, number, ..] = REAL;
    let hl7 = [
        "MSH|^~\\&|LIS|H|HISYNC|H|20261120093000||ORU^R01|C1|P|2.4|||||CHN|UNICODE UTF-8".to_owned(),
        format!("PID|1||{number}||{name}^^||19880601|M|||北京市朝阳路一号||{phone}"),
        format!("OBR|1||{number}|0012^肝功能"),
        "OBX|1|NM|000101^谷丙转氨酶||23.0|U/L|9-50|N|||F\r".to_owned(),
    ]
    .join("\r");
    let decoder = Hl7Decoder::default();
    let raw =
        Raw { format: connector_formats::hl7::FORMAT.to_owned(), charset: Some("utf-8".to_owned()), body: hl7.into() };
    assert!(decoder.decode(&raw).is_ok());
    let (_, text) = recorded(&raw, &decoder);
    assert!(text.contains("谷丙转氨酶") && text.contains("23.0"), "{text}");
    let xml = format!(
        "<REPORT><TJBH>{number}</TJBH><XM>{name}</XM><CSRQ>19880601</CSRQ><LXR>李家属</LXR><JG>23.0</JG>\
         <ZJ>{name}：血压升高，2026-11-20 复查</ZJ></REPORT>"
    );
    let decoder = XmlDecoder::new(TextPolicy::default(), XmlRules::default());
    let raw = Raw { format: connector_formats::xml::FORMAT.to_owned(), charset: None, body: xml.into() };
    let (_, text) = recorded(&raw, &decoder);
    assert!(text.contains("23.0") && text.contains("血压升高"), "{text}");
}

#[test]
fn files_become_empty_and_what_is_left_is_found() {
    let mut root = Map::new();
    root.push("XM", REAL[0]);
    root.push("PDF", Value::Bytes(format!("%PDF-1.4 {}", REAL[0]).into_bytes()));
    root.push("TP", Value::Text("QUJD".repeat(200)));
    let raw = Raw { format: DOCUMENT_FORMAT.to_owned(), charset: None, body: Document::new(root).to_bytes().into() };
    let (case, text) = recorded(&raw, &connector_api::DocumentDecoder);
    assert!(!text.contains("QUJDQUJD"));
    assert!(case.vouch(text.as_bytes()).is_ok());
    assert!(matches!(case.vouch(REAL[0].as_bytes()), Err(CaseError::Left(1))));
}
