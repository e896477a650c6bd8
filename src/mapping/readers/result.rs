//! Result texts: number, comparator, range, ordinal, titre, word, prose, absence.

use connector_api::Decimal;

use super::number::decimal;
use super::text::fold;

/// What a result text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// `5.30`
    Numeric(String),
    /// `<0.02`, as the canonical comparator and the literal.
    Comparator(&'static str, String),
    /// `10-15`
    Range(String, String),
    /// `1:80`
    Titer(String, String),
    /// `±`, `2+`
    Ordinal,
    /// `阴性`
    Coded,
    /// Prose.
    Text,
    /// No value, with the reason where a word gives one.
    Absent(Option<&'static str>),
}

/// Reads a result. Whatever is not certainly one of the forms is [`Reading::Text`].
pub fn read(text: &str) -> Reading {
    let text = fold(text);
    let text = &*text;
    if text.is_empty() {
        return Reading::Absent(None);
    }
    if Decimal::accepts(text) {
        // `+1` is a place on a scale in one laboratory and a number in another.
        let doubtful = text.len() == 2 && text.starts_with('+');
        return if doubtful { Reading::Text } else { Reading::Numeric(text.to_owned()) };
    }
    if let Some(reason) = absence(text) {
        return Reading::Absent(Some(reason));
    }
    if let Some((comparator, rest)) = comparator(text) {
        return if Decimal::accepts(rest) { Reading::Comparator(comparator, rest.to_owned()) } else { Reading::Text };
    }
    if polarity(text).is_some() && !text.chars().any(char::is_alphabetic) {
        return Reading::Ordinal;
    }
    if let Some((first, second)) = text.split_once(':') {
        let whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // `1:80`; any other pair is a time of day or a ratio.
        return if first.trim() == "1" && whole(second.trim()) {
            Reading::Titer(first.trim().to_owned(), second.trim().to_owned())
        } else {
            Reading::Text
        };
    }
    // `2026-11` is no range: only what rises is one.
    if let Some((low, high)) = interval(text)
        && matches!((decimal(low), decimal(high)), (Some(low), Some(high)) if low < high)
    {
        return Reading::Range(low.to_owned(), high.to_owned());
    }
    if polarity(text).is_some() || WORDS.contains(&text) { Reading::Coded } else { Reading::Text }
}

const WORDS: &[&str] =
    &["未见", "未见异常", "未见明显异常", "正常", "异常", "无", "有", "清", "混浊", "透明", "淡黄色", "黄色"];

/// The comparator at the start of a folded text, and what follows it.
pub fn comparator(text: &str) -> Option<(&'static str, &str)> {
    const FORMS: [(&str, &str); 16] = [
        ("<=", "<="),
        ("=<", "<="),
        ("≤", "<="),
        ("≦", "<="),
        (">=", ">="),
        ("=>", ">="),
        ("≥", ">="),
        ("≧", ">="),
        ("<", "<"),
        (">", ">"),
        ("小于等于", "<="),
        ("不大于", "<="),
        ("小于", "<"),
        ("大于等于", ">="),
        ("不小于", ">="),
        ("大于", ">"),
    ];
    // Most texts begin with a digit: one look is enough for them.
    if text.bytes().next().is_none_or(|first| first.is_ascii_digit()) {
        return None;
    }
    FORMS.iter().find_map(|(form, word)| Some((*word, text.strip_prefix(form)?.trim_start())))
}

/// Two decimals with something between them that means "to"; both ends in the order written.
pub fn interval(text: &str) -> Option<(&str, &str)> {
    const SEPARATORS: [&str; 11] = ["--", "~", "-", "–", "—", "−", "‐", "至", "to", "∼", "〜"];
    let end = number_end(text)?;
    let (low, rest) = (&text[..end], text[end..].trim_start());
    // `--` first, but `2--1` may also be "2 to minus 1": only one reading is a rising range.
    SEPARATORS.iter().find_map(|separator| {
        let high = rest.strip_prefix(separator)?.trim_start();
        if !Decimal::accepts(high) {
            return None;
        }
        if *separator == "--" && low.starts_with('-') {
            return None;
        }
        Some((low, high))
    })
}

/// Where the decimal at the start of a text ends.
pub fn number_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let start = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let plain = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let end = start + plain;
    if !Decimal::accepts(&text[..end]) {
        return None;
    }
    let exponent = bytes[end..].iter().take(4).count();
    let scientific = (end + 2..=end + exponent)
        .rev()
        .find(|to| matches!(bytes[end], b'e' | b'E') && text.is_char_boundary(*to) && Decimal::accepts(&text[..*to]));
    Some(scientific.unwrap_or(end))
}

/// Whether a folded word or sign means negative (`Some(false)`), positive, or in between.
pub fn polarity(text: &str) -> Option<Polarity> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    Some(match inner {
        "-" | "−" | "阴性" | "阴性(-)" | "未检出" | "Negative" | "NEGATIVE" | "negative" | "NEG" | "Neg" => {
            Polarity::Negative
        }
        "±" | "+-" | "+/-" | "弱阳性" | "可疑" => Polarity::Between,
        "阳性" | "阳性(+)" | "Positive" | "POSITIVE" | "positive" | "POS" | "Pos" | "1+" | "2+" | "3+" | "4+" => {
            Polarity::Positive
        }
        plus if !plus.is_empty() && plus.len() <= 4 && plus.bytes().all(|byte| byte == b'+') => Polarity::Positive,
        _ => return None,
    })
}

/// On which side of a qualitative test a result lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// 阴性
    Negative,
    /// ±
    Between,
    /// 阳性
    Positive,
}

fn absence(text: &str) -> Option<&'static str> {
    let inner = text.strip_prefix(['(', '[', '【']).and_then(|rest| rest.strip_suffix([')', ']', '】']));
    let text = inner.unwrap_or(text).trim_end_matches(['。', '.', '!']);
    Some(match text {
        "拒检" | "拒查" | "拒绝" | "拒绝检查" | "本人拒检" | "已拒检" => "refused",
        "弃检" | "弃查" | "放弃" | "放弃检查" | "放弃体检" | "自愿放弃" | "本人放弃" => {
            "given_up"
        }
        "标本已退检" | "标本退检" | "标本已退" | "退检" | "标本不合格" => "specimen_rejected",
        "未检" | "未做" | "未查" | "未检查" | "待检" | "待查" | "延期" | "延期检查" | "迟检" | "补检" | "结果待报" => {
            "pending"
        }
        "不适用" => "not_applicable",
        "仪器故障" => "instrument_error",
        _ => return None,
    })
}
