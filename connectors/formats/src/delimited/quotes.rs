//! Whether a row's quotes match.

use super::Quoting;

/// False where a quoted field goes on after its closing quote, or never ends. The parser takes
/// both as content, which may be other rows' content.
pub(super) fn are_sound(row: &str, quoting: Quoting, delimiter: char) -> bool {
    enum At {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    if quoting == Quoting::None {
        return true;
    }
    let mut at = At::Start;
    let mut signs = row.chars().peekable();
    while let Some(sign) = signs.next() {
        at = match (at, sign) {
            (At::Quoted, '\\') if quoting == Quoting::Backslash => {
                signs.next();
                At::Quoted
            }
            (At::Quoted, '"') if quoting == Quoting::Doubled && signs.peek() == Some(&'"') => {
                signs.next();
                At::Quoted
            }
            (At::Quoted, '"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (_, '\r' | '\n') => At::Start,
            (_, sign) if sign == delimiter => At::Start,
            (At::Start, '"') => At::Quoted,
            (At::Closed, _) => return false,
            _ => At::Plain,
        };
    }
    !matches!(at, At::Quoted)
}
