//! Exact numbers: decimals, money, ages, truth values.

use connector_api::Decimal as Literal;
use rust_decimal::Decimal;

/// The number of a decimal literal; `None` beyond 28 digits, where comparing would not be exact.
pub fn decimal(literal: &str) -> Option<Decimal> {
    let plain = literal.strip_prefix('+').unwrap_or(literal);
    if !Literal::accepts(plain) {
        return None;
    }
    Decimal::from_str_exact(plain).or_else(|_| Decimal::from_scientific(plain)).ok()
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
