use bytes::Bytes;
use connector_api::{Decoder as _, Mode, SourceId, SourceSpec, StreamId, StreamSpec};
use proptest::prelude::*;

use super::{Form, Format, Reader};

fn reader(default: &str) -> Reader {
    let settings = serde_json::json!({ "listen": "127.0.0.1:0", "charset": { "default": default } });
    let stream = serde_json::json!({ "path": "/", "records": "data.list" });
    let id = SourceId::new("his");
    Reader::new(&SourceSpec {
        streams: vec![StreamSpec {
            id: StreamId::new(&id, "s"),
            mode: Mode::Push,
            settings: serde_json::from_value(stream).unwrap(),
        }],
        base_dir: ".".into(),
        zone: connector_testkit::ZONE,
        settings: serde_json::from_value(settings).unwrap(),
        id,
    })
}

fn forms() -> Vec<Form<'static>> {
    let mut forms = vec![Form::Multipart { boundary: "xx".to_owned(), part: "report", format: None }];
    for format in [Format::Json, Format::Xml, Format::Hl7] {
        for charset in [None, Some("gb2312".to_owned())] {
            for records in [None, Some("data.list"), Some(".")] {
                forms.push(Form::Plain { format, charset: charset.clone(), records });
            }
        }
        forms.push(Form::Multipart { boundary: "xx".to_owned(), part: "report", format: Some(format) });
    }
    forms
}

/// Whatever is sent becomes records, and what was read is read the same from the archive.
fn check(body: &[u8]) {
    for default in ["utf-8", "gb18030"] {
        let reader = reader(default);
        for form in forms() {
            for record in reader.read(&form, Bytes::copy_from_slice(body)) {
                if let Ok(document) = &record.document {
                    assert_eq!(reader.decode(&record.raw).as_ref(), Ok(document), "{}", record.raw.format);
                }
            }
        }
    }
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("null".to_owned()), "-?[0-9]{1,3}(\\.[0-9]{1,2})?", "\"[ -!#-\\[\\]-~张三£]{0,6}\""];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[ {} ]", values.join(" ,"))),
            prop::collection::vec(("(data|list|no|attachments)", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }

    #[test]
    fn any_json_is_taken(list in value()) {
        check(list.as_bytes());
        check(format!("{{\"data\":{{\"list\":{list}}}}}").as_bytes());
        let part = "Content-Disposition: form-data; name=report\r\nContent-Type: application/json";
        check(format!("--xx\r\n{part}\r\n\r\n{list}\r\n--xx--").as_bytes());
    }

    #[test]
    fn any_xml_is_taken(names in prop::collection::vec("(data|list|Item|x:list)", 1..5), text in "[ -;=?-~张三£]{0,9}") {
        let wrap = |inner: String, name| format!("<{name}>{inner}</{name}>\n<list a='{}'/>", inner.len());
        let inner = names.iter().fold(text, wrap);
        check(format!("<?xml version='1.0'?><data>{inner}</data>").as_bytes());
    }
}
