//! Abnormal flags that mean the same everywhere. Everything else needs a code table.

/// The canonical word for a source's flag. `↑↑` is "above": how much is dangerous differs
/// between vendors, so only words that say "critical" are read as such.
pub fn read(folded: &str) -> Option<&'static str> {
    Some(match folded {
        "N" | "正常" | "Normal" | "NORMAL" => "normal",
        "H" | "↑" | "↑↑" | "↑↑↑" | "高" | "偏高" | "升高" | "High" | "HIGH" => "high",
        "L" | "↓" | "↓↓" | "↓↓↓" | "低" | "偏低" | "降低" | "Low" | "LOW" => "low",
        "HH" | "危急高" => "critical_high",
        "LL" | "危急低" => "critical_low",
        "A" | "AA" | "*" | "异常" => "abnormal",
        "POS" | "+" | "阳性" | "阳性(+)" => "positive",
        "NEG" | "-" | "阴性" | "阴性(-)" => "negative",
        "±" | "可疑" | "弱阳性" | "IND" => "indeterminate",
        _ => return None,
    })
}
