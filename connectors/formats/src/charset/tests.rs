use super::*;

/// Decoding gives the text, and encoding the text gives the bytes back.
fn check(charset: Charset, bytes: &[u8], text: &str) {
    assert_eq!(charset.decode(bytes).as_deref(), Ok(text), "{}", charset.name());
    assert_eq!(charset.encode(text).as_deref(), Some(bytes), "{}", charset.name());
}

#[test]
fn text_decodes_and_encodes() {
    check(Charset::Utf8, "张三 µmol/L".as_bytes(), "张三 µmol/L");
    check(Charset::Gb18030, b"\xd5\xc5\xc8\xfd", "张三");
    check(Charset::Gbk, b"\xe9\x46\x88\xd2", "镕堃");
    check(Charset::Big5, b"\xb1\x69\xa4\x54", "張三");
    check(Charset::Iso88591, b"\xb5mol", "µmol");
    check(Charset::Windows1252, b"\x93x\x94", "“x”");
    check(Charset::UsAscii, b"abc", "abc");
    check(Charset::Utf16Le, b"\x20\x5fa\0", "张a");
    check(Charset::Utf16Be, b"\x5f\x20\0a", "张a");
}

#[test]
fn four_byte_gb18030_decodes_under_both_names() {
    for charset in [Charset::Gb18030, Charset::Gbk] {
        assert_eq!(charset.decode(b"\x95\x32\x82\x36").as_deref(), Ok("\u{20000}"), "{}", charset.name());
    }
}

#[test]
fn an_undefined_sequence_is_an_error_at_its_offset() {
    let long = [vec![b'a'; 5000], vec![0xd5]].concat();
    let cases: [(Charset, &[u8], usize); 8] = [
        (Charset::Utf8, b"ab\xd5\xc5", 2),
        (Charset::Gb18030, b"ab\xd5", 2),
        (Charset::Gb18030, b"a\xff\xffb", 1),
        (Charset::Gb18030, &long, 5000),
        (Charset::Big5, b"abc\xff", 3),
        (Charset::UsAscii, b"a\x80", 1),
        (Charset::Iso88591, b"ab\x81", 2),
        (Charset::Utf16Le, b"a\0\0", 2),
    ];
    for (charset, bytes, offset) in cases {
        assert_eq!(charset.decode(bytes), Err(CharsetError { charset, offset }), "{}", charset.name());
    }
}

#[test]
fn names_read_back_and_are_those_of_the_configuration() {
    for charset in Charset::ALL {
        assert_eq!(Charset::from_name(charset.name()), Some(charset));
        assert_eq!(serde_json::to_value(charset).unwrap(), charset.name());
    }
}

#[test]
fn utf8_is_recognised_and_gbk_is_not() {
    for text in ["姓名", "µmol/L", "γ-GT 37℃", "↑"] {
        assert!(looks_like_utf8(text.as_bytes()), "{text}");
    }
    for bytes in [&b"plain"[..], b"\xd5\xc5\xc8\xfd", b"\xcd\xf5\xc2\xb5"] {
        assert!(!looks_like_utf8(bytes), "{bytes:x?}");
    }
}

#[test]
fn gbk_that_happens_to_be_valid_utf8_is_doubted() {
    // Two common Chinese characters whose four GBK bytes are two Cyrillic or Arabic letters.
    let misread = Charset::Utf8.decode(b"\xd0\xa1 \xd6\xb1").unwrap().into_owned();
    assert_eq!(Charset::Gbk.decode(misread.as_bytes()).as_deref(), Ok("小 直"));
    assert!(may_be_misread_gbk(&misread));
    for text in ["plain", "张三", "µmol/L", "café", "γ-GT"] {
        assert!(!may_be_misread_gbk(text), "{text}");
    }
}

#[test]
fn damaged_bytes_are_marked_and_come_back_as_they_were() {
    for (charset, bytes) in [
        (Charset::Gb18030, &b"<a>\xd5\xc5</a><a>\xd5\xc5\xc8</a><a>\xff\xff</a>"[..]),
        (Charset::Utf8, &b"{\"a\":\"\xe5\xbc\xa0\",\"b\":\"\xe5\xbc\"}"[..]),
        (Charset::UsAscii, &b"a\x80b"[..]),
    ] {
        let text = charset.decode_marked(bytes).unwrap();
        assert!(is_marked(&text), "{text:?}");
        assert_eq!(charset.encode_marked(&text).unwrap(), bytes, "{text:?}");
    }
    let text = Charset::Gb18030.decode_marked(b"<a>\xd5\xc5</a><a>\xd5\xc5\xc8</a>").unwrap();
    assert!(text.starts_with("<a>张</a><a>张") && text.ends_with("</a>"), "{text:?}");
    assert!(!is_marked(&Charset::Utf8.decode_marked("张".as_bytes()).unwrap()));
    assert!(Charset::Utf8.decode_marked(&[0xff; 2000]).is_err());
}
