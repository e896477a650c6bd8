//! Telephone numbers, as far as their form tells whether one is whole. Never an identity.

use super::text::fold;

/// Whether a text is one complete number: a mobile number, with or without +86, or a landline number
/// with or without its area code. Masked numbers and two in one field are not.
pub fn is_phone(text: &str) -> bool {
    let folded = fold(text);
    let digits: String = folded.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    let digits = digits.strip_prefix("+86").or_else(|| digits.strip_prefix("0086")).unwrap_or(&digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let mobile = digits.len() == 11 && digits.starts_with('1') && matches!(digits.as_bytes()[1], b'3'..=b'9');
    // Area codes have three or four places with their zero, numbers in them seven or eight.
    let landline = matches!(digits.len(), 10..=12) && digits.starts_with('0');
    let local = matches!(digits.len(), 7 | 8) && !digits.starts_with(['0', '1']);
    mobile || landline || local
}
