//! Rules of texts: cut ends, and conclusions that say nothing or deny what was found.

use super::{CONCLUSION_DENIES, CONCLUSION_MISSING, CONCLUSION_SILENT, Findings, TEXT_AT_LIMIT};
use crate::mapping::readers::text::{fold, trim};
use crate::model::ExamReport;
use crate::model::entity::{AbnormalFlag, ConclusionKind, ReportKind, ResultItem};

/// How long columns of text usually are, where the mapping does not say it.
const USUAL_LIMITS: [usize; 11] = [100, 200, 255, 256, 500, 512, 1000, 1024, 2000, 4000, 8000];

/// Shorter texts are words, and words of any length are common.
const SHORTEST: usize = 40;

/// Tells texts that are exactly as long as a column may be.
pub(super) fn lengths(report: &ExamReport, findings: &mut Findings<'_>) {
    let limits = findings.weights.text_limits.as_deref();
    let mut cut = Vec::new();
    for (at, conclusion) in report.conclusions.iter().enumerate() {
        cut.extend(is_cut(&conclusion.text, limits).then(|| format!("conclusions[{at}].text")));
        let advice = conclusion.advice.as_deref().is_some_and(|advice| is_cut(advice, limits));
        cut.extend(advice.then(|| format!("conclusions[{at}].advice")));
    }
    for (at, group) in report.groups.iter().enumerate() {
        let summary = group.summary.as_deref().is_some_and(|summary| is_cut(summary, limits));
        cut.extend(summary.then(|| format!("groups[{at}].summary")));
        for (index, item) in group.items.iter().enumerate() {
            let value = item.value_raw.as_deref().is_some_and(|value| is_cut(value, limits));
            cut.extend(value.then(|| format!("groups[{at}].items[{index}].value_raw")));
        }
    }
    for path in cut {
        findings.add(&TEXT_AT_LIMIT, path, "exactly as long as a column holds; its end may be missing");
    }
}

/// A column counts characters, or bytes in one of two encodings. Where nobody has said how long the
/// columns are, a text that ends its sentence is taken as whole.
fn is_cut(text: &str, limits: Option<&[usize]>) -> bool {
    if limits.is_none() && text.len() < SHORTEST {
        return false;
    }
    let whole = limits.is_none() && text.trim_end().ends_with(['。', '.', '!', '！', ';', '；', ')', '）', '”']);
    if whole {
        return false;
    }
    let limits = limits.unwrap_or(&USUAL_LIMITS);
    let characters = text.chars().count();
    // GBK: one byte for ASCII, two for all else that is common.
    let gbk = text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
    [characters, gbk, text.len()].iter().any(|length| limits.contains(length))
}

/// What the conclusions of a final report say beside its results.
pub(super) fn conclusions(report: &ExamReport, findings: &mut Findings<'_>) {
    let of_the_visit = matches!(report.report_kind, ReportKind::Health | ReportKind::Occupational);
    if of_the_visit && report.conclusions.is_empty() && report.attachments.is_empty() {
        findings.add(&CONCLUSION_MISSING, "conclusions", "final, and nobody concludes anything");
    }
    let all = || report.groups.iter().flat_map(|group| &group.items);
    if !all().any(|item| is_critical(item) || is_flagged(item)) {
        return;
    }
    let mut said = report.conclusions.iter().filter(|said| said.kind != ConclusionKind::Suggestion).peekable();
    let calm = said.peek().is_some() && said.all(|said| is_calm(&said.text));
    let mut told = false;
    for (at, group) in report.groups.iter().enumerate() {
        let calm_group = || group.summary.as_deref().is_some_and(is_calm);
        for (index, item) in group.items.iter().enumerate() {
            if is_critical(item) && (calm || calm_group()) {
                let path = format!("groups[{at}].items[{index}].is_critical");
                let message = "critical, and what was concluded says that nothing is abnormal";
                findings.add_value(&CONCLUSION_DENIES, path, message, &item.item_code);
            } else if calm && is_flagged(item) && !told {
                told = true;
                let path = format!("groups[{at}].items[{index}].flag_source");
                let message = "flagged, and every conclusion says that nothing is abnormal";
                findings.add_value(&CONCLUSION_SILENT, path, message, &item.item_code);
            }
        }
    }
}

fn is_critical(item: &ResultItem) -> bool {
    item.is_critical || matches!(item.flag_source, Some(AbnormalFlag::CriticalHigh | AbnormalFlag::CriticalLow))
}

fn is_flagged(item: &ResultItem) -> bool {
    use AbnormalFlag::{Abnormal, High, Low, Positive};
    matches!(item.flag_source, Some(High | Low | Abnormal | Positive))
}

/// Whether a text says that nothing is abnormal, and nothing else: 未见明显异常, 本次体检未见异常.
fn is_calm(text: &str) -> bool {
    const WORDS: [&str; 9] = [
        "未见明显异常",
        "未见异常",
        "未发现明显异常",
        "未发现异常",
        "无明显异常",
        "无异常",
        "体检正常",
        "一切正常",
        "均正常",
    ];
    if text.len() > 120 {
        return false;
    }
    let folded = fold(text);
    let Some((before, after)) = WORDS.iter().find_map(|word| folded.split_once(word)) else { return false };
    let subject =
        ["本次", "此次", "体检", "检查", "各项", "所检", "所查", "项目", "指标", "结果", "目前", "总检", "结论"];
    let blank = |text: &str| trim(text.trim_matches([',', '.', ';', ':', '。', '、', '!', ' '])).is_empty();
    let mut before = before.to_owned();
    subject.iter().for_each(|word| before = before.replace(word, ""));
    blank(&before) && blank(after)
}
