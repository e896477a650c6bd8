//! The runbook: a chapter for each kind of trouble, the same in `docs/` and in `hisync explain`.

/// The whole book.
pub const TEXT: &str = include_str!("../../docs/runbook.md");

/// The chapter of a code: the text below `## code`, up to the next one.
pub fn chapter(code: &str) -> Option<&'static str> {
    let heading = format!("## {code}");
    let mut start = None;
    let mut at = 0;
    for line in TEXT.split_inclusive('\n') {
        let text = line.trim_end();
        match start {
            None if text == heading => start = Some(at + line.len()),
            Some(from) if text.starts_with("## ") => return Some(TEXT[from..at].trim()),
            _ => {}
        }
        at += line.len();
    }
    start.map(|from| TEXT[from..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chapter_ends_where_the_next_begins() {
        let disk = chapter("disk").expect("a chapter");
        assert!(!disk.is_empty() && !disk.contains("## "), "{disk}");
        assert_eq!(chapter("no-such-code"), None);
    }

    #[test]
    fn every_chapter_says_what_it_means_how_to_check_and_what_to_do() {
        for kind in crate::ops::reasons::ALL {
            let chapter = chapter(kind.code).unwrap_or_default();
            for part in ["**Means.**", "**Look.**", "**Do.**", "**含义。**", "**处理。**"] {
                assert!(chapter.contains(part), "docs/runbook.md, {}: {part} is missing", kind.code);
            }
        }
    }
}
