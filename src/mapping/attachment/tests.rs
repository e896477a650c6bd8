use std::sync::Arc;

use super::pdf::Reading;
use super::*;

/// A PDF of one page whose text is shown by a plain font.
pub(in crate::mapping) fn pdf_of(text: &str) -> Vec<u8> {
    use lopdf::content::{Content, Operation};
    use lopdf::{Document, Object, Stream, dictionary};
    let mut document = Document::with_version("1.5");
    let pages = document.new_object_id();
    let font = document.add_object(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Courier" });
    let resources = document.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
    let content = Content {
        operations: vec![
            Operation::new("BT", vec![]),
            Operation::new("Tf", vec!["F1".into(), 12.into()]),
            Operation::new("Td", vec![72.into(), 600.into()]),
            Operation::new("Tj", vec![Object::string_literal(text)]),
            Operation::new("ET", vec![]),
        ],
    };
    let content = document.add_object(Stream::new(dictionary! {}, content.encode().unwrap()));
    let page = document.add_object(dictionary! { "Type" => "Page", "Parent" => pages, "Contents" => content });
    let box_of = vec![0.into(), 0.into(), 595.into(), 842.into()];
    let tree = dictionary! {
        "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1, "Resources" => resources, "MediaBox" => box_of,
    };
    document.objects.insert(pages, Object::Dictionary(tree));
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

fn read(bytes: Vec<u8>) -> Reading {
    pdf::read(&Arc::from(bytes))
}

#[test]
fn bytes_tell_what_they_are() {
    let dicom = [vec![0; 128], b"DICM".to_vec()].concat();
    let cases: [(&[u8], Option<&str>); 12] = [
        (b"%PDF-1.4\n", Some("application/pdf")),
        (b"\xef\xbb\xbf\n%PDF-1.7", Some("application/pdf")),
        (&[0xff, 0xd8, 0xff, 0xe0], Some("image/jpeg")),
        (b"\x89PNG\r\n\x1a\n", Some("image/png")),
        (b"GIF89a", Some("image/gif")),
        (b"II*\0", Some("image/tiff")),
        (&dicom, Some("application/dicom")),
        (b"  <!DOCTYPE HTML><html>", Some("text/html")),
        (b"<?xml version='1.0'?><html>", Some("text/html")),
        (b"<?xml version='1.0'?><AnnotatedECG/>", Some("application/xml")),
        (b"{\"code\":404}", None),
        (b"", None),
    ];
    for (bytes, expected) in cases {
        assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_cut_off_file_lacks_its_end() {
    let png = b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82".to_vec();
    assert_eq!(fault(&png, "image/png"), None);
    let jpeg = [&[0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 0xff, 0xd9][..], &[0; 40]].concat();
    assert_eq!(fault(&jpeg, "image/jpeg"), None, "padding behind the end does no harm");
    for (bytes, media_type) in
        [(&png[..12], "image/png"), (&jpeg[..6], "image/jpeg"), (&b"%PDF-1.4 text"[..], "application/pdf")]
    {
        assert_eq!(fault(bytes, media_type).map(|(rule, _)| rule.code), Some("attachment-truncated"));
    }
    assert_eq!(fault(b"<html>", "text/html").map(|(rule, _)| rule.code), Some("attachment-error-page"));
}

#[test]
fn base64_reads_with_line_breaks_without_padding_and_as_a_url() {
    for text in ["JVBERi0=", "JVBE\r\nRi0=", "JVBERi0", "data:application/pdf;base64,JVBERi0="] {
        assert_eq!(decode(text).as_deref(), Some(&b"%PDF-"[..]), "{text}");
    }
    assert_eq!(decode("D:\\report\\1.pdf"), None);
}

#[test]
fn a_declared_type_may_be_an_ending_or_a_media_type() {
    for word in ["application/pdf", "PDF", ".pdf", "report\\2026\\1.PDF"] {
        assert!(means(word, "application/pdf"), "{word}");
    }
    assert!(means("image/pjpeg", "image/jpeg") && means("1.jpg", "image/jpeg") && means("image/png", "image/png"));
    assert!(!means("image/png", "image/jpeg") && !means("pdf", "image/jpeg"));
}

#[test]
fn the_text_of_a_pdf_is_read_and_damage_is_told() {
    let bytes = pdf_of("No. 0301170001");
    let Reading::Open { pages: 1, text: Some(text) } = read(bytes.clone()) else { panic!("{:?}", read(bytes)) };
    assert!(text.contains("0301170001"), "{text}");
    assert_eq!(read(b"%PDF-1.4\nnothing at all\n%%EOF".to_vec()), Reading::Unreadable);
    assert_eq!(read(b"%PDF-1.4\ntrailer << /Encrypt 3 0 R >>\n%%EOF".to_vec()), Reading::Encrypted);
}

#[test]
fn a_pdf_that_unpacks_to_gigabytes_or_nests_without_end_costs_a_warning() {
    use std::io::Write as _;
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'('; 64 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    let mut bomb = lopdf::Document::load_mem(&pdf_of("x")).unwrap();
    for object in bomb.objects.values_mut() {
        if let lopdf::Object::Stream(stream) = object {
            stream.dict.set("Filter", "FlateDecode");
            stream.set_content(packed.clone());
        }
    }
    let mut bytes = Vec::new();
    bomb.save_to(&mut bytes).unwrap();
    assert_eq!(read(bytes), Reading::Open { pages: 1, text: None });
    let nested =
        [b"%PDF-1.4\n1 0 obj\n".to_vec(), vec![b'['; 20_000], b"\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF".to_vec()];
    assert_eq!(read(nested.concat()), Reading::Unreadable);
}

#[test]
fn another_exam_number_is_seen_and_the_own_one_excuses_others() {
    let own = "0301170001";
    for text in ["体检号：0301170002 姓名", "体检编号 A0301170001", "编号 0301170009 彩超"] {
        assert!(shows_other_number(text, own), "{text}");
    }
    for text in [
        "",
        "体检号:0301170001 上次体检号:0299120001",
        "电话 13800000000 条码 9911223344",
        "0301170001 0301170002",
        "登记号：--",
        "登记号 2026-11-18 张试一",
    ] {
        assert!(!shows_other_number(text, own), "{text}");
    }
    assert!(!shows_other_number("体检号：7", "7"), "too short to tell anything");
}

proptest::proptest! {
    #[test]
    fn whatever_the_bytes_are_nothing_panics(bytes: Vec<u8>, text: String) {
        let media_type = sniff(&bytes).unwrap_or("application/pdf");
        let _ = fault(&bytes, media_type);
        let _ = decode(&text);
        let _ = shows_other_number(&text, "0301170001");
        let _ = means(&text, media_type);
    }
}
