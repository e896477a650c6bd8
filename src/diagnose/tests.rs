use std::path::PathBuf;

use super::{LITERAL_SECRET, Problem, nearest, render, to_json};

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn lines_and_columns_count_characters_from_one() {
    let (_folder, path) = file("a = 1\n\"体检\" = 错\n");
    let at = "a = 1\n\"体检\" = ".len();
    let place = &to_json(&[Problem::new(path, at..at + 3, "x", "wrong")])[0];
    assert_eq!((place.line, place.column), (Some(2), Some(8)));
}

#[test]
fn the_caret_stands_under_wide_characters() {
    let (_folder, path) = file("体检 = \"项目\" # x\n");
    let at = "体检 = ".len();
    let text = render(&[Problem::new(path, at..at + "\"项目\"".len(), "x", "wrong")], false);
    let lines: Vec<&str> = text.lines().collect();
    let excerpt = lines.iter().find(|line| line.contains("体检")).unwrap();
    let caret = lines.iter().find(|line| line.contains("┬")).unwrap();
    // Three wide characters of two columns each, and one blank, before the value's opening quote.
    let before = excerpt.split('"').next().unwrap();
    let columns: usize = before.chars().map(|c| if c > '\u{2fff}' { 2 } else { 1 }).sum();
    assert_eq!(caret.chars().position(|c| c == '─').unwrap(), columns, "{text}");
}

#[test]
fn the_order_does_not_depend_on_who_reported_first() {
    let (_folder, path) = file("a = 1\nb = 2\n");
    let first = Problem::new(&path, 0..1, "x", "first");
    let second = Problem::new(&path, 6..7, "x", "second").hint("do this");
    let whole = Problem::new(&path, None, "x", "whole");
    let one = render(&[first.clone(), second.clone(), whole.clone()], false);
    assert_eq!(one, render(&[whole, second, first.clone(), first], false));
    assert!(one.contains("do this"));
}

#[test]
fn a_span_that_does_not_fit_the_file_any_more_is_clipped() {
    let (_folder, path) = file("短\n");
    for span in [0..1, 1..2, 2..100, 50..60, 4..4] {
        render(&[Problem::new(&path, span, "x", "wrong")], false);
    }
    let gone = Problem::new("no/such/file", 0..3, "x", "wrong");
    assert_eq!(render(&[gone], false), "[x] Error: wrong\n  in no/such/file\n");
}

#[test]
fn a_literal_secret_is_shown_as_stars() {
    let (_folder, path) = file("password = \"hunter2\"\n");
    let text = render(&[Problem::new(path, 11..20, LITERAL_SECRET, "wrong")], false);
    assert!(text.contains("password = *********"), "{text}");
}

#[test]
fn only_a_near_name_is_suggested() {
    let names = ["listen", "url", "schedule"];
    assert_eq!(nearest("lisen", names), Some("listen"));
    assert_eq!(nearest("Schedule", names), Some("schedule"));
    assert_eq!(nearest("hospital", names), None);
}
