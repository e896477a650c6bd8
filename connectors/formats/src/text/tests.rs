use super::*;

fn choose(default: Charset, prefer: Prefer, declared: Option<&str>, bytes: &[u8]) -> Result<Charset, &'static str> {
    TextPolicy { default, prefer }.choose(declared, bytes).map_err(|failure| failure.code)
}

#[test]
fn a_byte_order_mark_wins_over_everything() {
    for (bytes, charset) in [
        (&b"\xef\xbb\xbfa"[..], Charset::Utf8),
        (b"\xff\xfea\0", Charset::Utf16Le),
        (b"\xfe\xff\0a", Charset::Utf16Be),
        (b"\x84\x31\x95\x33a", Charset::Gb18030),
    ] {
        for prefer in [Prefer::Declared, Prefer::Configured] {
            assert_eq!(choose(Charset::Big5, prefer, Some("big5"), bytes), Ok(charset));
        }
        assert_eq!(decode(charset, bytes).unwrap(), "a");
    }
}

#[test]
fn a_declaration_counts_unless_the_configuration_is_preferred() {
    let gbk = b"\xd5\xc5\xc8\xfd";
    assert_eq!(choose(Charset::Utf8, Prefer::Declared, Some("GB2312"), gbk), Ok(Charset::Gbk));
    assert_eq!(choose(Charset::Gb18030, Prefer::Configured, Some("UTF-8"), gbk), Ok(Charset::Gb18030));
    assert_eq!(choose(Charset::Gb18030, Prefer::Declared, None, gbk), Ok(Charset::Gb18030));
    assert_eq!(choose(Charset::Utf8, Prefer::Declared, Some("klingon"), gbk), Err("text-charset-unknown"));
}

#[test]
fn bytes_that_speak_against_the_configuration_are_doubted() {
    let utf8 = "姓名".as_bytes();
    assert_eq!(choose(Charset::Gb18030, Prefer::Declared, None, utf8), Err("text-charset-doubtful"));
    assert_eq!(choose(Charset::Utf8, Prefer::Declared, Some("gbk"), utf8), Err("text-charset-doubtful"));
    let gbk_that_is_utf8 = b"\xd0\xa1 \xd6\xb1";
    assert_eq!(choose(Charset::Utf8, Prefer::Declared, None, gbk_that_is_utf8), Err("text-charset-doubtful"));
    assert_eq!(choose(Charset::Utf8, Prefer::Declared, Some("utf-8"), gbk_that_is_utf8), Ok(Charset::Utf8));
}

#[test]
fn undefined_bytes_are_named_by_their_place_in_the_whole() {
    let failure = decode(Charset::Utf8, b"\xef\xbb\xbfab\xff").unwrap_err();
    assert_eq!((failure.code, failure.detail.as_str()), ("text-charset", "byte 5 does not begin a utf-8 character"));
}

#[test]
fn names_of_documents_are_known() {
    for (label, charset) in [
        ("UTF-8", Charset::Utf8),
        ("utf8", Charset::Utf8),
        ("GB2312", Charset::Gbk),
        ("gb_2312-80", Charset::Gbk),
        ("ISO-8859-1", Charset::Iso88591),
        ("windows-1252", Charset::Windows1252),
        ("US-ASCII", Charset::UsAscii),
        ("utf-16", Charset::Utf16Le),
        ("big5-hkscs", Charset::Big5),
    ] {
        assert_eq!(from_label(label), Some(charset), "{label}");
    }
    assert_eq!(from_label("shift_jis"), None);
}
