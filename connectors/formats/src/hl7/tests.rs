use connector_api::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const MSH: &str = "MSH|^~\\&|LIS|HOSP|HISYNC|AGENT|20261122080000||ORU^R01^ORU_R01|1|P|2.5.1";

fn decode(policy: TextPolicy, body: &[u8]) -> Result<Document, DecodeFailure> {
    let decoder = Hl7Decoder::new(policy);
    let (raw, document) = decoder.receive(Bytes::copy_from_slice(body));
    // What is archived reads back to the same document, or fails the same way.
    assert_eq!(decoder.decode(&raw), document);
    document
}

fn root(text: &str) -> Json {
    let document = decode(TextPolicy::default(), text.as_bytes()).unwrap();
    Json::from(&Value::Map(document.root))
}

/// A field's value in a message of one `ZZZ` segment with that field.
fn check_field(field: &str, expected: Json) {
    let root = root(&format!("MSH|^~\\&|||||||ACK|1\rZZZ|{field}|end\r"));
    assert_eq!(root["segments"][1], json!(["ZZZ", expected, "end"]), "{field}");
}

fn check_failure(policy: TextPolicy, body: &[u8], code: &str) {
    assert_eq!(decode(policy, body).map_err(|failure| failure.code), Err(code));
}

fn policy(default: Charset, prefer: Prefer) -> TextPolicy {
    TextPolicy { default, prefer }
}

#[test]
fn fields_are_null_text_or_nested_lists() {
    check_field("", json!(null));
    check_field("a", json!("a"));
    check_field("\"\"", json!("\"\""));
    check_field("a^b", json!([["a", "b"]]));
    check_field("a^^b", json!([["a", null, "b"]]));
    check_field("a~b", json!(["a", "b"]));
    check_field("a~~b^c", json!(["a", null, ["b", "c"]]));
    check_field("a&b", json!([[["a", "b"]]]));
    check_field("a^b&&c~d", json!([["a", ["b", null, "c"]], "d"]));
    check_field(" a ", json!(" a "));
}

#[test]
fn escapes_are_resolved_after_splitting_and_unknown_ones_stay() {
    check_field("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", json!("a|b^c&d~e\\f"));
    check_field("one\\.br\\two", json!("one\ntwo"));
    check_field("\\XE5BCA0\\", json!("张"));
    check_field("\\XFF\\", json!("\\XFF\\"));
    check_field("\\XE\\ \\X\\", json!("\\XE\\ \\X\\"));
    check_field("\\H\\bold\\N\\", json!("\\H\\bold\\N\\"));
    check_field("\\Zdose\\", json!("\\Zdose\\"));
    check_field("10\\9/L", json!("10\\9/L"));
    check_field("a\\b\\F\\c", json!("a\\b|c"));
    check_field("\\F\\^\\S\\", json!([["|", "^"]]));
}

#[test]
fn the_header_counts_the_separator_as_its_first_field() {
    let root = root(&format!("{MSH}\r"));
    assert_eq!(root["type"], "ORU^R01");
    assert_eq!(root["MSH"][0], "MSH");
    assert_eq!(root["MSH"][1], "|");
    assert_eq!(root["MSH"][2], "^~\\&");
    assert_eq!(root["MSH"][3], "LIS");
    assert_eq!(root["MSH"][9], json!([["ORU", "R01", "ORU_R01"]]));
    assert_eq!(root["results"], json!([]));
}

#[test]
fn results_are_grouped_by_order_and_notes_follow_what_they_annotate() {
    let body = [
        "PID|1||P1",
        "NTE|1||of the patient",
        "NTE|2||more",
        "PV1|1|O",
        "ORC|RE",
        "NTE|1||of the order",
        "OBR|1",
        "OBX|1",
        "NTE|1||x",
        "NTE|2||y",
        "OBX|2",
        "SPM|1",
        "OBR|2",
        "OBX|3",
        "ZRR|1",
        "ORC|RE|2",
    ];
    let root = root(&format!("{MSH}\r{}\r", body.join("\r")));
    assert_eq!(root["PID"], json!(["PID", "1", null, "P1"]));
    assert_eq!(root["NTE"], json!(["NTE", "1", null, "of the patient"]));
    assert_eq!(root["segments"], json!([["NTE", "2", null, "more"]]));
    assert_eq!(
        root["results"],
        json!([
            {
                "ORC": ["ORC", "RE"],
                "OBR": ["OBR", "1"],
                "NTE": [["NTE", "1", null, "of the order"]],
                "observations": [
                    { "OBX": ["OBX", "1"], "NTE": [["NTE", "1", null, "x"], ["NTE", "2", null, "y"]] },
                    { "OBX": ["OBX", "2"], "NTE": [] },
                ],
                "segments": [["SPM", "1"]],
            },
            {
                "OBR": ["OBR", "2"],
                "NTE": [],
                "observations": [{ "OBX": ["OBX", "3"], "NTE": [] }],
                "segments": [["ZRR", "1"]],
            },
            { "ORC": ["ORC", "RE", "2"], "NTE": [], "observations": [] },
        ])
    );
}

#[test]
fn a_message_of_another_type_keeps_its_segments_in_order() {
    let root = root("MSH*:~\\&*LIS****20261122**ADT:M10*7\nMFI*OMC\nOM1*1*TP01:套餐\n");
    assert_eq!(root["type"], "ADT^M10");
    assert_eq!(root["segments"][0][0], "MSH");
    assert_eq!(root["segments"][2], json!(["OM1", "1", [["TP01", "套餐"]]]));
    assert_eq!(root.as_object().map(|map| map.len()), Some(3));
}

#[test]
fn what_is_not_one_sound_message_is_refused() {
    let utf8 = TextPolicy::default();
    check_failure(utf8, b"", "hl7-no-header");
    check_failure(utf8, b"PID|1", "hl7-no-header");
    check_failure(utf8, b"MSH", "hl7-delimiters");
    check_failure(utf8, b"MSH||a", "hl7-delimiters");
    check_failure(utf8, b"MSH|^^|a", "hl7-delimiters");
    check_failure(utf8, b"MSHA^~", "hl7-delimiters");
    check_failure(utf8, format!("{MSH}\rOBX|1|TX|||first\nsecond line").as_bytes(), "hl7-segment");
    check_failure(utf8, format!("{MSH}\rpid|1").as_bytes(), "hl7-segment");
    check_failure(utf8, format!("{MSH}\r{MSH}").as_bytes(), "hl7-several-messages");
    check_failure(utf8, format!("{MSH}\rPID|1\rOBR|1\rPID|2\rOBR|1").as_bytes(), "hl7-several-patients");
}

#[test]
fn the_declared_character_set_counts_unless_the_configured_one_is_preferred() {
    let message = |declared: &str, name: &[u8]| {
        [b"MSH|^~\\&|||||||ORU^R01|1|P|2.4||||||", declared.as_bytes(), b"\rPID|1||||", name].concat()
    };
    let name =
        |policy, body: &[u8]| decode(policy, body).map(|d| d.root.get("PID").unwrap().as_list().unwrap()[5].clone());
    let (declared, gbk) = (Prefer::Declared, b"\xd5\xc5\xc8\xfd");
    let right = Ok(Value::from("张三"));
    for word in ["GB 18030-2000", "GB18030", "GBK", "gb2312", "GB 18030-2000~UNICODE"] {
        assert_eq!(name(policy(Charset::Utf8, declared), &message(word, gbk)), right, "{word}");
    }
    for word in ["UNICODE UTF-8", "UTF8", "utf-8", "UNICODE", "UTF-8~UNICODE"] {
        assert_eq!(name(policy(Charset::Gb18030, declared), &message(word, "张三".as_bytes())), right, "{word}");
    }
    assert_eq!(name(policy(Charset::Gb18030, declared), &message("", gbk)), right);
    assert_eq!(name(policy(Charset::Gb18030, Prefer::Configured), &message("ASCII", gbk)), right);
    check_failure(policy(Charset::Gb18030, declared), &message("ASCII", gbk), "hl7-charset");
    check_failure(policy(Charset::Gb18030, declared), &message("UNICODE", gbk), "hl7-charset");
    check_failure(policy(Charset::Utf8, declared), &message("", gbk), "hl7-charset");
    check_failure(policy(Charset::Utf8, declared), &message("KLINGON", gbk), "hl7-charset-unknown");
    check_failure(policy(Charset::Gb18030, declared), &message("", "张三".as_bytes()), "hl7-charset-doubtful");
}

#[test]
fn a_byte_order_mark_means_utf8_and_is_no_content() {
    let body = "\u{feff}MSH|^~\\&|LIS||||||ORU^R01|1\rPID|1||||张三\r";
    let document = decode(policy(Charset::Gb18030, Prefer::Configured), body.as_bytes()).unwrap();
    assert_eq!(document.root.get("PID").unwrap().as_list().unwrap()[5], Value::from("张三"));
}

#[test]
fn a_separator_byte_inside_a_gbk_character_of_the_header_splits_nothing() {
    // 8C 7C is one character whose second byte is the separator's.
    let line = b"MSH|^~\\&|\x8c\x7c|HOSP|||||ORU^R01|42|P|2.4||||||GBK\r";
    for default in [Charset::Utf8, Charset::Gb18030] {
        let header = Header::read(line, default).unwrap();
        assert_eq!((header.field(4), header.field(10), header.charset_name()), ("HOSP", "42", "GBK"));
        assert_eq!(header.charset.encode(header.field(3)).as_deref(), Some(&b"\x8c\x7c"[..]));
    }
}

/// Splits and gives messages, strays and discrepancies as text.
fn split_up(text: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let found = Interchange::split(&Bytes::copy_from_slice(text.as_bytes()));
    let texts = |pieces: &[Bytes]| pieces.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect();
    (texts(&found.messages), texts(&found.stray), found.envelope.map(|e| e.discrepancies).unwrap_or_default())
}

#[test]
fn a_batch_is_cut_into_its_messages() {
    let (messages, stray, problems) = split_up("FHS|^~\\&\rBHS|^~\\&\rMSH|1\rPID|1\rMSH|2\r\nBTS|2\rFTS|1\r");
    assert_eq!(messages, ["MSH|1\rPID|1\r", "MSH|2\r\n"]);
    assert!(stray.is_empty() && problems.is_empty());
}

#[test]
fn trailers_that_do_not_agree_are_reported_and_lose_no_message() {
    let cases: [(&str, usize, &[&str]); 6] = [
        ("BHS|^~\\&\rMSH|1\rMSH|2\rBTS|3\r", 2, &["BTS-1 states 3 messages, and 2 were received"]),
        ("BHS|^~\\&\rMSH|1\r", 1, &["a batch of 1 messages has no BTS segment"]),
        ("MSH|1\rBTS|1\r", 1, &["a BTS segment ends a batch that was not begun"]),
        ("BHS|^~\\&\rMSH|1\rBTS|two\r", 1, &["BTS-1 is not a number, and 1 messages were received"]),
        ("FHS|^~\\&\rBHS|^~\\&\rMSH|1\rBTS|1\rFTS|2\r", 1, &["FTS-1 states 2 batches, and 1 were received"]),
        ("BHS|^~\\&\rMSH|1\rBTS\r", 1, &[]),
    ];
    for (text, count, expected) in cases {
        let (messages, _, problems) = split_up(text);
        assert_eq!((messages.len(), problems), (count, expected.iter().map(|s| (*s).to_owned()).collect()), "{text}");
    }
}

#[test]
fn lines_outside_of_messages_are_kept_apart() {
    let (messages, stray, _) = split_up("junk\rmore\rMSH|1\rBTS|1\rlate\r");
    assert_eq!((messages.len(), stray), (1, vec!["junk\rmore\r".to_owned(), "late\r".to_owned()]));
}

fn count_segments(value: &Value) -> usize {
    let is_segment = |list: &[Value]| matches!(list.first(), Some(Value::Text(name)) if name.len() == 3);
    match value {
        Value::List(list) if is_segment(list) => 1,
        Value::List(list) => list.iter().map(count_segments).sum(),
        Value::Map(map) => {
            map.iter().filter(|(name, _)| &***name != "type").map(|(_, value)| count_segments(value)).sum()
        }
        _ => 0,
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(MSH[|^~&\\\\*]{0,6})?(\\PC|[|^~&\\\\\r\n]){0,200}") {
        let _ = decode(TextPolicy::default(), text.as_bytes());
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let body = [b"MSH|^~\\&|", tail.as_slice()].concat();
        for default in [Charset::Utf8, Charset::Gb18030, Charset::Iso88591] {
            let _ = decode(policy(default, Prefer::Declared), &body);
        }
    }

    #[test]
    fn every_segment_of_a_result_message_is_somewhere(
        names in prop::collection::vec("ORC|OBR|OBX|NTE|PV1|SPM|ZXX", 0..40)
    ) {
        let lines: String = names.iter().map(|name| format!("\r{name}|1")).collect();
        let document = decode(TextPolicy::default(), format!("{MSH}{lines}").as_bytes()).unwrap();
        prop_assert_eq!(count_segments(&Value::Map(document.root)), names.len() + 1);
    }

    #[test]
    fn cutting_loses_no_byte_of_messages_and_strays(text in "((MSH|PID|BHS|BTS|x)[|]?[a]{0,3}[\r\n]){0,12}") {
        let (messages, stray, _) = split_up(&text);
        let lines = |text: &str| text.split(['\r', '\n']).filter(|l| !l.is_empty() && !l.starts_with('B')).count();
        let kept: usize = messages.iter().chain(&stray).map(|piece| lines(piece)).sum();
        prop_assert_eq!(kept, lines(&text));
    }
}

#[test]
fn a_master_file_is_its_entries() {
    let text = "MSH|^~\\&|LIS||||||MFN^M10|1|P|2.5\rMFI|OMA||REP|||AL\rMFE|MAD|1||LP01\rOM1|1|LP01\r\
                OM5|2|TG~TC\rMFE|MDC|2||LP02\rOM1|1|LP02\rOM4|1\rOM4|2\rZZZ|1\r";
    let root = root(text);
    assert_eq!(root["MFI"], json!(["MFI", "OMA", null, "REP", null, null, "AL"]));
    assert_eq!(
        root["entries"],
        json!([
            { "MFE": ["MFE", "MAD", "1", null, "LP01"], "OM1": ["OM1", "1", "LP01"], "OM5": ["OM5", "2", ["TG", "TC"]] },
            {
                "MFE": ["MFE", "MDC", "2", null, "LP02"],
                "OM1": ["OM1", "1", "LP02"],
                "OM4": ["OM4", "1"],
                "ZZZ": ["ZZZ", "1"],
                "segments": [["OM4", "2"]],
            },
        ])
    );
    assert_eq!(root.get("segments"), None);
}

#[test]
fn an_embedded_document_is_decoded_once_and_a_damaged_one_is_held() {
    let message = |obx: &str| format!("{MSH}\rOBR|1\rOBX|1|{obx}||||||F|||20261122\r");
    let field = |obx: &str| {
        let document = decode(TextPolicy::default(), message(obx).as_bytes()).unwrap();
        let results = document.root.get("results").unwrap().as_list().unwrap()[0].as_map().unwrap();
        let observation = results.get("observations").unwrap().as_list().unwrap()[0].as_map().unwrap();
        let fields = observation.get("OBX").unwrap().as_list().unwrap();
        assert_eq!(fields[11].as_text(), Some("F"));
        fields[5].clone()
    };
    let last = |obx: &str| match field(obx) {
        Value::List(repetitions) => repetitions[0].as_list().unwrap()[4].clone(),
        other => other,
    };
    assert_eq!(last("ED|PDF||^^PDF^Base64^JVBERg=="), Value::Bytes(b"%PDF".to_vec()));
    // Once: what it holds may be Base64 again.
    assert_eq!(last("ED|PDF||LIS^AP^PDF^base64^SlZCRVJnPT0="), Value::Bytes(b"JVBERg==".to_vec()));
    assert_eq!(last("ED|PDF||^^PDF^Base64^JVBE\\.br\\Rg"), Value::Bytes(b"%PDF".to_vec()));
    assert_eq!(last("ED|PDF||^^PDF^Hex^25504446"), Value::Bytes(b"%PDF".to_vec()));
    assert_eq!(last("ED|PDF||^^PDF^A^JVBERg=="), Value::from("JVBERg=="));
    assert_eq!(last("TX|PDF||^^PDF^Base64^JVBERg=="), Value::from("JVBERg=="));
    assert_eq!(last("ED|PDF||^^PDF^Base64^"), Value::Null);
    assert_eq!(field("ED|PDF||JVBERg=="), Value::from("JVBERg=="));
    for damaged in ["JVBERg=x", "JVBER", "JV?ERg=="] {
        check_failure(
            TextPolicy::default(),
            message(&format!("ED|PDF||^^PDF^Base64^{damaged}")).as_bytes(),
            "hl7-embedded",
        );
    }
}
