use connector_api::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn bundle(files: &[(&str, Option<&[u8]>)]) -> Bundle {
    let file = |(name, content): &(&str, Option<&[u8]>)| NamedFile {
        field: "TPLJ".to_owned(),
        name: (*name).to_owned(),
        content: content.map(Bytes::copy_from_slice),
    };
    let main = Raw { format: "text/csv".to_owned(), charset: Some("gbk".to_owned()), body: Bytes::from("no\n1\n") };
    Bundle { main, files: files.iter().map(file).collect() }
}

#[test]
fn a_bundle_can_be_read_by_a_person_and_is_the_same_each_time() {
    let bundle = bundle(&[("a.pdf", Some(b"%PDF")), ("胸片.jpg", None)]);
    let raw = bundle.pack();
    assert_eq!(raw, bundle.pack());
    assert_eq!(
        std::str::from_utf8(&raw.body).unwrap(),
        "hisync-bundle 1\n{\"main\":{\"format\":\"text/csv\",\"charset\":\"gbk\",\"bytes\":5},\"files\":\
         [{\"field\":\"TPLJ\",\"name\":\"a.pdf\",\"bytes\":4},{\"field\":\"TPLJ\",\"name\":\"胸片.jpg\"}]}\nno\n1\n%PDF"
    );
    assert_eq!(Bundle::unpack(&raw.body).unwrap(), bundle);
}

#[test]
fn a_record_without_one_of_its_files_is_no_document() {
    let document = || Document::new(Map::from_iter([("no", Value::from("1"))]));
    let complete = |files: &[(&str, Option<&[u8]>)]| Bundle::complete(bundle(files).files, document());
    let whole = complete(&[("a.pdf", Some(b"%PDF-"))]).unwrap();
    let expected = json!([{"name": "TPLJ", "file_name": "a.pdf", "media_type": null, "bytes": "<5 bytes>"}]);
    assert_eq!(Json::from(whole.root.get("attachments").unwrap()), expected);
    let failure = complete(&[("a.pdf", Some(b"")), ("张三.pdf", None)]).unwrap_err();
    let what = "file 2 of the 2 that the record names, by \"TPLJ\", did not come or is too large";
    assert_eq!(failure, DecodeFailure::new("attachment-missing", what), "the name may be a person's");
    for empty_or_other in [&b""[..], b"<html>404</html>"] {
        assert_eq!(complete(&[("a.PDF", Some(empty_or_other))]).unwrap_err().code, "attachment-content");
    }
    assert!(complete(&[("a.pdf", Some(b"\n\n%PDF-1.4")), ("b.dcm", Some(b"x")), ("c", Some(b""))]).is_ok());
    let own = Document::new(Map::from_iter([("attachments", Value::from("1"))]));
    assert_eq!(Bundle::complete(Vec::new(), own).unwrap_err().code, "attachment-name");
}

proptest! {
    #[test]
    fn any_parts_come_back_as_they_were(
        format in ".*", charset in proptest::option::of(".*"), body in proptest::collection::vec(any::<u8>(), 0..50),
        files in proptest::collection::vec((".*", ".*", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50))), 0..4),
    ) {
        let file = |(field, name, content): (String, String, Option<Vec<u8>>)| {
            NamedFile { field, name, content: content.map(Bytes::from) }
        };
        let bundle =
            Bundle { main: Raw { format, charset, body: body.into() }, files: files.into_iter().map(file).collect() };
        let raw = bundle.pack();
        prop_assert_eq!(Bundle::unpack(&raw.body).unwrap(), bundle);
        for cut in 0..raw.body.len() {
            prop_assert!(Bundle::unpack(&raw.body.slice(..cut)).is_err(), "cut at {}", cut);
        }
    }
}
