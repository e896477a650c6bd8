//! Exact numbers: decimals, money, ages, truth values.

use connector_api::Decimal as Literal;
use rust_decimal::Decimal;

/// The number of a decimal literal; `None` beyond 28 digits, where comparing would not be exact.
pub fn decimal(literal: &str) -> Option<Decimal> {
    if let Some(number) = usual(literal) {
        return Some(number);
    }
    every_form(literal)
}

fn every_form(literal: &str) -> Option<Decimal> {
    let plain = literal.strip_prefix('+').unwrap_or(literal);
    if !Literal::accepts(plain) {
        return None;
    }
    Decimal::from_str_exact(plain).or_else(|_| Decimal::from_scientific(plain)).ok()
}

/// The number of digits with a point among them or without one: nearly all that there are.
fn usual(literal: &str) -> Option<Decimal> {
    // So many digits fit 63 bits.
    if literal.len() > 18 {
        return None;
    }
    let (mut number, mut point) = (0_i64, None);
    for (at, byte) in literal.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            b'.' if point.is_none() && at > 0 => point = Some(at),
            _ => return None,
        }
    }
    let behind = point.map_or(0, |at| literal.len() - at - 1);
    let whole = !literal.is_empty() && point.is_none_or(|_| behind > 0);
    whole.then(|| Decimal::new(number, behind as u32))
}

/// What a price is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// 元, with up to two decimals that matter.
    Yuan,
    /// 分.
    Fen,
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoneyError {
    /// It is no decimal.
    Unreadable,
    /// It has a part of a fen.
    Fraction,
}

/// A price in whole fen, exactly.
pub fn money(text: &str, scale: Scale) -> Result<i64, MoneyError> {
    let number = decimal(text).ok_or(MoneyError::Unreadable)?;
    let fen = match scale {
        Scale::Yuan => number.checked_mul(Decimal::ONE_HUNDRED).ok_or(MoneyError::Unreadable)?,
        Scale::Fen => number,
    };
    if !fen.is_integer() {
        return Err(MoneyError::Fraction);
    }
    i64::try_from(fen).map_err(|_| MoneyError::Unreadable)
}

/// A whole number; `3.00` is one, `3.5` is none.
pub fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let number = decimal(text)?;
        if number.is_integer() { i64::try_from(number).ok() } else { None }
    })
}

/// An age in whole years: `18`, `18岁`, `18周岁`.
pub fn age(text: &str) -> Option<i64> {
    let number = text.strip_suffix('岁').map_or(text, |rest| rest.strip_suffix('周').unwrap_or(rest));
    integer(number.trim_end()).filter(|age| (0..=150).contains(age))
}

/// A truth value, where the word leaves no doubt.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "Y" | "y" | "T" | "是" | "true" | "TRUE" | "True" => Some(true),
        "0" | "N" | "n" | "F" | "否" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn usual_numbers_are_read_as_all_are(literal in "[0-9]{0,12}(\\.[0-9]{0,8})?[0-9.+-]?") {
            if let Some(number) = usual(&literal) {
                let slow = every_form(&literal);
                prop_assert_eq!(slow.map(|slow| (slow, slow.scale())), Some((number, number.scale())));
            }
        }
    }
}
